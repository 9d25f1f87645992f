"""Signed bundles: who made them, in both forms, and everything that must be refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from samedge.bundle.bundle import Bundle
from samedge.bundle.manifest import MANIFEST_NAME, with_id
from samedge.bundle.reading import as_written, decode_manifest
from samedge.errors import BundleError, SignatureError, WriteError
from samedge.proof.signature import sign_bundle, signature_path, verify_signature
from tests.cli.conftest import invoke

pytest.importorskip("model_signing")
pytest.importorskip("onnx")

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.toys.bundle import write_bundle


def write_keys(folder: Path, name: str, *, password: str | None = None) -> tuple[Path, Path]:
    """Private and public PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    locked: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        locked = serialization.BestAvailableEncryption(password.encode())
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(key.private_bytes(pem, pkcs8, locked))
    kind = serialization.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(key.public_key().public_bytes(pem, kind))
    return private, public


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_keys(tmp_path_factory.mktemp("keys"), "maker")


@pytest.fixture(params=["bundle", "bundle.samedge"])
def bundle(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / str(request.param)
    write_bundle(path)
    return path


def test_a_signed_bundle_verifies(bundle: Path, keys: tuple[Path, Path]) -> None:
    private, public = keys
    path = sign_bundle(bundle, key=private)
    assert path == signature_path(bundle) == bundle.with_name(bundle.name + ".sig")
    assert verify_signature(bundle, key=public) == path
    Bundle.open(bundle)


def test_one_signature_fits_both_forms(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    private, public = keys
    write_bundle(tmp_path / "folder")
    folder = Bundle.open(tmp_path / "folder")
    from samedge.bundle import _archive

    _archive.pack(folder.folder, tmp_path / "file.samedge")
    sign_bundle(tmp_path / "folder", key=private, output=tmp_path / "one.sig")
    verify_signature(tmp_path / "file.samedge", key=public, signature=tmp_path / "one.sig")


def test_the_tool_of_openssf_reads_it(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    private, public = keys
    write_bundle(tmp_path / "b")
    path = sign_bundle(tmp_path / "b", key=private)
    words = ("verify", "key", str(tmp_path / "b"), "--signature", str(path))
    command = [sys.executable, "-m", "model_signing", *words, "--public_key", str(public)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_lies_beside_the_bundle_s_files_does_not_matter(
    tmp_path: Path, keys: tuple[Path, Path]
) -> None:
    """Such as a TensorRT engine, which the manifest does not name and nothing trusts."""
    private, public = keys
    write_bundle(tmp_path / "b")
    sign_bundle(tmp_path / "b", key=private)
    (tmp_path / "b" / "encoder.engine").write_bytes(b"x")
    verify_signature(tmp_path / "b", key=public)


def test_another_s_key_is_refused(bundle: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    sign_bundle(bundle, key=keys[0])
    _, other = write_keys(tmp_path, "other")
    with pytest.raises(SignatureError, match=r"is not what .* signs with .*do not use"):
        verify_signature(bundle, key=other)


def test_a_bundle_changed_with_all_its_hashes_is_refused(
    tmp_path: Path, keys: tuple[Path, Path]
) -> None:
    """What hashes alone cannot find: whoever changes a file writes a manifest that fits."""
    path = tmp_path / "b"
    write_bundle(path)
    sign_bundle(path, key=keys[0])
    manifest = decode_manifest((path / MANIFEST_NAME).read_bytes(), path)
    changed = with_id(msgspec.structs.replace(manifest, samedge_version="0.0.1"))
    (path / MANIFEST_NAME).write_bytes(as_written(changed))
    Bundle.open(path)  # the control: without a key nothing is wrong with it
    with pytest.raises(SignatureError, match=r"Hash mismatch for 'bundle\.json'"):
        verify_signature(path, key=keys[1])


def test_a_damaged_file_is_refused(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    write_bundle(tmp_path / "b")
    sign_bundle(tmp_path / "b", key=keys[0])
    with (tmp_path / "b" / "encoder.onnx").open("r+b") as file:
        file.write(b"xx")
    with pytest.raises(BundleError):
        verify_signature(tmp_path / "b", key=keys[1])
    with pytest.raises(BundleError):
        sign_bundle(tmp_path / "b", key=keys[0])


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b"[" * 5000, b'{"mediaType": 3}'])
def test_a_signature_that_is_none(tmp_path: Path, keys: tuple[Path, Path], content: bytes) -> None:
    write_bundle(tmp_path / "b")
    (tmp_path / "b.sig").write_bytes(content)
    with pytest.raises(SignatureError):
        verify_signature(tmp_path / "b", key=keys[1])


def test_no_signature(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    write_bundle(tmp_path / "b")
    with pytest.raises(SignatureError, match=r"b\.sig cannot be read"):
        verify_signature(tmp_path / "b", key=keys[1])


def test_keys_that_are_none(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    write_bundle(tmp_path / "b")
    with pytest.raises(SignatureError, match="openssl ecparam"):
        sign_bundle(tmp_path / "b", key=keys[1])
    strange = tmp_path / "rsa.pem"
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    key = rsa.generate_private_key(65537, 2048)
    strange.write_bytes(key.private_bytes(pem, pkcs8, serialization.NoEncryption()))
    with pytest.raises(SignatureError, match="cannot sign"):
        sign_bundle(tmp_path / "b", key=strange)
    assert not (tmp_path / "b.sig").exists()


def test_where_nothing_can_be_written(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    write_bundle(tmp_path / "b")
    with pytest.raises(WriteError):
        sign_bundle(tmp_path / "b", key=keys[0], output=tmp_path / "b" / "bundle.json" / "x")


def test_a_signature_of_another_kind_beside_the_bundle_stays(
    bundle: Path, keys: tuple[Path, Path]
) -> None:
    """GnuPG calls its own the same; one of ours is made anew."""
    beside = signature_path(bundle)
    beside.write_bytes(b"-----BEGIN PGP SIGNATURE-----")
    with pytest.raises(WriteError, match="-o"):
        sign_bundle(bundle, key=keys[0])
    assert beside.read_bytes() == b"-----BEGIN PGP SIGNATURE-----"
    beside.unlink()
    assert sign_bundle(bundle, key=keys[0]) == sign_bundle(bundle, key=keys[0])
    beside.write_bytes(b"-----BEGIN PGP SIGNATURE-----")
    assert sign_bundle(bundle, key=keys[0], output=beside) == beside


def test_the_commands(toy_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    private, public = write_keys(tmp_path, "locked", password="open sesame")
    shutil.copytree(toy_bundle, tmp_path / "b")
    refused = invoke("sign", tmp_path / "b", "--key", private)
    assert refused.exit_code == 1
    monkeypatch.setenv("SAMEDGE_KEY_PASSWORD", "open sesame")
    signed = invoke("sign", tmp_path / "b", "--key", private, "--json")
    assert signed.exit_code == 0, signed.stderr
    document = json.loads(signed.stdout)
    assert document["schema"] == "samedge.sign/1"
    assert document["signature"] == str(tmp_path / "b.sig")
    assert document["files"] == 4
    checked = invoke("verify", tmp_path / "b", "--key", public, "--json")
    assert checked.exit_code == 0, checked.stderr
    checks = json.loads(checked.stdout)["checks"]
    assert [check["name"] for check in checks] == ["signature", "hashes", "canary", "parity"]
    (tmp_path / "b.sig").unlink()
    missing = invoke("verify", tmp_path / "b", "--key", public, "--json")
    assert missing.exit_code == 1
    assert json.loads(missing.stdout)["kind"] == "signature"
    assert invoke("verify", tmp_path / "b", "--signature", tmp_path / "x").exit_code == 2
