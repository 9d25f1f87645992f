"""What the endpoints of all protocols share: the model, its thread, and the images that it keeps.

Every method that starts with ``ask_`` is called in the event loop, and only queues; the work itself
runs in the model's thread.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence

import msgspec
import numpy as np

from samedge.formats.masks import MaskRecord, PromptRecord
from samedge.formats.results import Masks
from samedge.pixels.images import load_image
from samedge.predict.predictor import Predictor
from samedge.types import Array, Prompt
from samedge.web.server import messages, words
from samedge.web.server.cache import Cache, KeptImage
from samedge.web.server.failures import NotFoundError
from samedge.web.server.metrics import Metrics
from samedge.web.server.settings import ServeSettings
from samedge.web.server.word_messages import WordsAnswer
from samedge.web.server.worker import Job, Worker

_ID_CHARACTERS = 32


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

    def known_words(self) -> WordsAnswer:
        """The words that the model knows."""
        return WordsAnswer(
            bundle=self.bundle,
            words=words.known_words(self.predictor),
            reads_phrases=words.reads_phrases(self.predictor),
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
        """Segment what a request asks for; the answer as JSON. Words make it patient."""

        def work(job: Job[bytes]) -> bytes:
            size = kept.embedding.original_size
            prompts = [messages.prompt_from_message(one, size) for one in request.prompts]
            words.check_candidates(prompts, multimask=request.multimask)
            drawn = [prompt for prompt in prompts if prompt.text is None]
            results = self.decoded(kept, drawn, multimask=request.multimask) if drawn else []
            answer = self._masks_answer(kept, prompts, results)
            if len(drawn) < len(prompts):
                answer = self._with_words(kept, prompts, answer=answer, job=job)
            return msgspec.json.encode(answer)

        patient = any(one.text is not None for one in request.prompts)
        return self.worker.submit(work, seconds=self.settings.request_s, patient=patient)

    def _with_words(
        self,
        kept: KeptImage,
        prompts: Sequence[Prompt],
        *,
        answer: messages.MasksAnswer,
        job: Job[bytes],
    ) -> messages.MasksAnswer:
        """An answer about the drawn prompts with what the others' words name, in their order."""
        start = time.perf_counter()
        found, answers = words.found_records(
            self.predictor,
            load_image(kept.picture),
            prompts=prompts,
            progress=lambda *_: job.breathe(),
        )
        self.metrics.encodes.inc()
        elapsed = (time.perf_counter() - start) * 1e3
        records = [*answer.masks, *(one for place in found.values() for one in place)]
        return msgspec.structs.replace(
            answer,
            masks=sorted(records, key=_place),
            words=answers,
            timing_ms={**answer.timing_ms, "find": elapsed},
        )

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

    def image_answer(self, kept: KeptImage, *, is_new: bool) -> messages.ImageAnswer:
        """The answer about an image that is kept."""
        return messages.ImageAnswer(
            image=image_message(kept),
            bundle=self.bundle,
            is_new=is_new,
            size_bytes=kept.size_bytes,
            keep_s=self.settings.keep_s,
            timing_ms=kept.embedding.timing_ms,
        )

    def _masks_answer(
        self, kept: KeptImage, prompts: Sequence[Prompt], results: Sequence[Masks]
    ) -> messages.MasksAnswer:
        """The answer about the drawn ones of some prompts; ``results`` are theirs."""
        timing = {
            stage: sum(result.timing_ms[stage] for result in results)
            for stage in ("decode", "postprocess")
        }
        places = [place for place, prompt in enumerate(prompts) if prompt.text is None]
        drawn = zip(places, results, strict=True)
        records = [one for place, r in drawn for one in r.records(prompts[place], index=place)]
        return messages.MasksAnswer(
            image=image_message(kept),
            bundle=self.bundle,
            backend=self.backend,
            masks=records,
            timing_ms=timing,
        )


def _place(record: MaskRecord) -> int:
    """Of the prompt that asked for a mask."""
    return record.prompt.index if isinstance(record.prompt, PromptRecord) else 0


def image_message(kept: KeptImage) -> messages.ImageMessage:
    """The name and size of a kept image."""
    height, width = kept.embedding.original_size
    return messages.ImageMessage(id=kept.id, height=height, width=width)


def float_bytes(array: Array) -> bytes:
    """Numbers as float32, little-endian, in the order of the array."""
    return np.ascontiguousarray(array, "<f4").tobytes()
