"""``--model`` of ``samedge annotate``: what training left, as a bundle for this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from samedge.cli.output import Output

_WEIGHTS = ".safetensors"
_RUN_WEIGHTS = "last.safetensors"


def bundle_of(out: Output, model: str, *, output: Path) -> str:
    """The bundle of a model, exported where that was not done before.

    Args:
        out: shows the export.
        model: a name, a bundle's path, a checkpoint's (``.safetensors`` may be left out), or a
            folder of ``samedge distill``.
        output: the folder of the results; bundles are kept in its ``models``.

    Raises:
        UnknownNameError: there is neither such a file nor such a name.
        CheckpointError, ExportError, GateError: it cannot be exported.
    """
    from samedge.annotate.layout import MODELS
    from samedge.bundle.bundle import embedded_models
    from samedge.bundle.manifest import MANIFEST_NAME, file_hash

    path = Path(model)
    if model in embedded_models() or (path / MANIFEST_NAME).is_file() or path.suffix == ".samedge":
        return model
    weights = _weights(path)
    key = model if weights is None else f"{weights.stem}-{file_hash(weights)[:12]}"
    kept = output / MODELS / key
    if not (kept / MANIFEST_NAME).is_file():
        _export(out, weights or model, kept)
    return str(kept)


def _weights(path: Path) -> Path | None:
    """The file of weights that a path means; ``None`` where it may be a name."""
    candidates = (path, path.with_name(f"{path.name}{_WEIGHTS}"), path / _RUN_WEIGHTS)
    found = next((candidate for candidate in candidates if candidate.is_file()), None)
    if found is None and (path.is_dir() or len(path.parts) > 1):
        raise click.UsageError(
            f"--model {path}: there is no such file, nor {path.name}{_WEIGHTS}, nor {_RUN_WEIGHTS} "
            "in such a folder."
        )
    return found


def _export(out: Output, model: str | Path, kept: Path) -> None:
    from samedge.export.named import export_bundle

    with out.progress("Exporting the model") as bar:
        export_bundle(
            "cpu", model, output=kept, precision="fp32", progress=bar.progress, stage=bar.stage
        )
