"""The models that can be named, and where their weights come from.

Importable without torch, so that a device install can list what a workstation could export.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from samedge.errors import BackendUnavailableError, CheckpointError, UnknownNameError
from samedge.models.checkpoint_head import checked_head, weights_files
from samedge.types import Progress

if TYPE_CHECKING:
    from samedge.models.promptable import PromptableModel

WEIGHTS = Path(__file__).parent / "weights"
"""Where the embedded models' safetensors lie: ``weights/NAME.safetensors``."""


@dataclasses.dataclass(frozen=True)
class ModelEntry:
    """A model that can be named.

    Attributes:
        name: what to type.
        summary: one line for people.
        encoder: encoder plug-in.
        image_size: side of the input, in pixels.
        parameters: of the whole model, or ``None`` where the weights decide.
        licence: of the weights, as an SPDX identifier.
        origin: page of the people who trained it.
        address: of the weights; ``None`` for an embedded model.
        file_name: of the weights.
        sha256: of the file; ``None`` for an embedded model, whose file is part of the package.
        size_bytes: of the file; ``None`` for an embedded model.
    """

    name: str
    summary: str
    encoder: str
    image_size: int
    parameters: int | None
    licence: str
    origin: str
    address: str | None
    file_name: str
    sha256: str | None = None
    size_bytes: int | None = None

    @property
    def is_embedded(self) -> bool:
        """Whether the weights come with the package."""
        return self.address is None

    @property
    def path(self) -> Path:
        """Where the weights lie, or will after a download."""
        if self.is_embedded:
            return WEIGHTS / self.file_name
        from samedge._cache import cache_file

        return cache_file("checkpoints", self.file_name)

    @property
    def is_present(self) -> bool:
        """Whether the weights are on this machine."""
        return self.path.is_file()


def _meta(
    size: str, file_name: str, *, parameters: int, sha256: str, size_bytes: int
) -> ModelEntry:
    return ModelEntry(
        name=f"sam-vit-{size}",
        summary=f"Segment Anything, ViT-{size.upper()}",
        encoder="vit",
        image_size=1024,
        parameters=parameters,
        licence="Apache-2.0",
        origin="https://github.com/facebookresearch/segment-anything",
        address=f"https://dl.fbaipublicfiles.com/segment_anything/{file_name}",
        file_name=file_name,
        sha256=sha256,
        size_bytes=size_bytes,
    )


def _embedded(size: str, *, summary: str) -> ModelEntry:
    return ModelEntry(
        name=f"samedge-{size}",
        summary=summary,
        encoder="pyramid",
        image_size=512,
        parameters=None,
        licence="Apache-2.0",
        origin="trained by samedge; data and recipe in docs/model-card.md",
        address=None,
        file_name=f"samedge-{size}.safetensors",
    )


# The six hexadecimal digits in Meta's file names are the start of an MD5, not of this SHA-256.
_ENTRIES = (
    _embedded("nano", summary="Embedded; for any device"),
    _embedded("pico", summary="Embedded; for the smallest devices"),
    ModelEntry(
        name="mobile-sam",
        summary="MobileSAM, TinyViT-5M",
        encoder="tinyvit",
        image_size=1024,
        parameters=9_808_452,
        licence="Apache-2.0",
        origin="https://github.com/ChaoningZhang/MobileSAM",
        address=(
            "https://raw.githubusercontent.com/ChaoningZhang/MobileSAM/"
            "f706ad9c4eb7f219c00d9050e46328518ffb65d2/weights/mobile_sam.pt"
        ),
        file_name="mobile_sam.pt",
        sha256="6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
        size_bytes=40_728_226,
    ),
    _meta(
        "b",
        "sam_vit_b_01ec64.pth",
        parameters=93_735_472,
        sha256="ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        size_bytes=375_042_383,
    ),
    _meta(
        "l",
        "sam_vit_l_0b3195.pth",
        parameters=312_342_832,
        sha256="3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        size_bytes=1_249_524_607,
    ),
    _meta(
        "h",
        "sam_vit_h_4b8939.pth",
        parameters=641_090_608,
        sha256="a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        size_bytes=2_564_550_879,
    ),
)

