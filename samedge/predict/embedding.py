"""What an encoder makes of an image, good for any number of prompts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from samedge.errors import BundleError
from samedge.pixels.frames import View
from samedge.types import IMAGE_EMBEDDINGS, Array, Size


@dataclasses.dataclass(frozen=True, eq=False)
class ImageEmbedding:
    """The encoder's output for one image, or a rectangle of one.

    Attributes:
        tensors: every output of the encoder by name, float32; what the decoder takes of them is
            passed on to it.
        view: the image's sizes, and how it got into the encoder.
        bundle_id: the bundle whose encoder made it; another bundle's decoder refuses it.
        timing_ms: ``preprocess`` and ``encode``.
    """

    tensors: Mapping[str, Array]
    view: View
    bundle_id: str
    timing_ms: dict[str, float] = dataclasses.field(default_factory=dict)

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
