"""What is kept: at most so many, so much and so long."""

from __future__ import annotations

from pathlib import Path

import pytest

from samedge.pixels.images import load_image
from samedge.predict.predictor import Predictor
from samedge.web.server.cache import Cache, KeptImage
from samedge.web.server.failures import ForbiddenError, NotFoundError
from samedge.web.server.roots import read_below
from tests.web.server.conftest import picture


@pytest.fixture(scope="module")
def image(predictor: Predictor) -> KeptImage:
    return KeptImage("a", predictor.encode(load_image(picture())), b"x" * 1000)


def named(image: KeptImage, name: str) -> KeptImage:
    return KeptImage(name, image.embedding, image.picture)


def test_the_oldest_goes_first_and_a_question_makes_it_young(image: KeptImage) -> None:
    cache = Cache[KeptImage](count=2, size_bytes=1 << 30, keep_s=10)
    cache.put(named(image, "a"))
    cache.put(named(image, "b"))
    assert cache.get("a") is not None
    cache.put(named(image, "c"))
    assert cache.get("b") is None
    assert cache.get("a") is not None
    assert (len(cache), cache.evictions, cache.hits, cache.misses) == (2, 1, 2, 1)
    assert cache.size_bytes == 2 * image.size_bytes


def test_bytes_are_bounded_but_the_newest_is_kept(image: KeptImage) -> None:
    cache = Cache[KeptImage](count=10, size_bytes=2 * image.size_bytes, keep_s=10)
    for name in "abc":
        cache.put(named(image, name))
    assert len(cache) == 2
    small = Cache[KeptImage](count=10, size_bytes=1, keep_s=10)
    small.put(named(image, "a"))
    small.put(named(image, "b"))
    assert small.get("b") is not None
    assert len(small) == 1
    assert small.size_bytes == image.size_bytes
    assert small.drop("b")
    assert small.size_bytes == 0


def test_what_nobody_asks_about_goes(image: KeptImage) -> None:
    now = 0.0
    cache = Cache[KeptImage](count=10, size_bytes=1 << 30, keep_s=10, clock=lambda: now)
    cache.put(named(image, "a"))
    now = 9.0
    assert cache.get("a") is not None
    now = 18.0
    assert cache.get("a") is not None
    now = 29.0
    cache.sweep()
    assert len(cache) == cache.size_bytes == 0
    assert cache.get("a") is None


def test_the_bytes_count_tensors_and_picture(image: KeptImage) -> None:
    tensors = sum(tensor.nbytes for tensor in image.embedding.tensors.values())
    assert image.size_bytes == tensors + 1000


def test_a_folder_that_becomes_a_link_leads_nowhere(root: Path, tmp_path: Path) -> None:
    """What was resolved is opened without following links, so that an exchange in between fails."""
    from samedge.web.server import roots

    (tmp_path / "photo.png").write_bytes(picture())
    (root / "exchanged").symlink_to(tmp_path)
    try:
        with pytest.raises(OSError):
            roots._opened(root, Path("exchanged/photo.png"))
    finally:
        (root / "exchanged").unlink()


def test_the_first_root_that_has_a_file_gives_it(root: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.png").write_bytes(b"mine")
    assert read_below("mine.png", (root, tmp_path)) == b"mine"
    with pytest.raises(NotFoundError):
        read_below("nobody.png", (root, tmp_path))
    with pytest.raises(ForbiddenError, match="--root"):
        read_below("mine.png", ())
