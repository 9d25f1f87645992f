"""Signatures of bundles with a key of one's own, through OpenSSF's ``model-signing``.

The hashes in a bundle tell that it is whole; a signature tells who made it. It covers the manifest
and every file that the manifest names, so that one signature fits the folder and the ``.samedge``
file, and ``model_signing verify key`` reads it too. It lies beside the bundle.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from samedge.bundle.bundle import Bundle
from samedge.bundle.canary import FILE_NAME as CANARY_NAME
from samedge.bundle.manifest import MANIFEST_NAME
from samedge.errors import SignatureError, WriteError
from samedge.files.reading import read_bytes
from samedge.files.writing import check_no_source, check_output, replacing

ENDING = ".sig"


def signature_path(bundle: Path) -> Path:
    """Where a bundle's signature lies: beside it, with ``.sig`` behind its whole name."""
    whole = bundle.absolute()
    return whole.with_name(whole.name + ENDING)


def sign_bundle(
    bundle: Path, *, key: Path, password: str | None = None, output: Path | None = None
) -> Path:
    """Sign a bundle, whose hashes are verified first.

    Args:
        bundle: its folder or ``.samedge`` file.
        key: PEM file of a private key on an elliptic curve (P-256, P-384, P-521).
        password: of the key, where it has one.
        output: where the signature goes; ``None``: beside the bundle.

    Returns:
        The signature's path.

    Raises:
        BundleError: the bundle is missing or altered.
        SignatureError: the key is none that signs.
        WriteError: the signature cannot be written, or would replace the key, the bundle, or
            what no ``output`` named and is no signature of this kind.
    """
    check_no_source(output, (key, bundle))
    signing = _library("signing")
    opened = Bundle.open(bundle)
    path = output or signature_path(bundle)
    check_output(path)
    if output is None:
        _check_own(path)
    config = signing.Config().set_hashing_config(_hashing(opened))
    pem = _key(key, "a private key")
    if b"PRIVATE KEY" not in pem:
        raise SignatureError(f"{key} holds no private key, expected the PEM file of one: {_MAKE}.")
    with _as_ours(f"{key} cannot sign", remedy=_MAKE):
        # The library says text, and hands it to one that takes bytes.
        secret = None if password is None else password.encode()
        config.use_elliptic_key_signer(private_key=key, password=secret)
    with replacing(path) as temporary, _as_ours(f"{bundle} cannot be signed", remedy=_MAKE):
        config.sign(opened.folder, temporary)
    return path


def verify_signature(bundle: Path, *, key: Path, signature: Path | None = None) -> Path:
    """Check that a bundle is what the owner of a key signed.

    Args:
        bundle: its folder or ``.samedge`` file; its hashes are verified, too.
        key: PEM file of the public key.
        signature: where it lies; ``None``: beside the bundle.

    Returns:
        The signature's path.

    Raises:
        BundleError: the bundle is missing or altered.
        SignatureError: there is no signature, or it is another bundle's or another key's.
    """
    verifying = _library("verifying")
    path = signature or signature_path(bundle)
    read_bytes(path, limit="document_bytes", expected="a signature", error=SignatureError)
    _key(key, "a public key")
    opened = Bundle.open(bundle)
    config = verifying.Config().set_hashing_config(_hashing(opened))
    with _as_ours(f"{key} cannot verify", remedy="give the PEM file of the signer's public key"):
        config.use_elliptic_key_verifier(public_key=key)
    with _as_ours(f"{bundle} is not what {path} signs with {key}", remedy=_DISTRUST):
        config.verify(opened.folder, path)
    return path


def _check_own(path: Path) -> None:
    """Refuse to replace what is no such signature: GnuPG, too, puts ``.sig`` behind names."""
    if path.exists() and _MATERIAL not in path.read_bytes()[:_HEAD_BYTES]:
        raise WriteError(
            f"{path} is there already, is no OpenSSF signature, and stays: say where the signature "
            "goes by -o."
        )


_MATERIAL, _HEAD_BYTES = b'"verificationMaterial"', 4096
_MAKE = "make one with `openssl ecparam -genkey -name prime256v1 -noout -out key.pem`"
_DISTRUST = "do not use the bundle; ask its maker for another, or for the right key"


def signed_files(bundle: Bundle) -> list[Path]:
    """Every file that a signature covers."""
    manifest = bundle.manifest
    names = {MANIFEST_NAME, *(name for one in manifest.artifacts for name in one.files)}
    if manifest.canary_sha256 is not None:
        names.add(CANARY_NAME)
    return [bundle.folder / name for name in sorted(names)]


def _hashing(bundle: Bundle) -> Any:
    """What hashes exactly the files of a bundle, links to them included."""
    files = signed_files(bundle)

    class Named(_library("hashing").Config):  # type: ignore[misc]  # imported when it is needed
        def hash(self, model_path: Path, *, files_to_hash: Iterable[Path] | None = None) -> object:
            del files_to_hash
            return super().hash(model_path, files_to_hash=files)

    return Named().set_allow_symlinks(True)


def _key(path: Path, expected: str) -> bytes:
    return read_bytes(path, limit="document_bytes", expected=expected, error=SignatureError)


def _library(name: str) -> Any:
    try:
        import model_signing.hashing
        import model_signing.signing
        import model_signing.verifying
    except ImportError as error:
        raise SignatureError(
            f"Signatures need the library model-signing ({error}): pip install 'samedge[sign]'."
        ) from error
    return getattr(model_signing, name)


@contextlib.contextmanager
def _as_ours(what: str, *, remedy: str) -> Iterator[None]:
    """The library's errors, which are of many kinds, as ours; what it prints is dropped."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise SignatureError(f"{what} ({reason}): {remedy}.") from error
