"""Models of words by name: what is embedded, a folder of CLIP's, or a repository of a hub."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from samedge.bundle.manifest import ModelRecord, combined_hash, file_hash
from samedge.errors import BackendUnavailableError, CheckpointError, UnknownNameError
from samedge.machine.libraries import library
from samedge.models.checkpoint_files import read_weights
from samedge.models.words.base import WordModel
from samedge.models.words.clip import ClipModel
from samedge.models.words.clip_config import read_config
from samedge.models.words.clip_keys import samedge_names
from samedge.models.words.head import EMBEDDED, load_head

HUB = "hf:"
HUB_NAMES: Mapping[str, str] = {
    "clip-rn50": "timm/resnet50_clip.openai",
    "clip-vit-b-32": "laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
    "clip-vit-b-16": "laion/CLIP-ViT-B-16-laion2B-s34B-b88K",
    "mobileclip-s1": "apple/MobileCLIP-S1-OpenCLIP",
    "mobileclip-s2": "apple/MobileCLIP-S2-OpenCLIP",
}
"""Short names of repositories of the Hugging Face hub."""

_WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "model.safetensors",
    "open_clip_pytorch_model.bin",
    "pytorch_model.bin",
)
_FILES = ("*.json", "README.md", "LICENSE*", "merges.txt", *_WEIGHTS[:3])
_RESEARCH = re.compile(r"(^|[-_ ])(nc|amlr|research)([-_ ]|$)", re.IGNORECASE)
_FIELD = re.compile(r"^(license|license_name):\s*[\"']?([^\"'\n]+?)[\"']?\s*$", re.MULTILINE)


def names() -> tuple[str, ...]:
    """What can be named; beside these, a folder, or ``hf:OWNER/REPOSITORY``."""
    return (EMBEDDED, *HUB_NAMES)


def open_word_model(name: str | Path, *, accepts_licence: bool = False) -> WordModel:
    """Open a model of words.

    Args:
        name: one of :func:`names`, a folder as open_clip or transformers writes it, or
            ``hf:OWNER/REPOSITORY``.
        accepts_licence: whether a licence for research alone is accepted.

    Raises:
        UnknownNameError: there is none of this name.
        CheckpointError: it is no CLIP that samedge builds, or its licence allows research alone and
            was not accepted.
        BackendUnavailableError: the hub's package is not here.
    """
    if str(name) == EMBEDDED:
        return load_head().eval()
    folder = Path(name)
    if folder.is_dir():
        return _clip(folder, name=folder.resolve().name, accepts_licence=accepts_licence)
    repository = HUB_NAMES.get(str(name), str(name).removeprefix(HUB))
    if str(name) not in HUB_NAMES and not str(name).startswith(HUB):
        raise UnknownNameError("model of words", str(name), (*names(), f"{HUB}OWNER/REPOSITORY"))
    return _clip(_fetched(repository), name=repository, accepts_licence=accepts_licence)


def _clip(folder: Path, *, name: str, accepts_licence: bool) -> ClipModel:
    licence = licence_of(folder)
    check_licence(licence, name=name, accepted=accepts_licence)
    path = next((folder / file for file in _WEIGHTS if (folder / file).is_file()), None)
    if path is None:
        raise CheckpointError(f"{folder} holds no weights, expected {' or '.join(_WEIGHTS[:3])}.")
    source = ModelRecord(
        name=name,
        licence=licence,
        origin=f"{name}, {path.name}",
        encoder="clip",
        checkpoint_sha256=combined_hash(path.name, {path.name: file_hash(path)}),
    )
    model = ClipModel(read_config(folder), source)
    model.take(samedge_names(read_weights(path).tensors), origin=str(path))
    return model.eval()


def licence_of(folder: Path) -> str:
    """The licence that a folder's README states at its head; ``unknown`` where it states none."""
    readme = folder / "README.md"
    if not readme.is_file():
        return "unknown"
    text = readme.read_text(encoding="utf-8", errors="replace")[:20_000]
    head = text.split("---")[1] if text.startswith("---") and text.count("---") > 1 else ""
    found = dict(_FIELD.findall(head))
    stated: str = found.get("license", "unknown")
    return found.get("license_name", stated) if stated == "other" else stated


def check_licence(licence: str, *, name: str, accepted: bool) -> None:
    """Refuse a licence for research alone.

    Raises:
        CheckpointError: it is one, and was not accepted.
    """
    if _RESEARCH.search(licence) and not accepted:
        raise CheckpointError(
            f"The weights of {name} are licensed {licence!r}, for research or non-commercial use "
            "alone: read the licence, and give --accept-license where it allows what you do."
        )


def _fetched(repository: str) -> Path:
    try:
        hub = library("huggingface_hub")
    except ImportError as error:
        raise BackendUnavailableError(
            f"Fetching {repository} needs huggingface_hub, which is not installed. Fix: "
            "pip install 'samedge[clip]'"
        ) from error
    try:
        return Path(hub.snapshot_download(repository, allow_patterns=list(_FILES)))
    except Exception as error:
        raise CheckpointError(
            f"{repository} cannot be fetched from the hub ({type(error).__name__}: {error}): fetch "
            "its files on another machine, and give their folder."
        ) from error