MODELS: dict[str, ModelEntry] = {entry.name: entry for entry in _ENTRIES}


def models() -> tuple[ModelEntry, ...]:
    """Every model that can be named; an embedded one only if its weights are in this package."""
    return tuple(entry for entry in _ENTRIES if not entry.is_embedded or entry.is_present)


def model_entry(name: str) -> ModelEntry:
    """The model of that name.

    Raises:
        UnknownNameError: there is none.
    """
    entry = MODELS.get(name)
    if entry is None or (entry.is_embedded and not entry.is_present):
        raise UnknownNameError("model", name, [entry.name for entry in models()])
    return entry


def parameters_in(path: Path) -> int:
    """Parameters in a safetensors file; a batch norm's statistics are none.

    Reads the header alone: eight bytes with its length, then JSON.
    """
    with path.open("rb") as file:
        header = msgspec.json.decode(file.read(int.from_bytes(file.read(8), "little")))
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    return sum(
        math.prod(tensor["shape"])
        for name, tensor in header.items()
        if name != "__metadata__" and not name.endswith(statistics)
    )


def fetch(entry: ModelEntry, *, progress: Progress | None = None) -> Path:
    """Return the path of a model's weights, downloading them first if need be.

    Args:
        entry: the model.
        progress: hears of the bytes so far and in all.

    Raises:
        DownloadError: they could not be fetched; says where to put the file by hand.
    """
    if entry.address is None:
        return entry.path
    from samedge.models.download import download

    return download(
        entry.address,
        entry.path,
        sha256=entry.sha256,
        size_bytes=entry.size_bytes,
        progress=progress,
    )


def check_named(name_or_path: str | Path) -> ModelEntry | None:
    """Whether a model can be meant, found out at once: without torch, and without a download.

    Args:
        name_or_path: as :func:`load_model` takes it.

    Returns:
        The entry of a name; ``None`` of a file or folder.

    Raises:
        UnknownNameError: neither a name nor a file.
        CheckpointError: there is no such file, or it is another thing than weights.
    """
    path = Path(name_or_path)
    if path.exists():
        for file in weights_files(path):
            checked_head(file)
        return None
    if path.suffix or len(path.parts) > 1:
        raise CheckpointError(f"There is no checkpoint at {path}: give the path of a file.")
    return model_entry(str(name_or_path))


def load_model(
    name_or_path: str | Path,
    *,
    image_size: int | None = None,
    progress: Progress | None = None,
) -> PromptableModel:
    """Load a model by name or from a checkpoint.

    Args:
        name_or_path: a name of :func:`models`, or the path of a checkpoint. A file or folder that
            exists is never taken for a name.
        image_size: side of the input to build for; ``None`` takes the checkpoint's own.
        progress: hears of the bytes so far and in all, while weights are downloaded.

    Returns:
        The model in evaluation mode, fp32, on the CPU; its ``spec`` says what it is.

    Raises:
        UnknownNameError: neither a name nor a file.
        CheckpointError: the file does not fit; see ``samedge.models.checkpoints``.
        DownloadError: the weights could not be fetched.
        BackendUnavailableError: torch is not installed.
    """
    path, entry = Path(name_or_path), check_named(name_or_path)
    if entry is not None:
        path = fetch(entry, progress=progress)
    try:
        from samedge.models.checkpoints import load_checkpoint
    except ImportError as error:
        raise BackendUnavailableError(
            f"Loading a model needs {error.name or 'torch'}: pip install 'samedge[export]'"
        ) from error
    model = load_checkpoint(path, image_size=image_size)
    if entry is not None and model.spec is not None:
        facts = {"name": entry.name, "licence": entry.licence, "origin": entry.origin}
        model.spec = msgspec.structs.replace(model.spec, **facts)
    return model
