"""Every format that discovery finds: what it writes, it reads; what it keeps, comes back."""

from __future__ import annotations

import dataclasses
import errno
import json
import types
import warnings
from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from samedge import formats
from samedge.errors import DatasetError, ImageError, UnknownNameError, WriteError
from samedge.formats.base import PROPERTIES, Format, Layout
from samedge.formats.destination import Destination
from samedge.formats.masks import ImageMasks, MaskRecord, record_from_mask
from samedge.pixels.metrics import mask_iou
from tests.formats.pictures import HEIGHT, SHAPES, WIDTH, image

READ = [name for name in formats.names() if formats.get(name).is_read]
SEPARATE = ("disc", "pixel")  # do not overlap


def written(name: str, folder: Path, *images: ImageMasks) -> tuple[Path, Counter[str]]:
    """Images in a format, and what the writer changed or left out."""
    file_format = formats.get(name)
    one = file_format.layout is Layout.ONE_FILE
    path = folder / f"out{file_format.endings[0]}" if one else folder / "out"
    with Destination(path, name, images=len(images)).open() as writer:
        for entry in images:
            writer.add(entry)
    return path, writer.changed + writer.left_out


def read(name: str, path: Path, images: Path | None = None) -> list[ImageMasks]:
    left_out: Counter[str] = Counter()
    found = list(formats.get(name).read(path, images=images, left_out=left_out))
    assert not +left_out
    return found


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for name in ("cam1/0001.png", "cam2/0001.png", "a.png", "empty.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT)).save(folder / name)
    return folder


def same(found: MaskRecord, wanted: MaskRecord) -> bool:
    return bool((found.mask == wanted.mask).all())


@pytest.mark.parametrize("name", formats.names())
def test_a_format_says_what_it_is(name: str) -> None:
    found = formats.get(name)
    assert isinstance(found, Format)
    assert found.name == name
    assert len(found.summary.split()) > 2
    assert found.keeps <= set(PROPERTIES)
    assert len(found.loses) == len(PROPERTIES) - len(found.keeps)
    assert bool(found.endings) != (found.layout is Layout.FOLDER)
    assert set(found.chosen_by) <= set(found.endings)


def test_an_ending_means_one_format() -> None:
    chosen = [ending for name in formats.names() for ending in formats.get(name).chosen_by]
    assert len(chosen) == len(set(chosen))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", READ)
def test_masks_come_back_to_the_pixel(name: str, shape: str, tmp_path: Path, photos: Path) -> None:
    wanted = image(shape)
    path, changed = written(name, tmp_path, wanted)
    (found,) = read(name, path, photos)
    assert found.size == wanted.size
    if changed:  # said, and still nearly the same
        assert name == "yolo"
        whole = np.logical_or.reduce([record.mask for record in found.masks])
        assert mask_iou(whole, SHAPES[shape]) >= 0.99
        return
    (record,) = found.masks
    assert same(record, wanted.masks[0])
    assert (record.area, record.bbox) == (wanted.masks[0].area, wanted.masks[0].bbox)


@pytest.mark.parametrize("name", READ)
def test_what_is_kept_comes_back(name: str, tmp_path: Path, photos: Path) -> None:
    keeps = formats.get(name).keeps
    crowd = msgspec.structs.replace(image("line").masks[0], is_crowd=True)
    first = image(*SEPARATE)
    first = dataclasses.replace(first, masks=(*first.masks, crowd))
    second = image("ring", name="cam2/0001.png")
    empty = ImageMasks("empty.png", (HEIGHT, WIDTH), ())
    path, _ = written(name, tmp_path, first, second, empty)
    found = {entry.name: entry for entry in read(name, path, photos)}
    assert set(found) >= {"cam1/0001.png", "cam2/0001.png"} or "folders" not in keeps
    assert ("empty.png" in found) == ("empty_images" in keeps)
    back = found["cam1/0001.png"]
    wanted = {record.area: record for record in first.masks}
    assert {record.area for record in back.masks} >= {r.area for r in first.masks[1:]}
    for record in back.masks:
        twin = wanted.get(record.area)
        if twin is None:  # cut, where another lies on it
            assert "overlaps" not in keeps
            continue
        assert (record.category_name == twin.category_name) == ("categories" in keeps)
        assert (record.predicted_iou == pytest.approx(twin.predicted_iou)) == (
            "predicted_iou" in keeps
        )
        assert (record.stability_score == pytest.approx(0.75)) == ("stability" in keeps)
        assert (record.is_crowd is True) == (twin.is_crowd is True and "crowds" in keeps)


def test_coco_keeps_the_score_of_a_word(tmp_path: Path, photos: Path) -> None:
    """`segment --text` and `everything --label` are of no use without it to whoever reads it."""
    named, plain = image("disc", "parts").masks
    named = msgspec.structs.replace(named, word_score=0.625)
    both = dataclasses.replace(image("disc", "parts", name="a.png"), masks=(named, plain))
    path, _ = written("coco", tmp_path, both)
    (found,) = read("coco", path, photos)
    scores = {record.category: record.word_score for record in found.masks}
    assert scores == {"disc": 0.625, "parts": msgspec.UNSET}


def test_an_overlay_says_what_it_shows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Who asked for a person and a bottle has to see which is which, and how sure it is."""
    named, plain = image("disc", "parts").masks
    named = msgspec.structs.replace(named, predicted_iou=0.75, word_score=0.625)
    plain = msgspec.structs.replace(plain, predicted_iou=0.5, category=msgspec.UNSET)
    drawn: list[str] = []
    monkeypatch.setattr(
        "samedge.pixels.overlay.draw_labels", lambda *a, labels: drawn.extend(labels)
    )
    both = dataclasses.replace(image("disc", "parts", name="a.png"), masks=(named, plain))
    written("overlay", tmp_path, both)
    assert [label.split() for label in drawn] == [["#0", "disc", "0.62"], ["#1", "0.50"]]


@pytest.mark.parametrize("name", READ)
def test_overlaps(name: str, tmp_path: Path, photos: Path) -> None:
    wanted = image("ring", "disc", name="a.png")
    path, changed = written(name, tmp_path, wanted)
    (found,) = read(name, path, photos)
    if "overlaps" in formats.get(name).keeps:
        assert sorted(r.area for r in found.masks) == sorted(r.area for r in wanted.masks)
    else:
        assert sum(changed.values()) == 1
        small = min(wanted.masks, key=lambda record: record.area)
        assert any(same(record, small) for record in found.masks), "the smaller stays whole"
        assert not np.logical_and(*(record.mask for record in found.masks)).any()


@pytest.mark.parametrize("name", formats.names())
def test_names_of_any_bytes(name: str, tmp_path: Path, photos: Path) -> None:
    odd = "a & <b>'\"\udce9 \n,;: 日本.png"
    path, _ = written(name, tmp_path, dataclasses.replace(image("disc"), name=odd))
    assert path.exists()
    if name in READ and name != "yolo":
        (found,) = read(name, path)
        assert (found.masks[0].area, len(found.masks)) == (image("disc").masks[0].area, 1)


@pytest.mark.parametrize(
    "odd", ["/etc/x.png", "../../x.png", "a/../../x.png", "C:\\x.png", "..", ""]
)
@pytest.mark.parametrize("name", formats.names())
def test_names_stay_inside(name: str, odd: str, tmp_path: Path) -> None:
    """Names come from other people's files."""
    folder = tmp_path / "deep" / "deeper"
    path, _ = written(name, folder, dataclasses.replace(image("disc"), name=odd))
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert files
    assert all(file.is_relative_to(path) for file in files)


def test_a_full_disk_leaves_no_half_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from samedge.formats.documents import GrowingFile

    def full(text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    file = GrowingFile(tmp_path / "x.json")
    file.write("[")
    assert file._stream is not None
    monkeypatch.setattr(file, "_stream", types.SimpleNamespace(write=full))
    for _ in range(2):
        with pytest.raises(WriteError, match=r"x\.json cannot be written \(No space left"):
            file.write("1")
    with pytest.raises(WriteError, match="free some space"):
        file.commit()
    assert file.commit() == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", formats.names())
def test_nothing_added_writes_nothing(name: str, tmp_path: Path) -> None:
    written(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", READ)
def test_its_own_files_are_recognised(name: str, tmp_path: Path) -> None:
    path, _ = written(name, tmp_path, image("disc"))
    candidates = [path, *path.rglob("*")] if path.is_dir() else [path]
    recognised = {f.name for candidate in candidates for f in formats.from_content(candidate)}
    assert name in recognised | ({name} if name == "coco_polygons" else set())


def masks_or_message(name: str, path: Path, photos: Path) -> tuple[int, str | None]:
    try:
        found = list(formats.get(name).read(path, images=photos, left_out=Counter()))
    except (DatasetError, ImageError) as error:
        return 0, str(error)
    return sum(len(entry.masks) for entry in found), None


DAMAGE = [
    b"",
    b"\x00\x01\x02",
    b"{}",
    b"[]",
    b"[1, 2]",
    b'{"images": 1, "annotations": 2}',
    b'{"a": ' * 5000,
    b"<annotations><image/></annotations>",
    b"<svg></svg>",
    b'<?xml version="1.0" encoding="utf-81"?><annotations/>',
    b"<annotations><image width='x' height='1'/></annotations>",
    b'{"type": "FeatureCollection", "features": [3]}',
    b'{"shapes": [{}], "imagePath": "a", "imageHeight": 1, "imageWidth": -1}',
    b'{"image": {"file_name": "a", "height": 1e9, "width": 3}, "annotations": []}',
    b'{"image": {"file_name": "a", "height": 1000000, "width": 1000000}, "annotations": []}',
]


@pytest.mark.parametrize("data", DAMAGE, ids=lambda data: repr(data[:24]))
@pytest.mark.parametrize("name", READ)
def test_damaged_files_are_our_errors(name: str, data: bytes, tmp_path: Path, photos: Path) -> None:
    path, _ = written(name, tmp_path, image("disc"))
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    for file in files:
        file.write_bytes(data)
    masks, message = masks_or_message(name, path, photos)
    assert not masks
    assert message is None or str(path.parent) in message


@pytest.mark.parametrize("name", READ)
def test_flipped_bytes_are_our_errors(name: str, tmp_path: Path, photos: Path) -> None:
    """Random damage inside of real files: typed errors or fewer masks, never another exception."""
    path, _ = written(name, tmp_path, image("ring", "pixel"))
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    rng = np.random.default_rng(5)
    for _ in range(40):
        file = files[rng.integers(len(files))]
        data = bytearray(whole := file.read_bytes())
        for place in rng.integers(0, len(data), 3):
            data[place] = rng.integers(256)
        file.write_bytes(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # pycocotools under NumPy 2
            masks_or_message(name, path, photos)
        file.write_bytes(whole)


def test_no_mask_takes_the_file_of_another_image(tmp_path: Path) -> None:
    """The second image of one stem is numbered, and so are the masks of the first."""
    mask = np.eye(8, dtype=bool)
    three, one = (record_from_mask(mask),) * 3, (record_from_mask(~mask),)
    folder = tmp_path / "masks"
    files = []
    with formats.get("png").open_writer(folder, is_folder=True) as writer:
        for name, masks in (("a.jpg", three), ("a.png", one)):
            files += writer.add(ImageMasks(name, (8, 8), masks))
    assert len(set(files)) == len(files) == 4
    assert sorted(files) == sorted(folder.iterdir())


def test_many_masks_come_back_in_their_order(tmp_path: Path) -> None:
    masks = []
    for width in range(1, 13):
        mask = np.zeros((4, 12), bool)
        mask[0, :width] = True
        masks.append(record_from_mask(mask))
    path, _ = written("png", tmp_path, ImageMasks("a.png", (4, 12), tuple(masks)))
    (image,) = read("png", path)
    assert [record.area for record in image.masks] == list(range(1, 13))


def test_unknown_names_are_answered() -> None:
    assert formats.get("label-studio").name == "label_studio"
    with pytest.raises(UnknownNameError, match="Did you mean 'labelme'"):
        formats.get("lableme")


def test_the_contract_can_fail(tmp_path: Path) -> None:
    """A file whose mask was moved by one pixel does not come back as the same."""
    path, _ = written("coco", tmp_path, image("disc"))
    document = json.loads(path.read_text())
    moved = np.roll(SHAPES["disc"], 1, axis=1)
    from samedge.formats.masks import record_from_mask

    document["annotations"][0]["segmentation"] = dict(record_from_mask(moved).rle)
    path.write_text(json.dumps(document))
    (found,) = read("coco", path)
    assert not same(found.masks[0], image("disc").masks[0])


def test_the_page_of_formats_names_all() -> None:
    page = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
    rows = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `")}
    assert set(rows) == set(formats.names())
    for name, row in rows.items():
        found = formats.get(name)
        assert ("a folder" in row) == (found.layout is Layout.FOLDER)
        assert all(f"`{ending}`" in row for ending in found.chosen_by[:1])
        for key, word in (
            *(("categories", "categories"), ("predicted_iou", "scores"), ("crowds", "crowds")),
            *(("stability", "stability"), ("empty_images", "empty images"), ("frame", "way up")),
        ):
            if name != "coco_polygons":  # "the same"
                assert (word in row.rsplit("|", 2)[1]) == (key in found.keeps), (name, word)


@pytest.mark.parametrize("name", formats.names())
def test_every_file_of_its_own_naming_is_seen_before_the_work(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody says where masks go, each of the files that would be replaced is enough."""
    Path(tmp_path, "fresh").mkdir()
    monkeypatch.chdir(tmp_path / "fresh")
    images = [image("disc", name="a.png"), image(*SEPARATE, name="cam1/b.png")]
    images.append(image("disc", name="b.jpg"))
    names = [entry.name for entry in images]
    destination = Destination(None, name, images=len(images))
    destination.check(names)
    with destination.open() as writer:
        for entry in images:
            writer.add(entry)
    files = [file for file in Path().rglob("*") if file.is_file()]
    assert files
    for number, file in enumerate(files):
        place = tmp_path / str(number) / file
        place.parent.mkdir(parents=True)
        place.write_text("somebody's work")
        monkeypatch.chdir(tmp_path / str(number))
        with pytest.raises(WriteError, match="already"):
            Destination(None, name, images=len(images)).check(names)
        Destination(Path(), name, images=len(images)).check(names)  # that place was named
        monkeypatch.chdir(tmp_path / "fresh")
