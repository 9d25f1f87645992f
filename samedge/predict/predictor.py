"""SAM on any backend: everything between an image, prompts and masks.

There is no hidden current image: ``encode`` returns an embedding, and ``decode`` takes one, so that
many prompts cost one encode.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar, overload

import numpy.typing as npt

from samedge import runtimes
from samedge.bundle.bundle import Bundle
from samedge.errors import OptionError
from samedge.formats.results import Masks
from samedge.pixels.layouts import YuvImage
from samedge.predict import trust
from samedge.predict.decoding import MaskDecoder
from samedge.predict.embedding import ImageEmbedding
from samedge.predict.focus import FocusMode, SecondLook, checked_mode
from samedge.predict.graphs import Graphs, best_backend
from samedge.predict.looks import Looks
from samedge.predict.mapping import ManyFrames
from samedge.predict.opening import Preprocess, frame_with, placement
from samedge.runtimes.base import Backend, Probe
from samedge.runtimes.deadline import OPEN_TIMEOUT_S, TIMEOUT_S
from samedge.types import IMAGE, ActiveBackend, Array, Prompt, Region, Role

Opened = TypeVar("Opened", bound="Predictor")


class Predictor(ManyFrames):
    """A bundle opened on one device.

    The encoder and the decoder are opened when they are first needed, so that encode-only and
    decode-only uses hold one graph. A predictor may be shared between threads: closing it waits for
    the calls that run. In a fork it opens its graphs anew, mostly in a process of their own.

    Args are those of :class:`~samedge.predict.graphs.Graphs`, and:

    Args:
        focus: when the part of the image around a prompt is encoded again, closer: ``auto`` where
            what the prompt is about is small, ``always``, or ``never``, which is the default, as a
            decode then never costs an encode. See :mod:`samedge.predict.focus`.

    Attributes:
        bundle, manifest: the opened bundle's.
        frame: how images get into the encoder, and masks come back.
        graphs: the bundle's graphs by role.
    """

    def __init__(
        self,
        bundle: Bundle,
        backend: Backend,
        *,
        device: str | None = None,
        options: Mapping[str, Any] | None = None,
        probe: Probe | None = None,
        focus: FocusMode = "never",
    ) -> None:
        self.bundle, self.manifest, self.frame = bundle, bundle.manifest, bundle.manifest.frame
        self.graphs = Graphs(bundle, backend, device=device, options=options, probe=probe)
        self._decoder = MaskDecoder(self.graphs)
        self._second = SecondLook(checked_mode(focus), self._decoder, encode=self._encoded)
        self._other_load_ms = 0.0
        super().__init__()

    @classmethod
    def from_bundle(
        cls: type[Opened],
        path: str | Path | Bundle,
        *,
        backend: str | None = None,
        device: str | None = None,
        threads: int | None = None,
        verify: bool = True,
        any_backend: bool = False,
        focus: FocusMode = "never",
        preprocess: Preprocess | None = None,
    ) -> Opened:
        """Open a bundle, verify its hashes, and run its canary if it never ran here.

        Args:
            path: the bundle's folder or ``.samedge`` file, or a bundle that is open already.
            backend: another backend than the bundle was made for; it must open the same format.
            device: the backend's own device string; ``None`` takes the bundle's.
            threads: processor threads; ``None`` leaves it to the backend.
            verify: check hashes and canary.
            any_backend: where no backend is named and the bundle's own is not here, take the first
                that opens its formats; the results say which.
            focus: ``auto``, ``never`` or ``always``: whether small things get a second look, at
                the cost of one more encode each, 16 a call at most.
            preprocess: how large images are made smaller, ``exact`` as SAM does or ``fast``;
                ``None`` as the bundle says. See :mod:`samedge.pixels.resizing`.

        Raises:
            BundleError: the bundle is missing, altered, or computes wrong results here.
            IncompatibleArtifactError: the backend does not open the bundle's format.
            BackendUnavailableError: the backend or the device is not here.
            UnknownNameError: there is no backend of this name, or no such ``focus``.
            OptionError: ``threads`` is not positive, or there is no such ``preprocess``.
        """
        start = time.perf_counter()
        bundle = path if isinstance(path, Bundle) else Bundle.open(path, verify=verify)
        chosen, probe = runtimes.get(backend or bundle.manifest.backend), None
        if backend is None and any_backend:
            chosen, probe = best_backend(bundle)
        how = placement(bundle, chosen, device=device, threads=threads)
        opened = cls(
            bundle, chosen, device=how.device, options=how.options, probe=probe, focus=focus
        )
        opened.frame = frame_with(bundle.manifest.frame, preprocess)
        return opened._checked(start, verify=verify)

    @classmethod
    def isolated(
        cls: type[Opened],
        path: str | Path | Bundle,
        *,
        backend: str | None = None,
        device: str | None = None,
        threads: int | None = None,
        verify: bool = True,
        focus: FocusMode = "never",
        timeout_s: float = TIMEOUT_S,
        open_timeout_s: float = OPEN_TIMEOUT_S,
    ) -> Opened:
        """Open a bundle whose graphs run in a process of their own.

        A library that crashes there is started again, and the call is answered or fails; one that
        hangs is ended at the limit. Tensors go through pipes, which costs milliseconds a call.

        Args:
            path: as of :meth:`from_bundle`, and so the next five.
            backend: see there.
            device: see there.
            threads: see there.
            verify: see there.
            focus: see there.
            timeout_s: for one run of a graph.
            open_timeout_s: for opening one, which may compile it.

        Raises:
            SamedgeError: as of :meth:`from_bundle`.
        """
        start = time.perf_counter()
        bundle = path if isinstance(path, Bundle) else Bundle.open(path, verify=verify)
        inner = runtimes.get(backend or bundle.manifest.backend)
        how = placement(bundle, inner, device=device, threads=threads)
        from samedge.runtimes.isolated.backend import IsolatedBackend

        chosen = IsolatedBackend(inner, timeout_s=timeout_s, open_timeout_s=open_timeout_s)
        try:
            opened = cls(bundle, chosen, device=how.device, options=how.options, focus=focus)
            return opened._checked(start, verify=verify)
        except BaseException:
            chosen.end()
            raise

    def _checked(self: Opened, start: float, *, verify: bool) -> Opened:
        """The same, its canary run if it never was here."""
        self.is_verified = verify
        if verify:
            trust.check_canary_once(self.graphs)
        self._other_load_ms = (time.perf_counter() - start) * 1e3 - self.graphs.load_ms
        return self

    def __repr__(self) -> str:
        return f"Predictor({self.bundle!r} on {self.graphs.backend.name})"

    @property
    def timing_ms(self) -> dict[str, float]:
        """``load``: what opening has cost so far, the canary included."""
        return {"load": self.graphs.load_ms + self._other_load_ms}

    @property
    def focus(self) -> FocusMode:
        """When small things get a second look."""
        return self._second.mode

    def load(self) -> None:
        """Open encoder and decoder now instead of when they are first needed.

        Raises:
            InferenceError: the backend cannot open a graph.
        """
        self.graphs.load()

    def check_canary(self) -> bool:
        """Run the bundle's canary now, whether or not it has passed here before.

        Returns:
            Whether there was one to run.

        Raises:
            BundleError: this backend and device compute something else than the export did.
        """
        return trust.check_canary(self.graphs)

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
        return self._decoder.all_logits(embedding, prompts)

    def predict(self, image: Array | YuvImage, prompt: Prompt, *, multimask: bool = False) -> Masks:
        """Encode an image and decode one prompt about it; see :meth:`encode`, :meth:`decode`."""
        self.load()  # both graphs at the same time
        return self.decode(self.encode(image), prompt, multimask=multimask)

    def active_backend(self, role: str = Role.DECODER) -> ActiveBackend:
        """What really executes a graph; opens it if need be."""
        return self.graphs.active(role)

    def residency(self) -> dict[str, dict[str, float]]:
        """Where the library plans to execute each graph, by role; empty where it does not say."""
        return self.graphs.residency()

    def close(self) -> None:
        """Release the graphs. Calling it again does nothing."""
        self.graphs.close()
        self.others.close()

    def __enter__(self: Opened) -> Opened:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
