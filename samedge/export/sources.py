"""Where an exported model comes from: its weights, their licence and origin."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from samedge.bundle.manifest import ModelRecord, file_hash
from samedge.errors import ExportError
from samedge.models import zoo
from samedge.models.checkpoint_head import weights_files, weights_hash
from samedge.models.promptable import PromptableModel
from samedge.pixels.image_files import IMAGE_SUFFIXES, PHOTOS, is_picture
from samedge.pixels.images import load_image
from samedge.types import Array, Steps

MAX_PHOTOS = 8
"""As many are compared of a folder that holds more, evenly spread over its sorted names."""


def opened_model(
    model: PromptableModel | str | Path, *, image_size: int | None, steps: Steps | None = None
) -> tuple[PromptableModel, ModelRecord]:
    """A model ready to be exported, and the record of its weights.

    Args:
        model: a name of ``samedge models``, the path of a checkpoint, or a model.
        image_size: side of the input to build for; ``None`` takes the model's own.
        steps: hears of a download; ``None`` tells nobody.

    Raises:
        ExportError: a model object has another size than asked for.
        UnknownNameError: no such name.
        CheckpointError: the checkpoint does not fit.
    """
    if isinstance(model, PromptableModel):
        if image_size not in (None, model.image_size):
            raise ExportError(
                f"The model was built for {model.image_size} px and input_size is {image_size}: "
                "build it for that size, or give its checkpoint."
            )
        record = ModelRecord(
            name="custom", licence="unknown", origin="unknown", encoder=_encoder_name(model)
        )
        return model.eval(), record
    told = steps or Steps()
    told.step(f"loading {model}")
    loaded = zoo.load_model(
        model,
        image_size=image_size,
        progress=lambda done, total: told.say(f"downloading {model}: {_share(done, total)}"),
    )
    return loaded.eval(), _record(model, loaded)


def _record(model: str | Path, loaded: PromptableModel) -> ModelRecord:
    path = Path(model)
    if not path.exists():
        entry = zoo.model_entry(str(model))
        return ModelRecord(
            name=entry.name,
            licence=entry.licence,
            origin=entry.origin,
            encoder=entry.encoder,
            checkpoint_sha256=entry.sha256 or file_hash(entry.path),
        )
    spec = loaded.spec  # what one of our own checkpoints says of itself; empty in any other
    return ModelRecord(
        name=(spec and spec.name) or path.stem,
        licence=(spec and spec.licence) or "unknown",
        origin=(spec and spec.origin) or weights_files(path)[0].name,
        encoder=_encoder_name(loaded),
        checkpoint_sha256=weights_hash(path),
    )


def _encoder_name(model: PromptableModel) -> str:
    return type(model.image_encoder).__module__.rpartition("._")[2]


def _share(done: int, total: int | None) -> str:
    return f"{done / 1e6:.0f} MB" if total is None else f"{done / total:.0%}"


def photo_paths(images: Path | str | None) -> tuple[Path, ...]:
    """Photos to compare on.

    Args:
        images: a folder; ``None`` takes the photos that come with samedge.

    Raises:
        ExportError: the folder holds fewer than two pictures.
    """
    folder = PHOTOS if images is None else Path(images)
    if not folder.is_dir():
        raise ExportError(f"{folder} is no folder: give one that holds photos.")
    found = sorted(filter(is_picture, folder.iterdir()))
    if len(found) < 2:
        raise ExportError(
            f"{folder} holds {len(found)} pictures ({', '.join(IMAGE_SUFFIXES)}), expected at "
            "least 2 that differ: give another folder, or none to use samedge's own."
        )
    return spread(found)


def spread(found: Sequence[Path]) -> tuple[Path, ...]:
    """At most :data:`MAX_PHOTOS` of many files, evenly spread."""
    step = max(len(found) / MAX_PHOTOS, 1.0)
    return tuple(found[int(index * step)] for index in range(min(len(found), MAX_PHOTOS)))


def read_photos(paths: tuple[Path, ...]) -> list[Array]:
    """(H, W, 3) uint8 RGB of every file.

    Raises:
        ImageError: one is not a picture.
    """
    return [load_image(path) for path in paths]
