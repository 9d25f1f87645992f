"""What other programs' own code makes of our files, and ours of theirs."""

from __future__ import annotations

import contextlib
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from samedge import formats
from samedge.formats.brush import brush_from_mask, mask_from_brush
from samedge.formats.destination import Destination
from samedge.formats.masks import ImageMasks, record_from_mask
from samedge.pixels.metrics import mask_iou
from tests.formats.pictures import HEIGHT, SHAPES, WIDTH, image

Mask = npt.NDArray[np.bool_]


def write(name: str, path: Path, *images: ImageMasks) -> Path:
    with Destination(path, name, images=len(images)).open() as writer:
        for entry in images:
            writer.add(entry)
    return path


@pytest.mark.parametrize("name", ["coco", "coco_polygons"])
def test_pycocotools_draws_the_very_masks(name: str, tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    path = write(name, tmp_path / "x.json", image(*SHAPES))
    with contextlib.redirect_stdout(io.StringIO()):
        data = coco.COCO(str(path))
    for shape, annotation in zip(SHAPES, data.anns.values(), strict=True):
        assert (data.annToMask(annotation).astype(bool) == SHAPES[shape]).all(), shape
        assert annotation["area"] == SHAPES[shape].sum()


@pytest.mark.parametrize("shape", SHAPES)
def test_opencv_draws_yolo_rows(shape: str, tmp_path: Path) -> None:
    """As Ultralytics does: shares times the size, cut to whole pixels, ``fillPoly``."""
    cv2 = pytest.importorskip("cv2")
    folder = write("yolo", tmp_path / "yolo", image(shape))
    whole = np.zeros((HEIGHT, WIDTH), np.uint8)
    for row in (folder / "labels" / "cam1" / "0001.txt").read_text().splitlines():
        ring = np.array(row.split()[1:], np.float32).reshape(-1, 2) * (WIDTH, HEIGHT)
        for cut in (ring.astype(np.int32), np.round(ring).astype(np.int32)):
            cv2.fillPoly(whole, [cut], 1)
    assert mask_iou(whole > 0, SHAPES[shape]) >= 0.99


def drawn_by_labelme(entry: dict[str, Any]) -> Mask:
    """LabelMe's ``shapes_to_label``, as its version 6.3 has it."""
    from PIL import ImageDraw

    if entry["shape_type"] == "mask":
        import base64

        (x1, y1), (x2, y2) = np.asarray(entry["points"]).astype(int)
        mask = np.zeros((HEIGHT, WIDTH), bool)
        cut = np.array(Image.open(io.BytesIO(base64.b64decode(entry["mask"])))).astype(bool)
        mask[y1 : y2 + 1, x1 : x2 + 1] = cut
        return mask
    assert len(entry["points"]) > 2
    picture = Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8))
    ImageDraw.Draw(picture).polygon([tuple(p) for p in entry["points"]], outline=1, fill=1)
    return np.array(picture, dtype=bool)


@pytest.mark.parametrize("shape", SHAPES)
def test_labelme_draws_the_very_mask(shape: str, tmp_path: Path) -> None:
    path = write("labelme", tmp_path / "x.json", image(shape))
    document = json.loads(path.read_text())
    assert document["imagePath"] == "0001.png"
    shapes = document["shapes"]
    whole = np.logical_or.reduce([drawn_by_labelme(entry) for entry in shapes])
    assert (whole == SHAPES[shape]).all()
    assert len({entry["group_id"] for entry in shapes}) == 1
    needed = {"label", "points", "group_id", "shape_type", "flags", "mask"}
    assert all(needed <= set(entry) for entry in shapes)


def test_labelme_itself(tmp_path: Path) -> None:
    shape_module = pytest.importorskip("labelme.utils.shape")
    path = write("labelme", tmp_path / "x.json", image("disc", "line"))
    for entry, name in zip(json.loads(path.read_text())["shapes"], ("disc", "line"), strict=True):
        if entry["shape_type"] == "polygon":
            drawn = shape_module.shape_to_mask((HEIGHT, WIDTH), entry["points"])
            assert (drawn == SHAPES[name]).all()


