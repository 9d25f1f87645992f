"""What the endpoints of all protocols share: the model, its thread, and the images that it keeps.

Every method that starts with ``ask_`` is called in the event loop, and only queues; the work itself
runs in the model's thread.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from samedge.formats.results import Masks, mask_records
from samedge.pixels.images import load_image
from samedge.predict.everything import (
    AutomaticMask,
    EverythingConfig,
    batch_count,
    segment_everything,
)
from samedge.predict.predictor import Predictor
from samedge.types import Array, Prompt
from samedge.web.server import messages
from samedge.web.server.cache import Cache, KeptImage
from samedge.web.server.failures import NotFoundError
from samedge.web.server.metrics import Metrics
from samedge.web.server.settings import ServeSettings
from samedge.web.server.worker import Job, Worker

_ID_CHARACTERS = 32

Emit = Callable[[messages.StreamLine], None]


class _Found(NamedTuple):
    masks: list[AutomaticMask]
    elapsed_ms: float


class Service:
    """One opened bundle behind a queue.

    Args:
        predictor: an open one; it stays the caller's, and nobody else may use it meanwhile.
        settings: of the server.

    Attributes:
        settings: of the server.
        predictor: for the model's thread alone.
        worker: the model's thread.
        cache: the images that are kept.
        metrics: what happened.
        bundle, backend: for answers.
    """

    def __init__(self, predictor: Predictor, settings: ServeSettings) -> None:
        self.settings, self.predictor = settings, predictor
        self.worker = Worker(limit=settings.queue)
        self.cache: Cache[KeptImage] = Cache(
            count=settings.images, size_bytes=settings.kept_bytes, keep_s=settings.keep_s
        )
        self.metrics = Metrics()
        self.metrics.watch(self.worker, self.cache)
        self.bundle = messages.bundle_message(predictor.manifest)
        self.backend = messages.backend_message(predictor.active_backend())

    def close(self) -> None:
        """End the model's thread; what waits is dropped."""
        self.worker.close(seconds=self.settings.stop_s)

    def model(self) -> messages.ModelAnswer:
        """What this server computes with."""
        manifest = self.predictor.manifest
        return messages.ModelAnswer(
            bundle=self.bundle,
            backend=self.backend,
            prompts=list(manifest.prompts),
            predicted_iou=manifest.thresholds.predicted_iou,
            stability=manifest.thresholds.stability,
            licence=manifest.model.licence,
            body_bytes=self.settings.body_bytes,
            keep_s=self.settings.keep_s,
            reads_paths=bool(self.settings.roots),
        )

    def image_id(self, picture: bytes) -> str:
        """The name of an image: of its bytes and the bundle, so that it is encoded once."""
        digest = hashlib.sha256(self.bundle.id.encode())
        digest.update(picture)
        return digest.hexdigest()[:_ID_CHARACTERS]

    def kept(self, image_id: str) -> KeptImage:
        """A kept image.

        Raises:
            NotFoundError: it is not kept, or no longer.
        """
        found = self.cache.get(image_id)
        if found is None:
            raise NotFoundError(
                f"There is no image {image_id!r:.80}, or it was dropped for room or after "
                f"{self.settings.keep_s:.0f} s without a question: send the image again."
            )
        return found

    def encoded(self, picture: bytes) -> tuple[KeptImage, bool]:
        """An image in the model's thread, and whether it had to be encoded.

        Raises:
            ImageError: it is no image, or too large.
            InferenceError: the backend failed.
        """
        key = self.image_id(picture)
        found = self.cache.get(key)
        if found is not None:
            return found, False
        embedding = self.predictor.encode(load_image(picture))
        self.metrics.encodes.inc()
        found = KeptImage(key, embedding, picture)
        self.cache.put(found)
        return found, True

    def decoded(
        self, kept: KeptImage, prompts: Sequence[Prompt], *, multimask: bool = False
    ) -> list[Masks]:
        """Masks in the model's thread, one entry a prompt.

        Raises:
            PromptError: one does not fit the image.
            InferenceError: the backend failed.
        """
        found = self.predictor.decode_batch(kept.embedding, prompts, multimask=multimask)
        self.metrics.decodes.inc(len(prompts))
        return found

    def ask_image(self, picture: bytes) -> Job[bytes]:
        """Encode an image; the answer as JSON."""

        def work(job: Job[bytes]) -> bytes:
            del job
            kept, is_new = self.encoded(picture)
            return msgspec.json.encode(self.image_answer(kept, is_new=is_new))

        return self.worker.submit(work, seconds=self.settings.request_s)

    def ask_masks(self, kept: KeptImage, request: messages.MasksRequest) -> Job[bytes]:
        """Segment what a request asks for; the answer as JSON."""

        def work(job: Job[bytes]) -> bytes:
            del job
            size = kept.embedding.original_size
            prompts = [messages.prompt_from_message(one, size) for one in request.prompts]
            results = self.decoded(kept, prompts, multimask=request.multimask)
            return msgspec.json.encode(self._masks_answer(kept, prompts, results))

        return self.worker.submit(work, seconds=self.settings.request_s)

    def ask_logits(self, kept: KeptImage, message: messages.PromptMessage) -> Job[bytes]:
        """The decoder's own outputs for one prompt; the answer as JSON."""

        def work(job: Job[bytes]) -> bytes:
            del job
            start = time.perf_counter()
            prompt = messages.prompt_from_message(message, kept.embedding.original_size)
            logits, iou = self.predictor.decode_logits(kept.embedding, [prompt])
            self.metrics.decodes.inc()
            elapsed = (time.perf_counter() - start) * 1e3
            return msgspec.json.encode(
                messages.LogitsAnswer(
                    image=image_message(kept),
                    tokens=logits.shape[1],
                    side=logits.shape[2],
                    low_res_logits=float_bytes(logits),
                    predicted_iou=iou[0].tolist(),
                    timing_ms={"decode": elapsed},
                )
            )

        return self.worker.submit(work, seconds=self.settings.request_s)

    def ask_everything(
        self, kept: KeptImage, request: messages.EverythingRequest, *, emit: Emit
    ) -> Job[None]:
        """Find everything in an image, line by line.

        Args:
            kept: the image.
            request: settings.
            emit: is called in the model's thread with each line but the error's.
        """

        def work(job: Job[None]) -> None:
            config = EverythingConfig.for_bundle(
                self.predictor.manifest,
                points_per_side=request.points_per_side,
                pred_iou_threshold=request.pred_iou_threshold,
                stability_threshold=request.stability_threshold,
                crop_layers=request.crop_layers,
            )
            found = self._everything(kept, config, job=job, emit=emit)
            self._emit_masks(kept, found, emit=emit, with_logits=request.low_res_logits)

        return self.worker.submit(work, seconds=self.settings.stream_s, patient=True)

    def _everything(
        self, kept: KeptImage, config: EverythingConfig, *, job: Job[None], emit: Emit
    ) -> _Found:
        start = time.perf_counter()
        emit(
            messages.Started(
                image=image_message(kept),
                bundle=self.bundle,
                backend=self.backend,
                batches=batch_count(kept.embedding.original_size, config),
            )
        )

        def progress(done: int, total: int) -> None:
            emit(messages.Progressed(done=done, total=total))
            job.breathe()

        picture = load_image(kept.picture)
        masks = segment_everything(self.predictor, picture, config=config, progress=progress)
        self.metrics.encodes.inc()
        return _Found(masks, (time.perf_counter() - start) * 1e3)

    def _emit_masks(self, kept: KeptImage, found: _Found, *, emit: Emit, with_logits: bool) -> None:
        for mask in found.masks:
            logits: bytes | UnsetType = UNSET
            if with_logits:
                logits = float_bytes(self._logits_of(kept, mask))
            emit(messages.FoundMask(mask=mask.record(), low_res_logits=logits))
        timing = {"everything": found.elapsed_ms}
        emit(messages.Completed(masks=len(found.masks), timing_ms=timing))

    def _logits_of(self, kept: KeptImage, mask: AutomaticMask) -> Array:
        """(S/4, S/4) low-res logits of the candidate that a mask was cut from: its click again.

        A mask of a crop or of a second look has none of the whole image: it is drawn as a prompt.
        """
        view = kept.embedding.view
        height, width = view.original_size
        if mask.crop_box != (0, 0, width, height) or mask.focus is not None:
            drawn: Array = view.mask_prompt(mask.mask)
            return drawn
        logits, iou = self.predictor.decode_logits(kept.embedding, [Prompt([mask.point])])
        candidates = np.abs(iou[0, 1:] - mask.predicted_iou)
        found: Array = logits[0, 1 + int(candidates.argmin())]
        return found

    def image_answer(self, kept: KeptImage, *, is_new: bool) -> messages.ImageAnswer:
        """The answer about an image that is kept."""
        return messages.ImageAnswer(
            image=image_message(kept),
            is_new=is_new,
            size_bytes=kept.size_bytes,
            keep_s=self.settings.keep_s,
            timing_ms=kept.embedding.timing_ms,
        )

    def _masks_answer(
        self, kept: KeptImage, prompts: Sequence[Prompt], results: Sequence[Masks]
    ) -> messages.MasksAnswer:
        timing = {
            stage: sum(result.timing_ms[stage] for result in results)
            for stage in ("decode", "postprocess")
        }
        return messages.MasksAnswer(
            image=image_message(kept),
            bundle=self.bundle,
            backend=self.backend,
            masks=list(mask_records(prompts, results)),
            timing_ms=timing,
        )


def image_message(kept: KeptImage) -> messages.ImageMessage:
    """The name and size of a kept image."""
    height, width = kept.embedding.original_size
    return messages.ImageMessage(id=kept.id, height=height, width=width)


def float_bytes(array: Array) -> bytes:
    """Numbers as float32, little-endian, in the order of the array."""
    return np.ascontiguousarray(array, "<f4").tobytes()
