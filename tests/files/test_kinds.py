"""What files are by their first bytes, and that every door says it with what to do there."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from samedge.bundle.bundle import Bundle
from samedge.errors import SamedgeError
from samedge.files import kinds
from samedge.models.checkpoint_head import checked_head
from samedge.pixels.images import load_image

HEADS = {
    kinds.EMPTY: b"",
    kinds.LFS: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
    kinds.ANNEX: b"/annex/objects/SHA256E-s9--00.jpg\n",
    kinds.PAGE: b"\xef\xbb\xbf\n <!DOCTYPE html><html><body>Sign in",
    kinds.STORAGE_ERROR: b'<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code></Error>',
    kinds.REFUSAL: b"Entry not found",
    kinds.GZIP: gzip.compress(b"x" * 99),
    kinds.TAR: b"x" * 257 + b"ustar" + b"\0" * 250,
}
"""What stands where the file that is meant should be."""


def opened_bundle(path: Path) -> None:
    Bundle.open(path)


DOORS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "picture": ("x.jpg", load_image),
    "checkpoint": ("x.pth", checked_head),
    "bundle": ("x.samedge", opened_bundle),
}


@pytest.mark.parametrize("kind", HEADS, ids=lambda kind: kind.name)
def test_each_is_known(kind: kinds.FileKind) -> None:
    assert kinds.kind_of(HEADS[kind][: kinds.HEAD_BYTES]) is kind
    assert kind.is_of_transfer


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("kind", HEADS, ids=lambda kind: kind.name)
def test_every_door_names_it(kind: kinds.FileKind, door: str, tmp_path: Path) -> None:
    name, opens = DOORS[door]
    path = tmp_path / name
    path.write_bytes(HEADS[kind])
    with pytest.raises(SamedgeError) as caught:
        opens(path)
    what, _, remedy = str(caught.value).removeprefix(f"{path} is ").partition(": ")
    assert what.startswith(kind.what)
    assert remedy


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"PF\0\0\0\0\0\0{", kinds.SAFETENSORS),  # a header of 18,000 bytes, and no PFM
        (b"RIFF....AVI LIST", kinds.AVI),
        (b"RIFF....WEBPVP8 ", kinds.WEBP),
        (b"........AVI ", None),
        (b'<?xml version="1.0"?><net name="encoder">', kinds.XML),
        (b"404 photos of cats\n" + b"a list that only begins like an answer\n" * 9, None),
        (b"\x80\2}q", kinds.PICKLE),
        (b"words", None),
    ],
)
def test_what_is_not_taken_for_another(head: bytes, kind: kinds.FileKind | None) -> None:
    assert kinds.kind_of(head) is kind