def decode_rle(data: list[int]) -> npt.NDArray[np.uint8]:
    """Label Studio's own decoder, written down from its converter (``brush.decode_rle``)."""
    bits = "".join(f"{byte:08b}" for byte in data)
    place = 0

    def take(size: int) -> int:
        nonlocal place
        place += size
        return int(bits[place - size : place], 2)

    count = take(32)
    word = take(5) + 1
    sizes = [take(4) + 1 for _ in range(4)]
    out = np.zeros(count, np.uint8)
    i = 0
    while i < count:
        same = take(1)
        j = i + 1 + take(sizes[take(2)])
        if same:
            out[i:j] = take(word)
            i = j
        else:
            while i < j:
                out[i] = take(word)
                i += 1
    return out


@pytest.mark.parametrize("shape", SHAPES)
def test_label_studio_decodes_our_brushes(shape: str) -> None:
    data = brush_from_mask(SHAPES[shape])
    decoded = decode_rle(data).reshape(HEIGHT, WIDTH, 4)[:, :, 3]
    assert ((decoded > 127) == SHAPES[shape]).all()
    assert (mask_from_brush(data, (HEIGHT, WIDTH)) == SHAPES[shape]).all()


def test_a_brush_with_single_values_as_label_studio_writes_them() -> None:
    """Its encoder writes single values as series that are not one value many times."""
    bits = f"{2 * 2 * 4:032b}{7:05b}{2:04b}{3:04b}{7:04b}{15:04b}"
    bits += "0" + "00" + f"{7:03b}" + "".join(f"{v:08b}" for v in (9, 9, 9, 255, 9, 9, 9, 0))
    bits += "1" + "00" + f"{7:03b}" + f"{200:08b}"
    bits += "0" * (-len(bits) % 8)
    data = [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]
    assert mask_from_brush(data, (2, 2)).tolist() == [[True, False], [True, True]]


