"""What an encoder makes of an image, good for any number of prompts, and its file.

A file is safetensors: the encoder's outputs, float32, and under ``samedge`` in its metadata which
bundle made them and how the image got into the encoder. Nothing in it is executed.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import msgspec
import numpy as np

from samedge.errors import BackendUnavailableError, BundleError, ImageError, SamedgeError
from samedge.files import limits
from samedge.files.reading import read_bytes
from samedge.files.writing import write_bytes
from samedge.pixels.frames import Frame, View
from samedge.predict.looks import Looks
from samedge.types import IMAGE_EMBEDDINGS, Array, Region, Size

_KEY = "samedge"
_SCHEMA = "samedge.embedding/1"


class _About(msgspec.Struct, frozen=True, kw_only=True):
    """What a file says of its tensors.

    Attributes:
        schema: ``_SCHEMA``.
        bundle_id: the bundle whose encoder made them.
        original_size: of the image.
        region: of it that was encoded.
        frame: how it got into the encoder.
    """

    schema: str
    bundle_id: str
    original_size: Size
    region: Region | None
    frame: Frame


@dataclasses.dataclass(frozen=True, eq=False)
class ImageEmbedding:
    """The encoder's output for one image, or a rectangle of one.

    Attributes:
        tensors: every output of the encoder by name, float32; what the decoder takes of them is
            passed on to it.
        view: the image's sizes, and how it got into the encoder.
        bundle_id: the bundle whose encoder made it; another bundle's decoder refuses it.
        timing_ms: ``preprocess`` and ``encode``.
        looks: the image itself and what was looked at again; ``None``: it is not looked at again.
    """

    tensors: Mapping[str, Array]
    view: View
    bundle_id: str
    timing_ms: dict[str, float] = dataclasses.field(default_factory=dict)
    looks: Looks[ImageEmbedding] | None = None

    def __repr__(self) -> str:
        height, width = self.original_size
        shapes = ", ".join(f"{name} {tuple(a.shape)}" for name, a in self.tensors.items())
        return f"ImageEmbedding({height}x{width} px, {shapes}, bundle {self.bundle_id})"

    @property
    def data(self) -> Array:
        """(1, 256, S/16, S/16): the tensor ``image_embeddings``.

        Raises:
            BundleError: the encoder gives none of this name.
        """
        if IMAGE_EMBEDDINGS not in self.tensors:
            raise BundleError(
                f"This encoder gives no {IMAGE_EMBEDDINGS}, only {', '.join(self.tensors)}: read "
                "`tensors`."
            )
        return self.tensors[IMAGE_EMBEDDINGS]

    @property
    def original_size(self) -> Size:
        """The image's size as it was given."""
        return self.view.original_size

    @property
    def input_size(self) -> Size:
        """The size of what the encoder saw, after resizing and before padding."""
        return self.view.input_size

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the embedding into a safetensors file, in one step.

        Args:
            path: the file; it says which bundle's encoder made it.

        Raises:
            BackendUnavailableError: safetensors is not installed.
            WriteError: it cannot be written; what was there is untouched.
        """
        about = _About(
            schema=_SCHEMA,
            bundle_id=self.bundle_id,
            original_size=self.view.original_size,
            region=self.view.region,
            frame=self.view.frame,
        )
        tensors = {
            name: np.ascontiguousarray(array, np.float32) for name, array in self.tensors.items()
        }
        written = _safetensors().numpy.save(tensors, {_KEY: msgspec.json.encode(about).decode()})
        return write_bytes(Path(path), written)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ImageEmbedding:
        """Read an embedding that :meth:`save` wrote.

        Predictors of the bundle that made it take it; every other refuses it.

        Args:
            path: the file.

        Raises:
            BackendUnavailableError: safetensors is not installed.
            BundleError: missing, too large, damaged, or something else.
        """
        path = Path(path)
        library = _safetensors()
        data = read_bytes(
            path, limit="embedding_bytes", expected="an embedding's file", error=BundleError
        )
        try:
            tensors = library.numpy.load(data)
            header = msgspec.json.decode(_header(data), type=_Header)
            about = msgspec.json.decode(header.metadata.samedge, type=_About)
            view = View(about.frame, about.original_size, about.region)
            _check(about, tensors)
        except (library.SafetensorError, msgspec.MsgspecError, SamedgeError, ValueError) as error:
            raise BundleError(
                f"{path} is no embedding that samedge saved, or it is damaged ({error}): encode "
                "the image again."
            ) from error
        return cls(tensors, view, about.bundle_id)


class _Metadata(msgspec.Struct, frozen=True):
    samedge: str


class _Header(msgspec.Struct, frozen=True):
    metadata: _Metadata = msgspec.field(name="__metadata__")


def _header(data: bytes) -> bytes:
    """The JSON at the start of a safetensors file, which the library has checked."""
    return data[8 : 8 + int.from_bytes(data[:8], "little")]


def _check(about: _About, tensors: Mapping[str, Array]) -> None:
    """Refuse what no encoder of this samedge gives.

    Raises:
        BundleError, ImageError: it is no such thing.
    """
    if about.schema != _SCHEMA:
        raise BundleError(f"its schema is {about.schema}, expected {_SCHEMA}")
    height, width = about.original_size
    limits.check(height * width, "image_pixels", what="its image", error=ImageError)
    for name, array in tensors.items():
        if array.dtype != np.float32 or not np.isfinite(array).all():
            raise BundleError(f"its {name} is {array.dtype} or not finite, expected float32")


def _safetensors() -> ModuleType:
    try:
        import safetensors
        import safetensors.numpy
    except ImportError as error:
        raise BackendUnavailableError(
            "safetensors, which embeddings are saved with, is not installed: pip install "
            "'safetensors>=0.5'"
        ) from error
    return safetensors
