"""Files that are named as bundles and are none are told as what they are, with what to do."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from samedge.bundle.bundle import Bundle
from samedge.errors import BundleError

EXPORT = r"samedge export --target cpu --checkpoint FILE"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("model.onnx", b"\x08\x08\x12\x07pytorch", rf"is an ONNX graph, and no bundle: .*{EXPORT}"),
        ("model.ONNX", b"\x08\x08\x12\x07pytorch", "is an ONNX graph"),
        ("model.xml", b"<?xml version='1.0'?><net/>", "is an exported graph"),
        ("model.engine", b"ftrt\0\0", "is a TensorRT engine"),
        ("sam_vit_b.pth", b"\x80\x02}q\0.", rf"is a checkpoint, and no bundle: .*{EXPORT}"),
        ("model.safetensors", b"\x10\0\0\0\0\0\0\0{}", "is a checkpoint"),
        (
            "b.samedge",
            b"version https://git-lfs.github.com/spec/v1\n",
            "LFS pointer: .*git lfs",
        ),
        ("b.samedge", b"\n<!DOCTYPE html><html>", r"is a web page \(HTML\): open its address"),
        ("b.samedge", b"", "is empty: fetch or copy it again"),
        ("b.samedge", b"PK\3\4cut", "is cut off"),
        ("b.samedge", b"\x1f\x8b\x08", "is a gzip archive: unpack it"),
        ("b.tar", b"x" * 257 + b"ustar" + b"\0" * 250, "is a tar archive: unpack it"),
        ("copy.json", b'{"schema": "samedge.bundle/2"}', "is JSON, and no bundle: name the"),
        ("photo.jpg", b"\xff\xd8\xff\xe0", "is a JPEG, and no bundle: give the bundle by --bundle"),
        ("noise", b"\x01\x02\x03", r"is no \.samedge file: fetch or copy it again"),
    ],
)
def test_another_file(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BundleError, match=said):
        Bundle.open(tmp_path / name)


@pytest.mark.parametrize("member", ["archive/data.pkl", "net/constants.pkl"])
def test_a_checkpoint_is_a_zip_too(tmp_path: Path, member: str) -> None:
    with zipfile.ZipFile(tmp_path / "weights", "w", zipfile.ZIP_DEFLATED) as content:
        content.writestr(member, b"x")
    with pytest.raises(BundleError, match="is a checkpoint, and no bundle"):
        Bundle.open(tmp_path / "weights")


def test_a_folder_of_graphs_without_a_manifest(tmp_path: Path) -> None:
    (tmp_path / "encoder.onnx").write_bytes(b"x")
    with pytest.raises(BundleError, match=rf"encoder\.onnx in it is an ONNX graph; .*{EXPORT}"):
        Bundle.open(tmp_path)