def test_label_studio_shapes_in_percent(tmp_path: Path) -> None:
    about = {"original_width": WIDTH, "original_height": HEIGHT, "from_name": "tag"}
    results = [
        {"type": "polygonlabels", **about}
        | {"value": {"points": [[0, 0], [50, 0], [50, 50], [0, 50]], "polygonlabels": ["a"]}},
        {"type": "rectanglelabels", **about}
        | {"value": {"x": 50, "y": 50, "width": 50, "height": 50, "rectanglelabels": ["b"]}},
        {"type": "ellipselabels", **about}
        | {"value": {"x": 50, "y": 50, "radiusX": 25, "radiusY": 25, "ellipselabels": ["c"]}},
        {"type": "keypointlabels", **about} | {"value": {"x": 1, "y": 1, "width": 1}},
    ]
    task = {"data": {"image": "/data/a.png"}, "annotations": [{"result": results}]}
    path = tmp_path / "tasks.json"
    path.write_text(json.dumps([task]))
    left_out: Counter[str] = Counter()
    (found,) = formats.get("label_studio").read(path, left_out=left_out)
    corner = np.zeros((HEIGHT, WIDTH), bool)
    corner[: HEIGHT // 2, : WIDTH // 2] = True
    assert [record.category for record in found.masks] == ["a", "b", "c"]
    assert (found.masks[0].mask == corner).all()
    assert (found.masks[1].mask == corner[::-1, ::-1]).all()
    assert found.masks[2].area == pytest.approx(np.pi * 16 * 12, rel=0.02)
    assert sum(left_out.values()) == 1


def test_cvat_shapes(tmp_path: Path) -> None:
    path = tmp_path / "x.xml"
    path.write_text(
        '<?xml version="1.0"?><annotations><version>1.1</version>'
        f'<image id="0" name="a.png" width="{WIDTH}" height="{HEIGHT}">'
        '<mask label="m" source="manual" occluded="0" rle="3, 5, 7, 5, 0, 4" left="10" top="5" '
        'width="8" height="3" z_order="0"></mask>'
        '<polygon label="p" points="0.00,0.00;10.00,0.00;10.00,10.00;0.00,10.00"/>'
        '<box label="b" xtl="20" ytl="20" xbr="30" ybr="25"/>'
        '<box label="r" xtl="20" ytl="20" xbr="30" ybr="24" rotation="90"/>'
        '<ellipse label="e" cx="40" cy="30" rx="8" ry="4"/>'
        '<polyline label="l" points="1,1;2,2"/><points label="o" points="1,1"/><tag label="t"/>'
        "</image></annotations>"
    )
    left_out: Counter[str] = Counter()
    (found,) = formats.get("cvat").read(path, left_out=left_out)
    by = {record.category: record for record in found.masks}
    assert by["m"].area == 14
    assert by["m"].mask[5, 13:18].all()
    assert by["m"].mask[7, 14:18].all() or by["m"].mask[6, 15:18].all()
    assert (by["p"].bbox, by["p"].area) == ((0, 0, 10, 10), 100)
    assert (by["b"].bbox, by["b"].area) == ((20, 20, 10, 5), 50)
    assert by["r"].bbox == (23, 17, 4, 10)
    assert by["e"].area == pytest.approx(np.pi * 32, rel=0.05)
    assert sum(left_out.values()) == 2


XML_ATTACKS = [
    '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><annotations>&b;</annotations>',
    '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/hostname">]><annotations>&e;</annotations>',
    '<!DOCTYPE x SYSTEM "http://127.0.0.1/x.dtd"><annotations/>',
    "<a>" * 5000,
]


@pytest.mark.parametrize("text", XML_ATTACKS, ids=range(len(XML_ATTACKS)))
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize(("name", "file"), [("cvat", "x.xml"), ("svg", "x.svg")])
def test_xml_attacks_are_refused(
    name: str, file: str, text: str, encoding: str, tmp_path: Path
) -> None:
    from samedge.errors import DatasetError

    path = tmp_path / file
    path.write_bytes(text.encode(encoding))
    with pytest.raises(DatasetError, match=r"document type|nests more|is not XML"):
        list(formats.get(name).read(path, left_out=Counter()))


def test_svg_of_other_programs(tmp_path: Path) -> None:
    path = tmp_path / "x.svg"
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"><g>'
        '<path d="m 2,3 h 10 v 5 h -10 z M4 4 H6 V6 H4 Z"/>'
        '<rect x="20" y="20" width="5" height="4"/>'
        '<polygon points="30,30 40,30 40,40 30,40"/><path d="M0 0C1 1 2 2 3 3"/>'
        '<circle cx="1" cy="1" r="1"/><rect transform="scale(2)" width="1" height="1"/></g></svg>'
    )
    left_out: Counter[str] = Counter()
    (found,) = formats.get("svg").read(path, left_out=left_out)
    assert [record.area for record in found.masks] == [46, 20, 100]
    assert sum(left_out.values()) == 3


def test_geojson_polygons_are_valid(tmp_path: Path) -> None:
    geometry = pytest.importorskip("shapely.geometry")
    path = write("geojson", tmp_path / "x.geojson", image(*SHAPES))
    for feature, shape in zip(json.loads(path.read_text())["features"], SHAPES, strict=True):
        drawn = geometry.shape(feature["geometry"])
        assert drawn.is_valid, shape
        assert drawn.area == SHAPES[shape].sum()


def test_geojson_as_qupath_writes_it(tmp_path: Path) -> None:
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "x.png")
    ring = [[1, 2], [5, 2], [5, 6], [1, 6], [1, 2]]
    feature = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}}
    feature["properties"] = {"classification": {"name": "Tumor"}}
    (tmp_path / "x.geojson").write_text(json.dumps([feature]))
    read = formats.get("geojson").read
    (found,) = read(tmp_path / "x.geojson", images=tmp_path, left_out=Counter())
    assert (found.name, found.masks[0].category, found.masks[0].area) == ("x.png", "Tumor", 16)


