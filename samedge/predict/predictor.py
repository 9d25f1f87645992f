"""SAM on any backend: two sessions and everything between an image, prompts and masks.

There is no hidden current image: ``encode`` returns an embedding, and ``decode`` takes one, so that
many prompts cost one encode.
"""

from __future__ import annotations

import logging
import platform
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from samedge import runtimes
from samedge.bundle import canary as canaries
from samedge.bundle.bundle import Bundle, embedded_path
from samedge.errors import BundleError, InferenceError, OptionError
from samedge.pixels.frames import (
    LOW_RES_STRIDE,
    encoder_input_from_image,
    input_size_from_original,
    masks_from_low_res,
    stability_scores,
)
from samedge.pixels.prompts import CPU_BATCH, Bucket, decoder_feeds, fitting_bucket, token_count
from samedge.predict.opening import best_backend, check_backend, open_graph
from samedge.runtimes.base import Backend, Session
from samedge.runtimes.options import required_probe
from samedge.types import ActiveBackend, Array, ImageEmbedding, Masks, Prompt

MAX_BATCH = 64
"""Prompts in one call of the decoder; more are cut into several calls, which bounds the memory."""

logger = logging.getLogger(__name__)


class Predictor:
    """A bundle opened on one device.

    The encoder and the decoder are opened when they are first needed, so that encode-only and
    decode-only uses hold one graph. A predictor may be shared between threads.

    Attributes:
        bundle: the opened bundle.
        manifest: its manifest.
        timing_ms: ``load``: what opening has cost so far, the canary included.
    """

    def __init__(
        self,
        bundle: Bundle,
        backend: Backend,
        *,
        device: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.bundle, self.manifest = bundle, bundle.manifest
        self.timing_ms: dict[str, float] = {"load": 0.0}
        self._backend, self._device, self._options = backend, device, dict(options or {})
        self._buckets: list[Bucket] = [(b, n) for b, n in self.manifest.prompt_buckets]
        red, green, blue = self.manifest.preprocessing.pad_value
        self._pad_value = (red, green, blue)
        self._probe = required_probe(backend)
        self._sessions: dict[str, Session] = {}
        self._lock = threading.RLock()
        self._closed = False

    @classmethod
    def from_bundle(
        cls,
        path: str | Path,
        *,
        backend: str | None = None,
        device: str | None = None,
        threads: int | None = None,
        verify: bool = True,
    ) -> Predictor:
        """Open a bundle, verify its hashes, and run its canary if it never ran here.

        Args:
            path: the bundle's folder or ``.samedge`` file.
            backend: another backend than the bundle was made for; it must open the same format.
            device: the backend's own device string; ``None`` takes the bundle's.
            threads: processor threads; ``None`` leaves it to the backend.
            verify: check hashes and canary.

        Raises:
            BundleError: the bundle is missing, altered, or computes wrong results here.
            IncompatibleArtifactError: the backend does not open the bundle's format.
            BackendUnavailableError: the backend or the device is not here.
            UnknownNameError: there is no backend of this name.
            OptionError: ``threads`` is not positive.
        """
        start = time.perf_counter()
        bundle = Bundle.open(path, verify=verify)
        chosen = runtimes.get(backend or bundle.manifest.backend)
        check_backend(bundle, chosen)
        own = chosen.name == bundle.manifest.backend
        options = dict(bundle.manifest.options) if own else {}
        if threads is not None:
            if threads < 1:
                raise OptionError(f"threads is {threads}, expected 1 or more.")
            options["threads"] = threads
        wanted = device or (bundle.manifest.device if own else None)
        predictor = cls(bundle, chosen, device=wanted, options=options)
        predictor._add_load_time(start)
        if verify:
            predictor._check_canary_once()
        return predictor

    def load(self) -> None:
        """Open both graphs now instead of when they are first needed.

        Raises:
            InferenceError: the backend cannot open a graph.
        """
        self._session("encoder")
        self._session("decoder")

    def check_canary(self) -> bool:
        """Run the bundle's canary now, whether or not it has passed here before.

        Returns:
            Whether there was one to run.

        Raises:
            BundleError: this backend and device compute something else than the export did.
        """
        canary = self.bundle.canary()
        if canary is None:
            return False
        encoder, decoder = self._session("encoder"), self._session("decoder")
        where = self.active_backend()
        canaries.check_canary(
            canary,
            encoder.run,
            decoder.run,
            input_size=self.manifest.input_size,
            where=f"{where.name} {where.version} device {where.device!r}",
            bucket=fitting_bucket(self._buckets, 1, 2),
        )
        logger.info("The canary of bundle %s passed on %s.", self.bundle.id, where)
        return True

    def encode(self, image: Array) -> ImageEmbedding:
        """Encode an image once for any number of prompts.

        Args:
            image: (H, W, 3) uint8 RGB.

        Raises:
            ImageError: not such an array.
            InferenceError: the backend failed, or gave NaN or infinity.
        """
        start = time.perf_counter()
        side = self.manifest.input_size
        pixels = encoder_input_from_image(image, side, pad_value=self._pad_value)
        preprocessed = time.perf_counter()
        session = self._session("encoder")
        opened = time.perf_counter()
        data = session.run({"image": pixels})["image_embeddings"]
        timing = {
            "preprocess": _ms(start, preprocessed),
            "encode": _ms(opened, time.perf_counter()),
        }
        self._check_finite("encoder", "image_embeddings", data)
        original = (image.shape[0], image.shape[1])
        return ImageEmbedding(
            data=data,
            original_size=original,
            input_size=input_size_from_original(original, side),
            bundle_id=self.bundle.id,
            timing_ms=timing,
        )

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

    def decode_batch(
        self, embedding: ImageEmbedding, prompts: Sequence[Prompt], *, multimask: bool = False
    ) -> list[Masks]:
        """Masks of several prompts about one image, with as few calls of the graph as possible.

        One mask a prompt is returned: for a single click the best of the three candidates by the
        model's own estimate, otherwise the mask that SAM trains for clear prompts (its token 0).

        Args:
            embedding: of the image that the prompts are about.
            prompts: in pixels of the original image; they do not influence one another.
            multimask: return all three candidates of SAM for every prompt.

        Returns:
            One entry a prompt; ``timing_ms`` is its even share of the graph's call.

        Raises:
            PromptError: a prompt does not fit the image or the bundle.
            BundleError: the embedding is from another bundle.
            InferenceError: the backend failed, or gave NaN or infinity.
        """
        results: list[Masks] = []
        for chunk, logits, iou, decode_ms in self._decoded(embedding, prompts):
            for row, prompt in enumerate(chunk):
                tokens = _selected_tokens(prompt, iou[row], multimask=multimask)
                results.append(
                    self._masks(embedding, logits[row, tokens], iou[row, tokens], decode_ms)
                )
        return results

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
            PromptError: a prompt does not fit the image or the bundle.
            BundleError: the embedding is from another bundle.
            InferenceError: the backend failed, or gave NaN or infinity.
        """
        parts = list(self._decoded(embedding, prompts))
        if not parts:
            side = self.manifest.input_size // LOW_RES_STRIDE
            return np.zeros((0, 4, side, side), np.float32), np.zeros((0, 4), np.float32)
        return np.concatenate([p[1] for p in parts]), np.concatenate([p[2] for p in parts])

    def predict(self, image: Array, prompt: Prompt, *, multimask: bool = False) -> Masks:
        """Encode an image and decode one prompt about it; see :meth:`encode`, :meth:`decode`."""
        return self.decode(self.encode(image), prompt, multimask=multimask)

    def active_backend(self, role: str = "decoder") -> ActiveBackend:
        """What really executes a graph; opens it if need be."""
        return ActiveBackend(self._backend.name, self._probe.version, self._session(role).device)

    def residency(self) -> dict[str, dict[str, float]]:
        """Where the library plans to execute each graph, by role; empty where it does not say."""
        found = {}
        for role in ("encoder", "decoder"):
            try:
                shares = self._session(role).residency()
            except InferenceError as error:
                logger.warning("Where the %s runs is not known: %s", role, error)
                continue
            if shares:
                found[role] = shares
        return found

    def close(self) -> None:
        """Release both graphs. Calling it again does nothing."""
        with self._lock:
            self._closed = True
            while self._sessions:
                self._sessions.popitem()[1].close()

    def __enter__(self) -> Predictor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _session(self, role: str) -> Session:
        with self._lock:
            if self._closed:
                raise InferenceError("The predictor is closed: open the bundle again.")
            if role not in self._sessions:
                start = time.perf_counter()
                self._sessions[role] = open_graph(
                    self.bundle, role, self._backend, device=self._device, options=self._options
                )
                self._add_load_time(start)
            return self._sessions[role]

    def _add_load_time(self, start: float) -> None:
        self.timing_ms["load"] += _ms(start, time.perf_counter())

    def _decoded(
        self, embedding: ImageEmbedding, prompts: Sequence[Prompt]
    ) -> Iterator[tuple[Sequence[Prompt], Array, Array, float]]:
        """Chunks of the prompts with their logits, IoU predictions, and milliseconds a prompt."""
        self._check_embedding(embedding)
        session = self._session("decoder")
        limit = CPU_BATCH if session.device.lower() == "cpu" else MAX_BATCH
        waiting = list(prompts)
        while waiting:
            length = max(map(token_count, waiting))
            bucket = fitting_bucket(self._buckets, len(waiting), length)
            size = min(len(waiting), bucket[0] if bucket else limit)
            chunk, waiting = waiting[:size], waiting[size:]
            feeds = decoder_feeds(
                chunk,
                original_size=embedding.original_size,
                target_length=self.manifest.input_size,
                bucket=bucket,
            )
            start = time.perf_counter()
            outputs = session.run({"image_embeddings": embedding.data, **feeds})
            decode_ms = _ms(start, time.perf_counter()) / size
            logits, iou = outputs["low_res_masks"][:size], outputs["iou_predictions"][:size]
            self._check_finite("decoder", "iou_predictions", iou)
            yield chunk, logits, iou, decode_ms

    def _masks(
        self, embedding: ImageEmbedding, logits: Array, iou: Array, decode_ms: float
    ) -> Masks:
        self._check_finite("decoder", "low_res_masks", logits)
        start = time.perf_counter()
        side = self.manifest.input_size
        masks = masks_from_low_res(
            logits, embedding.input_size, embedding.original_size, target_length=side
        )
        stability = stability_scores(logits, embedding.input_size)
        timing = {"decode": decode_ms, "postprocess": _ms(start, time.perf_counter())}
        return Masks(masks, iou, logits, stability, self.active_backend(), timing)

    def _check_embedding(self, embedding: ImageEmbedding) -> None:
        if embedding.bundle_id != self.bundle.id:
            raise BundleError(
                f"The embedding was made by bundle {embedding.bundle_id!r}, and this is bundle "
                f"{self.bundle.id!r}: encode the image again with this predictor."
            )

    def _check_finite(self, role: str, name: str, array: Array) -> None:
        if not np.isfinite(array).all():
            where = self.active_backend(role)
            raise InferenceError(
                f"The {role} gave NaN or infinity in {name} on {where.name} {where.device!r}: "
                "export with a higher precision, such as --precision fp32."
            )

    def _check_canary_once(self) -> None:
        """Run the canary, unless it has passed before with this very combination."""
        facts = {
            "bundle": self.bundle.id,
            "canary": self.manifest.canary_sha256,
            "backend": [self._backend.name, self._probe.version],
            "device": [self._device or self._probe.devices[0], platform.machine(), platform.node()],
            "options": self._options,
        }
        if self.manifest.canary_sha256 is None or canaries.remembered(facts):
            return
        self.load()  # counts its own time
        start = time.perf_counter()
        self.check_canary()
        canaries.remember(facts)
        self._add_load_time(start)


def load_default(
    *, backend: str | None = None, device: str | None = None, threads: int | None = None
) -> Predictor:
    """Open the model that comes inside the samedge package.

    Args:
        backend: ``None`` takes the first available one that opens its format, the bundle's own
            first; the result says which.
        device: the backend's own device string.
        threads: processor threads; ``None`` leaves it to the backend.

    Raises:
        BundleError: this installation carries no model.
        BackendUnavailableError: no backend here opens it.
    """
    path = embedded_path()
    if backend is None:
        backend = best_backend(Bundle.open(path, verify=False))  # opening it verifies
    return Predictor.from_bundle(path, backend=backend, device=device, threads=threads)


def _selected_tokens(prompt: Prompt, iou: Array, *, multimask: bool) -> list[int]:
    """SAM's rule: three candidates where one click leaves open what is meant."""
    if multimask:
        return [1, 2, 3]
    return [1 + int(np.argmax(iou[1:]))] if prompt.is_ambiguous else [0]


def _ms(start: float, stop: float) -> float:
    return (stop - start) * 1e3
