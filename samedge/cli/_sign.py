"""``samedge sign``: sign a bundle with a private key, so that others can tell who made it."""

from __future__ import annotations

import os
from pathlib import Path

import click

from samedge.cli import output

PASSWORD = "SAMEDGE_KEY_PASSWORD"  # noqa: S105 - the name of the variable that holds it

EPILOG = """\b
Examples:
  openssl ecparam -genkey -name prime256v1 -noout -out maker.pem
  openssl ec -in maker.pem -pubout -out maker.pub
  samedge sign out/intel --key maker.pem
  samedge verify out/intel --key maker.pub
"""


@click.command("sign", epilog=EPILOG)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--key",
    type=click.Path(path_type=Path),
    metavar="PEM",
    required=True,
    help="Private key on an elliptic curve.",
)
@click.option(
    "-o",
    "--output",
    "destination",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The signature. [default: BUNDLE.sig]",
)
@output.standard_options
def sign(out: output.Output, *, bundle: Path, key: Path, destination: Path | None) -> None:
    """Sign BUNDLE, a folder or .samedge file, by OpenSSF model signing; one fits both forms.

    The key stays on this machine, and nothing is sent. The password of a key that has one is read
    from SAMEDGE_KEY_PASSWORD.
    """
    from samedge.bundle.bundle import Bundle
    from samedge.proof.signature import sign_bundle, signed_files

    password = os.environ.get(PASSWORD)
    path = sign_bundle(bundle, key=key, password=password, output=destination)
    opened = Bundle.open(bundle, verify=False)
    count = len(signed_files(opened))
    document = {"bundle": {"path": str(bundle), "id": opened.id}, "signature": str(path)}
    out.result({**document, "files": count}, f"wrote {path}: {count} files signed")


COMMAND = sign
