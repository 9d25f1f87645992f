"""Checkpoints to models: the official SAM and MobileSAM files, Hugging Face's, and our own.

Files that trainers wrote are taken as they are, without the wrappers and prefixes around the
tensors; what was taken off is logged. What is not SAM is named as what it is. Our own format is
safetensors with a :class:`~samedge.models.spec.ModelSpec` in its metadata.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import msgspec
import safetensors.torch
import torch
from torch import Tensor

from samedge.errors import CheckpointError
from samedge.files.writing import replacing
from samedge.models.architecture import spec_from_tensors
from samedge.models.building import build_model
from samedge.models.checkpoint_files import METADATA, Weights, read_weights
from samedge.models.checkpoint_head import some
from samedge.models.checkpoint_kinds import recognised
from samedge.models.keymaps import DIALECTS, Dialect, detect
from samedge.models.promptable import PromptableModel
from samedge.models.spec import ModelSpec

logger = logging.getLogger(__name__)

_STRIDE = 32
"""Of the coarsest stage of any encoder here."""


def load_checkpoint(path: str | Path, *, image_size: int | None = None) -> PromptableModel:
    """Build the model that a checkpoint describes, and load it.

    Args:
        path: official ``.pth`` or ``.pt`` or a fine-tuned one, a folder of Hugging Face's
            ``SamModel`` or a file of it, or a file written by :func:`save_checkpoint`.
        image_size: side of the input to build for. ``None`` takes the checkpoint's own. SAM's ViT
            carries tables of positions for one size and takes no other; others take multiples of
            32.

    Returns:
        The model in evaluation mode, fp32, on the CPU; its ``requires_grad`` is off.

    Raises:
        CheckpointError: the file is missing, unreadable or unsafe, is of another kind or of none
            that is known, or tensors are missing, left over or of another shape; each is named.
    """
    weights = read_weights(Path(path))
    if weights.notes:
        logger.warning("%s: %s", weights.path, "; ".join(weights.notes))
    if weights.description is not None:
        spec = ModelSpec.from_json(weights.description)
        return _filled(_resized(spec, image_size), weights.tensors, weights.path)
    dialect = _dialect(weights)
    spec = spec_from_tensors(weights.tensors, dialect)
    tensors = _of_the_model(weights, dialect, spec)
    return _filled(_resized(spec, image_size), tensors, weights.path, dialect)


def save_checkpoint(model: PromptableModel, path: str | Path, *, spec: ModelSpec) -> None:
    """Write a model in our own format: safetensors with its description.

    Args:
        model: the model.
        path: the file to write.
        spec: what :func:`load_checkpoint` builds before it loads the weights.
    """
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    with replacing(Path(path)) as temporary:
        safetensors.torch.save_file(tensors, temporary, metadata={METADATA: spec.to_json()})


def _dialect(weights: Weights) -> Dialect:
    """The family that a published checkpoint belongs to.

    Raises:
        CheckpointError: it is of another kind, or of none that is known.
    """
    tensors = weights.tensors
    other = recognised(tensors)
    if other is not None:
        raise CheckpointError(f"{weights.path} is {other.what}. {other.remedy}")
    dialect = detect(tensors)
    if dialect is None:
        raise CheckpointError(
            f"{weights.path} holds {len(tensors)} tensors ({some(tensors)}), which are of no known "
            f"family: expected one of {', '.join(d.name for d in DIALECTS)}, or samedge's own."
        )
    return dialect


def _of_the_model(weights: Weights, dialect: Dialect, spec: ModelSpec) -> dict[str, Tensor]:
    """The tensors without those of other modules that stand beside a model under a prefix."""
    if not weights.beside:
        return weights.tensors
    used = {name for key in build_model(spec).state_dict() for name in dialect.sources(key)}
    others = [name for name in weights.beside if name not in used]
    if others:
        logger.warning("%s: left out %s, beside the model", weights.path, some(others))
    return {name: value for name, value in weights.tensors.items() if name not in others}


def _resized(spec: ModelSpec, image_size: int | None) -> ModelSpec:
    if image_size is None or image_size == spec.image_size:
        return spec
    if spec.encoder == "vit":
        raise CheckpointError(
            f"This ViT was trained at {spec.image_size} px and holds tables of positions for that "
            f"size, not for {image_size} px: leave the input size out, or take another model."
        )
    if image_size < _STRIDE or image_size % _STRIDE:
        nearest = max(round(image_size / _STRIDE), 1) * _STRIDE
        raise CheckpointError(
            f"The input size is {image_size} px, expected a multiple of {_STRIDE}, by which "
            f"encoders reduce it: take {nearest}."
        )
    return msgspec.structs.replace(spec, image_size=image_size)


def _filled(
    spec: ModelSpec, tensors: Mapping[str, Tensor], file: Path, dialect: Dialect | None = None
) -> PromptableModel:
    model = build_model(spec)
    wanted = model.state_dict()
    names = {key: dialect.sources(key) if dialect else (key,) for key in wanted}
    _check_names(names, tensors, file, dialect)
    _check_numbers({name: tensors[name] for group in names.values() for name in group}, file)
    state = {key: _joined([tensors[name] for name in names[key]]) for key in wanted}
    wrong = [
        f"{' + '.join(names[key])} is {tuple(state[key].shape)}, expected {tuple(value.shape)}"
        for key, value in wanted.items()
        if state[key].shape != value.shape
    ]
    if wrong:
        raise CheckpointError(f"{file} has tensors of other shapes: {some(wrong)}.")
    model.load_state_dict(state, assign=True)
    return model.eval().requires_grad_(False)


def _check_names(
    names: Mapping[str, tuple[str, ...]],
    tensors: Mapping[str, Tensor],
    file: Path,
    dialect: Dialect | None,
) -> None:
    used = {name for group in names.values() for name in group}
    missing = sorted(used - set(tensors))
    extra = sorted(
        key for key in set(tensors) - used if dialect is None or not dialect.is_unused(key)
    )
    if missing or extra:
        family = f"a {dialect.name} checkpoint" if dialect else "its own description"
        raise CheckpointError(
            f"{file} does not fit {family}: {len(missing)} tensors are missing "
            f"({some(missing) or 'none'}), {len(extra)} are left over ({some(extra) or 'none'})."
        )


def _check_numbers(tensors: Mapping[str, Tensor], file: Path) -> None:
    """Refuse weights that no model computes with.

    Raises:
        CheckpointError: tensors without data, packed ones, NaN or infinity.
    """
    odd = [
        n for n, t in tensors.items() if t.is_meta or t.is_quantized or t.layout != torch.strided
    ]
    if odd:
        raise CheckpointError(
            f"{file} has tensors that are sparse, quantized or without data ({some(odd)}): save "
            "them as plain float tensors."
        )
    broken = [n for n, t in tensors.items() if not torch.isfinite(t).all()]
    if broken:
        raise CheckpointError(
            f"{file} holds NaN or infinity in {len(broken)} tensors ({some(broken)}), as training "
            "leaves it that diverged: give an earlier checkpoint."
        )


def _joined(parts: list[Tensor]) -> Tensor:
    joined = parts[0] if len(parts) == 1 else torch.cat(parts, dim=0)
    return joined.float() if joined.is_floating_point() else joined
