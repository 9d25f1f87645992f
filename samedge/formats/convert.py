"""From one annotation format to another, saying what is lost on the way."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from msgspec import UNSET

from samedge import formats
from samedge.errors import DatasetError, ImageError, OptionError, UnknownNameError, WriteError
from samedge.files.writing import check_no_source
from samedge.formats.base import OF_ONE_IMAGE, PROPERTIES, Format, Layout, Unread
from samedge.formats.destination import Destination
from samedge.formats.masks import DEFAULT_CATEGORY, ImageMasks, MaskRecord
from samedge.pixels.orientation import STORED, load_in_frame
from samedge.pixels.outlines import outlines
from samedge.types import Progress, Steps


@dataclasses.dataclass(frozen=True)
class Conversion:
    """What one conversion did.

    Attributes:
        source_format: name of the format that was read.
        target_format: name of the one that was written.
        images: how many were written.
        masks: how many they had.
        files: what was written.
        lost: what the target has no place for, by what, with how many masks or images had it.
        changed: masks that are written as something else, by what.
        left_out: entries that could not be read or written, by reason.
        unread: whole images that could not be, each with its error.
    """

    source_format: str
    target_format: str
    images: int
    masks: int
    files: tuple[Path, ...]
    lost: dict[str, int]
    changed: dict[str, int]
    left_out: dict[str, int]
    unread: tuple[Unread, ...] = ()


def convert(
    source: Path,
    target: Path,
    *,
    source_format: str | None = None,
    target_format: str | None = None,
    images: Path | None = None,
    progress: Progress | None = None,
) -> Conversion:
    """Read annotations of one format and write them in another, image by image.

    An image whose masks are damaged, or that the target cannot take, ends nothing but itself.

    Args:
        source: a file or folder.
        target: a file or folder.
        source_format: ``None`` looks at the source.
        target_format: ``None`` goes by the target's ending.
        images: folder of the images, for formats that do not say how large they are, and for
            drawings.
        progress: hears of every image; how many there are is known at the end.

    Raises:
        DatasetError: the source is damaged, of no known format, or of one that cannot be read; or
            there is no image in it that can be.
        ImageError: the target's ending does not fit its format, or is one file for many images.
        UnknownNameError: no such format.
        OptionError: the target has no ending, and no format is named.
        WriteError: a file cannot be written, or the target is the source.
    """
    reader = _reader(source, source_format)
    check_no_source(target, (source,))
    destination = _destination(target, target_format)
    destination.check()
    if images is not None and not images.is_dir():
        raise DatasetError(f"{images} is not a folder: name the folder of the images.")
    left_out: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    masks = 0
    files: dict[Path, None] = {}
    unread: list[Unread] = []
    steps = Steps(progress=progress)
    with destination.open() as writer:
        for image in reader.read(source, images=images, left_out=left_out, unread=unread):
            _check_room(destination, writer.added)
            try:
                made = writer.add(_with_pixels(image, destination.format, images))
            except WriteError:
                raise
            except OF_ONE_IMAGE as error:
                unread.append(Unread(image.name, error))
                continue
            files |= dict.fromkeys(made)
            lost.update(_losses(image, destination.format))
            masks += len(image.masks)
            steps.step()
        files |= dict.fromkeys(writer.close())
    if not writer.added:
        raise _nothing(source, unread)
    return Conversion(
        source_format=reader.name,
        target_format=destination.format.name,
        images=writer.added,
        masks=masks,
        files=tuple(files),
        lost={PROPERTIES[key]: number for key, number in lost.items() if number},
        changed=dict(+writer.changed),
        left_out=dict(+(left_out + writer.left_out)),
        unread=tuple(unread),
    )


def _nothing(source: Path, unread: Sequence[Unread]) -> Exception:
    """Why there is nothing of a source."""
    if not unread:
        return DatasetError(f"{source} holds no images, so there is nothing to convert.")
    first = unread[0].error
    if len(unread) == 1:
        return first
    return DatasetError(f"{source}: none of its {len(unread)} images can be read, first: {first}")


def _reader(source: Path, name: str | None) -> Format:
    if not source.exists():
        raise DatasetError(f"There is nothing at {source}: check the path.")
    if name is not None:
        return formats.get(name)
    found = formats.from_content(source)
    if len(found) == 1:
        return found[0]
    if not found:
        known = ", ".join(n for n in formats.names() if formats.get(n).is_read)
        raise DatasetError(
            f"{source} looks like no format that samedge reads ({known}): name it with --from."
        )
    raise DatasetError(
        f"{source} may be {' or '.join(f.name for f in found)}: name which with --from."
    )


def _destination(target: Path, name: str | None) -> Destination:
    if name is None and not target.suffix:
        known = ", ".join(n for n in formats.names() if not formats.get(n).draws)
        raise OptionError(
            f"{target} has no ending, which would say the format: name one with --to ({known})."
        )
    if name is None and formats.from_ending(target) is None:
        raise UnknownNameError("ending of an annotation file", target.suffix, _endings())
    return Destination(target, name)


def _endings() -> list[str]:
    return [ending for name in formats.names() for ending in formats.get(name).chosen_by]


def _check_room(destination: Destination, count: int) -> None:
    single = destination.format.layout is Layout.PER_IMAGE and not destination.is_folder
    if single and count:
        raise ImageError(
            f"{destination.path} is one file for the {destination.format.name} results of several "
            "images: name a folder."
        )


def _with_pixels(image: ImageMasks, target: Format, images: Path | None) -> ImageMasks:
    """The image with its pixels, where the target draws on them and they are at hand."""
    path = None if images is None else images / image.place
    if not target.draws or path is None or not path.is_file():
        return image
    pixels = load_in_frame(path, image.size, frame=image.frame)
    if pixels.shape[:2] != image.size:
        raise DatasetError(
            f"{path} is {pixels.shape[0]} x {pixels.shape[1]} (height x width), but its masks are "
            f"{image.size[0]} x {image.size[1]}: they do not fit it."
        )
    return dataclasses.replace(image, pixels=pixels)


def _losses(image: ImageMasks, target: Format) -> Iterator[str]:
    """Names of the properties that a target loses of an image, one for each mask that has it."""
    lost = set(PROPERTIES) - target.keeps
    if "empty_images" in lost and not image.masks:
        yield "empty_images"
    if "folders" in lost and "/" in image.name:
        yield "folders"
    if "endings" in lost and image.place.suffix.lower() != ".png":
        yield "endings"
    if "frame" in lost and image.frame == STORED:
        yield "frame"
    for record in image.masks:
        yield from (key for key, has in _HAVING.items() if key in lost and has(record))
        if {"holes", "parts"} & lost:
            yield from _shape_losses(record, lost)
    if "overlaps" in lost:
        yield from ["overlaps"] * _overlapping(image)


_HAVING: dict[str, Callable[[MaskRecord], bool]] = {
    "categories": lambda record: record.category_name != DEFAULT_CATEGORY,
    "predicted_iou": lambda record: record.predicted_iou is not None,
    "stability": lambda record: record.stability_score is not None,
    "prompts": lambda record: record.prompt is not UNSET or record.point is not UNSET,
    "crowds": lambda record: record.is_crowd is True,
}


def _shape_losses(record: MaskRecord, lost: set[str]) -> Iterator[str]:
    parts = outlines(record.mask)
    if "holes" in lost and any(part.holes for part in parts):
        yield "holes"
    if "parts" in lost and len(parts) > 1:
        yield "parts"


def _overlapping(image: ImageMasks) -> int:
    """How many masks share a pixel with another."""
    covered = np.zeros(image.size, np.int32)
    for record in image.masks:
        covered += record.mask
    return sum(bool((covered[record.mask] > 1).any()) for record in image.masks)
