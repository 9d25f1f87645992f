"""Pack training photos, masks and cut-outs into a few small files for a machine that is lent.

    python tools/pack_training.py DATA -o PACK --parts 2 --quality 72

Photos are compressed again as WebP, masks become run lengths, and photos are dealt out to the parts
in turns, so that every part is a fair sample. ``samedge.distill.resident.store`` reads the parts.
One photo in ``--hold-out`` of each source is marked as held out, at most the share given there.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import multiprocessing
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from samedge.pixels.rle import mask_from_rle

SOURCES = {
    "coco": 16,
    "coco_other": 24,
    "animals": 8,
    "facades": 4,
    "vehicles": 2,
    "nuclei": 4,
    "mandarins": 2,
    "dense": 4,
}
"""Folders of ``DATA/train``, and how many photos of each are held out."""

_MOST_MASKS = 40


@dataclasses.dataclass(frozen=True)
class Photo:
    """One photo to pack: its file, its masks as COCO run lengths, its source, and its split."""

    path: Path
    masks: tuple[dict[str, object], ...]
    source: int
    held_out: bool


@dataclasses.dataclass(frozen=True)
class Packed:
    """A photo's WebP bytes, its size, and the runs of its masks (read row by row)."""

    photo: Photo
    data: bytes
    size: tuple[int, int]
    runs: tuple[np.ndarray, ...]


def photos(data: Path, *, limit: int | None = None) -> list[Photo]:
    """Every photo of the sources, those of each source shuffled by a fixed seed."""
    found = []
    for index, (name, held_out) in enumerate(SOURCES.items()):
        document = json.loads((data / "train" / name / "instances.json").read_text())
        masks: dict[int, list[dict[str, object]]] = {}
        for annotation in document["annotations"]:
            masks.setdefault(annotation["image_id"], []).append(annotation["segmentation"])
        images = sorted(document["images"], key=lambda image: str(image["file_name"]))
        order = np.random.default_rng(0).permutation(len(images))[:limit]
        for rank, place in enumerate(order):
            image = images[int(place)]
            path = data / "train" / name / "images" / image["file_name"]
            kept = tuple(masks.get(image["id"], [])[:_MOST_MASKS])
            if kept:
                found.append(Photo(path, kept, index, rank < held_out))
    return found


def pack_photo(job: tuple[Photo, int]) -> Packed:
    """Compress one photo and its masks."""
    photo, quality = job
    with Image.open(photo.path) as opened:
        picture = opened.convert("RGB")
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=quality, method=4)
    runs = tuple(row_runs(mask_from_rle(dict(mask))) for mask in photo.masks)
    return Packed(photo, buffer.getvalue(), (picture.height, picture.width), runs)


def row_runs(mask: np.ndarray) -> np.ndarray:
    """Lengths of the runs of a mask read row by row, background first; uint32."""
    flat = np.concatenate([[False], mask.ravel(), [False]])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    bounds = np.concatenate([[0], edges, [mask.size]]).astype(np.int64)
    return np.diff(bounds).astype(np.uint32)


def pack_cutout(job: tuple[Path, int]) -> bytes:
    """Compress one RGBA cut-out."""
    path, quality = job
    buffer = io.BytesIO()
    with Image.open(path) as opened:
        opened.convert("RGBA").save(buffer, "WEBP", quality=quality, alpha_quality=80, method=4)
    return buffer.getvalue()


def cutouts(data: Path, count: int) -> list[Path]:
    """Cut-outs, four of five of them three-dimensional renderings."""
    rendered = sorted((data / "cutouts").glob("fluent_*.webp"))
    drawn = sorted((data / "cutouts").glob("noto_*.webp"))
    share = count // 5
    step = max(len(rendered) // max(count - share, 1), 1)
    return rendered[::step][: count - share] + drawn[:: max(len(drawn) // max(share, 1), 1)][:share]


def write_part(path: Path, packed: list[Packed], cut: list[bytes]) -> None:
    """Write one part: flat arrays and their offsets, nothing that needs a reader of its own."""
    masks = [(index, runs) for index, photo in enumerate(packed) for runs in photo.runs]
    blobs = [photo.data for photo in packed]
    np.savez_compressed(
        path,
        photos=np.frombuffer(b"".join(blobs), np.uint8),
        photo_ends=np.cumsum([len(blob) for blob in blobs]),
        sizes=np.array([photo.size for photo in packed], np.int32).reshape(-1, 2),
        source=np.array([photo.photo.source for photo in packed], np.int32),
        held_out=np.array([photo.photo.held_out for photo in packed], bool),
        runs=np.concatenate([runs for _, runs in masks]),
        run_ends=np.cumsum([len(runs) for _, runs in masks]),
        mask_photo=np.array([index for index, _ in masks], np.int32),
        cutouts=np.frombuffer(b"".join(cut), np.uint8),
        cutout_ends=np.cumsum([len(blob) for blob in cut]),
        names=np.array(list(SOURCES)),
    )


def main() -> None:
    """Pack and say how large the parts are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--parts", type=int, default=2)
    parser.add_argument("--quality", type=int, default=72)
    parser.add_argument("--cutouts", type=int, default=500)
    parser.add_argument("--limit", type=int, help="photos of each source, for a trial")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    jobs = [(photo, arguments.quality) for photo in photos(arguments.data, limit=arguments.limit)]
    cut_jobs = [(path, 70) for path in cutouts(arguments.data, arguments.cutouts)]
    with multiprocessing.Pool() as pool:
        packed = pool.map(pack_photo, jobs, chunksize=8)
        cut = pool.map(pack_cutout, cut_jobs, chunksize=8)
    for part in range(arguments.parts):
        path = arguments.output / f"part-{part}.npz"
        step = arguments.parts
        write_part(path, packed[part::step], cut[part::step])
        size = path.stat().st_size / 2**20
        sys.stdout.write(f"{path.name}: {len(packed[part::step])} photos, {size:.1f} MiB\n")


if __name__ == "__main__":
    main()
