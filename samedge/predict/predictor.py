"""SAM on any backend: everything between an image, prompts and masks.

There is no hidden current image: ``encode`` returns an embedding, and ``decode`` takes one, so that
many prompts cost one encode.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Iterator, Sequence
from typing import Literal, overload

import numpy.typing as npt

from samedge.errors import OptionError
from samedge.formats.results import Masks
from samedge.pixels.layouts import YuvImage
from samedge.predict.decoding import MaskDecoder, check_asked
from samedge.predict.embedding import ImageEmbedding
from samedge.predict.focus import SecondLook
from samedge.predict.looks import Looks
from samedge.predict.opened import OpenedBundle
from samedge.types import IMAGE, Array, Prompt, Region, Role


class Predictor(OpenedBundle):
    """A bundle opened on one device: images to embeddings, prompts to masks.

    It is opened by :meth:`from_bundle`, and may be shared between threads. Args and attributes are
    those of :class:`~samedge.predict.opened.OpenedBundle`.
    """

    @functools.cached_property
    def _decoder(self) -> MaskDecoder:
        return MaskDecoder(self.graphs)

    @functools.cached_property
    def _second(self) -> SecondLook:
        return SecondLook(self.focus, self._decoder, encode=self._encoded, refine=self.refine)

    def encode(self, image: Array | YuvImage, *, region: Region | None = None) -> ImageEmbedding:
        """Encode an image once for any number of prompts.

        Args:
            image: (H, W, 3) uint8 RGB, or what :func:`samedge.image_from_yuv` makes.
            region: ``(x0, y0, x1, y1)``, whole pixels: the part of the image that the encoder sees,
                at its full input size. Prompts and masks stay those of the whole image.

        Raises:
            ImageError: not such an array, or a region that is not inside it.
            InferenceError: the backend failed, gave NaN or infinity, or an embedding that is
                constant or another image's.
        """
        made = self._encoded(image, region)
        if self.focus == "never" or region is not None:
            return made
        pixels = image.rgb() if isinstance(image, YuvImage) else image
        return dataclasses.replace(made, looks=Looks(pixels))

    def _encoded(self, image: Array | YuvImage, region: Region | None) -> ImageEmbedding:
        start = time.perf_counter()
        view = self.frame.view_of(image, region=region)
        pixels = view.encoder_input(image)
        preprocessed = time.perf_counter()
        self.graphs.session(Role.ENCODER)
        opened = time.perf_counter()
        tensors = self.graphs.run(Role.ENCODER, {IMAGE: pixels})
        timing = {
            "preprocess": (preprocessed - start) * 1e3,
            "encode": (time.perf_counter() - opened) * 1e3,
        }
        self.graphs.check_finite(Role.ENCODER, tensors)
        self.graphs.check_alive(pixels, tensors)
        return ImageEmbedding(tensors, view, self.bundle.id, timing)

    def decode(
        self, embedding: ImageEmbedding, prompt: Prompt, *, multimask: bool = False
    ) -> Masks:
        """Masks of one prompt.

        Args:
            embedding: of the image that the prompt is about.
            prompt: in pixels of the original image.
            multimask: return all three candidates of SAM instead of one mask.

        Raises:
            PromptError: the prompt does not fit the image or the bundle.
            BundleError: the embedding is from another bundle.
            InferenceError: the backend failed, or gave NaN or infinity.
        """
        return self.decode_batch(embedding, [prompt], multimask=multimask)[0]

    @overload
    def decode_batch(
        self,
        embedding: ImageEmbedding,
        prompts: Sequence[Prompt],
        *,
        multimask: bool = False,
        on_invalid: Literal["raise"] = "raise",
    ) -> list[Masks]: ...

    @overload
    def decode_batch(
        self,
        embedding: ImageEmbedding,
        prompts: Sequence[Prompt],
        *,
        multimask: bool = False,
        on_invalid: Literal["skip"],
    ) -> list[Masks | None]: ...

    def decode_batch(
        self,
        embedding: ImageEmbedding,
        prompts: Sequence[Prompt],
        *,
        multimask: bool = False,
        on_invalid: Literal["raise", "skip"] = "raise",
    ) -> list[Masks] | list[Masks | None]:
        """Masks of several prompts about one image, with as few calls of the graph as possible.

        One mask a prompt is returned: for a single click the best of the three candidates by the
        model's own estimate, otherwise the mask that SAM trains for clear prompts (its token 0).

        Args:
            embedding: of the image that the prompts are about.
            prompts: in pixels of the original image; they do not influence one another.
            multimask: return all three candidates of SAM for every prompt.
            on_invalid: what to do about a prompt that does not fit the image or the bundle, such
                as a box wholly outside: ``raise`` before anything is computed, or ``skip``.

        Returns:
            One entry a prompt, ``None`` for one that was skipped; ``timing_ms`` is its even share
            of the graph's call.

        Raises:
            PromptError: a prompt does not fit; names its index in the batch.
            OptionError: another word for ``on_invalid``.
            BundleError: the embedding is from another bundle.
            InferenceError: the backend failed, or gave NaN or infinity.
        """
        if on_invalid not in ("raise", "skip"):
            raise OptionError(f"on_invalid is {on_invalid!r}, expected 'raise' or 'skip'.")
        check_asked(embedding, prompts)
        return self._second.results(
            embedding, prompts, multimask=multimask, skip=on_invalid == "skip"
        )

    def closer_looks(
        self, embedding: ImageEmbedding, prompts: Sequence[Prompt]
    ) -> Iterator[tuple[int, Masks]]:
        """Masks of what is small, by a closer look alone; nothing for what needs none.

        Unlike :meth:`decode_batch` it holds the masks of a few prompts at a time.

        Args:
            embedding: of the image that the prompts are about.
            prompts: boxes or earlier masks, in pixels of the original image.

        Yields:
            A prompt's place in the batch and its answer, part of the image by part.

        Raises:
            PromptError: a prompt does not fit the image or the bundle.
            BundleError: the embedding is from another bundle.
            InferenceError: the backend failed, or gave NaN or infinity.
        """
        check_asked(embedding, prompts)
        return self._second.closer(embedding, prompts)

    def decode_boxes(
        self, embedding: ImageEmbedding, boxes: npt.ArrayLike, *, multimask: bool = False
    ) -> list[Masks]:
        """Masks of boxes, such as a detector's: one result a box.

        Args:
            embedding: of the image that the boxes are about.
            boxes: (N, 4) ``x0, y0, x1, y1``, pixels of the original image; N may be 0.
            multimask: return all three candidates of SAM for every box.

        Raises:
            PromptError: another shape, or a box that is none or outside the image; names its row.
            BundleError: the embedding is from another bundle.
            InferenceError: the backend failed, or gave NaN or infinity.
        """
        return self.decode_batch(embedding, Prompt.from_boxes(boxes), multimask=multimask)

    def decode_logits(
        self, embedding: ImageEmbedding, prompts: Sequence[Prompt]
    ) -> tuple[Array, Array]:
        """The decoder's own outputs, before any selection or upscaling.

        Args:
            embedding: of the image that the prompts are about.
            prompts: B of them, in pixels of the original image.

        Returns:
            Low-res logits (B, 4, S/4, S/4) and iou_predictions (B, 4), float32. Token 0 is the mask
            for clear prompts, 1 to 3 are the candidates for an ambiguous one.

        Raises:
            PromptError: a prompt does not fit the image or the bundle; names its index.
            BundleError: the embedding is from another bundle.
            InferenceError: the backend failed, or gave NaN or infinity.
        """
        check_asked(embedding, prompts)
        return self._decoder.all_logits(embedding, prompts)

    def predict(self, image: Array | YuvImage, prompt: Prompt, *, multimask: bool = False) -> Masks:
        """Encode an image and decode one prompt about it; see :meth:`encode`, :meth:`decode`."""
        self.load()  # both graphs at the same time
        return self.decode(self.encode(image), prompt, multimask=multimask)