def test_voc_palette_and_classes(tmp_path: Path) -> None:
    folder = write("voc", tmp_path / "voc", image("disc", "pixel"))
    with Image.open(folder / "SegmentationClass" / "cam1" / "0001.png") as picture:
        assert picture.mode == "P"
        assert picture.getpalette()[:12] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]
        assert set(np.unique(np.asarray(picture))) == {0, 1, 2}
    assert (folder / "labelmap.txt").read_text().splitlines()[1:] == [
        *("background:0,0,0::", "disc:128,0,0::", "pixel:0,128,0::")
    ]
    assert (folder / "ImageSets/Segmentation/default.txt").read_text() == "cam1/0001\n"


def test_davis_objects_keep_their_numbers(tmp_path: Path) -> None:
    folder = write("davis", tmp_path / "davis", image("disc", "pixel", name="dog/00000.jpg"))
    with Image.open(folder / "Annotations" / "dog" / "00000.png") as picture:
        indices = np.asarray(picture)
    assert ((indices == 1) == SHAPES["disc"]).all()
    assert ((indices == 2) == SHAPES["pixel"]).all()


def test_panoptic_ids_are_colours(tmp_path: Path) -> None:
    masks = []
    for place in range(300):
        mask = np.zeros((HEIGHT, WIDTH), bool)
        mask[place // 60, place % 60] = True
        masks.append(record_from_mask(mask))
    folder = write(
        "coco_panoptic", tmp_path / "p", ImageMasks("a.png", (HEIGHT, WIDTH), tuple(masks))
    )
    document = json.loads((folder / "panoptic.json").read_text())
    colors = np.asarray(Image.open(folder / "panoptic" / "a.png")).astype(int)
    ids = colors[..., 0] + 256 * colors[..., 1] + 65536 * colors[..., 2]
    segments = document["annotations"][0]["segments_info"]
    assert sorted(entry["id"] for entry in segments) == list(range(1, 301))
    assert ids.max() == 300
    for entry in segments[::50]:
        assert (ids == entry["id"]).sum() == entry["area"] == 1


def test_supervision_reads_coco_and_yolo(tmp_path: Path) -> None:
    supervision = pytest.importorskip("supervision")
    (tmp_path / "photos" / "cam1").mkdir(parents=True)
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "photos" / "cam1" / "0001.png")
    path = write("coco", tmp_path / "x.json", image("ring", "parts"))
    data = supervision.DetectionDataset.from_coco(
        images_directory_path=str(tmp_path / "photos"), annotations_path=str(path), force_masks=True
    )
    (_, _, found) = next(iter(data))
    assert (found.mask == np.stack([SHAPES["ring"], SHAPES["parts"]])).all()


def test_voc_names_stay_in_their_row(tmp_path: Path) -> None:
    record = record_from_mask(SHAPES["disc"], category="a:b\nc")
    folder = write("voc", tmp_path / "voc", ImageMasks("a.png", (HEIGHT, WIDTH), (record,)))
    (found,) = formats.get("voc").read(folder, left_out=Counter())
    assert found.masks[0].category == "a b c"


def test_yolo_names_that_differ_in_their_endings_only(tmp_path: Path) -> None:
    from samedge.errors import DatasetError

    with pytest.raises(DatasetError, match="differ in their endings only"):
        write("yolo", tmp_path / "y", image("disc", name="a.png"), image("disc", name="A.jpg"))
    assert (tmp_path / "y" / "data.yaml").is_file(), "the first one is whole"


def test_yolo_names_of_classes_as_others_write_them(tmp_path: Path) -> None:
    folder = write("yolo", tmp_path / "y", image("disc", name="a.png"))
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "a.png")
    for text in (
        "nc: 2\nnames: ['cat', \"dog\"]\n",
        "names:\n  0: cat\n  1: dog\n",
        "names:\n- cat\n- dog\nnc: 2\n",
    ):
        (folder / "data.yaml").write_text(text)
        (found,) = formats.get("yolo").read(folder, images=tmp_path, left_out=Counter())
        assert found.masks[0].category == "cat", text
