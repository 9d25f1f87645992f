"""Draw the example pictures of the model card: the shipped photos, good and bad answers alike.

    python tools/example_pictures.py -o docs/images/nano-examples.jpg

The boxes and clicks are chosen by hand, not for the answers that they get.
"""

from __future__ import annotations

from pathlib import Path

import click
from PIL import Image, ImageDraw

import samedge
from samedge.pixels.overlay import draw_masks

PHOTOS = Path(samedge.__file__).parent / "data" / "photos"
CELL = (400, 268)  # width, height

EXAMPLES = (
    ("a box", "chelsea.jpg", samedge.Prompt(box=(20, 0, 400, 299))),
    ("a click", "chelsea.jpg", samedge.Prompt(points=[[230, 160]])),
    ("a box", "coffee.jpg", samedge.Prompt(box=(173, 18, 408, 306))),
    ("a click", "coffee.jpg", samedge.Prompt(points=[[290, 170]])),
    ("a box", "rocket.jpg", samedge.Prompt(box=(300, 132, 346, 405))),
    ("a click finds a patch", "rocket.jpg", samedge.Prompt(points=[[321, 300]])),
)


@click.command()
@click.option("--bundle", type=click.Path(exists=True, path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True)
def main(bundle: Path | None, output: Path) -> None:
    """Write OUTPUT, two pictures a row."""
    width, height = CELL
    sheet = Image.new("RGB", (2 * width, -(-len(EXAMPLES) // 2) * height), "white")
    with samedge.Predictor.from_bundle(bundle or PHOTOS.parent / "nano-cpu") as predictor:
        for index, (title, name, prompt) in enumerate(EXAMPLES):
            picture = _answered(predictor, name, prompt)
            pen = ImageDraw.Draw(picture)
            pen.text((8, 6), title, fill="white", stroke_fill="black", stroke_width=2)
            sheet.paste(picture, (index % 2 * width, index // 2 * height))
    sheet.save(output, quality=85)


def _answered(predictor: samedge.Predictor, name: str, prompt: samedge.Prompt) -> Image.Image:
    image = samedge.load_image(PHOTOS / name)
    result = predictor.predict(image, prompt)
    picture = Image.fromarray(draw_masks(image, result.masks, prompts=[prompt]))
    picture.thumbnail(CELL)
    return picture


if __name__ == "__main__":
    main()
