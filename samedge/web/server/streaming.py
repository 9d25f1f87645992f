"""Work that tells what it finds line by line: everything mode, and what words name.

Every method that starts with ``ask_`` only queues, as those of the service.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from msgspec import UNSET

from samedge.formats.masks import MaskRecord
from samedge.pixels.images import load_image
from samedge.predict.everything import (
    AutomaticMask,
    EverythingConfig,
    batch_count,
    segment_everything,
)
from samedge.predict.words.choosing import proposing
from samedge.predict.words.finding import find
from samedge.predict.words.regions import RegionScorer
from samedge.types import Array, Progress, Prompt
from samedge.web.server import messages
from samedge.web.server.cache import KeptImage
from samedge.web.server.service import Service, float_bytes, image_message
from samedge.web.server.word_messages import FindRequest
from samedge.web.server.words import word_record
from samedge.web.server.worker import Job

Emit = Callable[[messages.StreamLine], None]


class _Found(NamedTuple):
    masks: list[AutomaticMask]
    elapsed_ms: float


class Streaming:
    """The streams of one service.

    Args:
        service: whose model, queue and settings it works with.
    """

    def __init__(self, service: Service) -> None:
        self._service, self._predictor = service, service.predictor

    def ask_find(self, kept: KeptImage, request: FindRequest, *, emit: Emit) -> Job[None]:
        """Find what words name in an image, line by line; the arguments are as `ask_everything`'s.

        What is not understood fails before the first line.
        """

        def work(job: Job[None]) -> None:
            RegionScorer(self._predictor.graphs).asked(request.text)
            config = proposing(self._predictor.manifest)
            listen = self._started(kept, config, job=job, emit=emit)
            picture = load_image(kept.picture)
            found = find(
                self._predictor,
                request.text,
                image=picture,
                config=config,
                threshold=request.score,
                progress=listen,
            )
            self._service.metrics.encodes.inc()
            for one in found.regions:
                self._emit_mask(
                    kept,
                    word_record(one),
                    region=one.region if request.low_res_logits else None,
                    emit=emit,
                )
            emit(
                messages.Completed(
                    masks=len(found.regions), timing_ms=found.timing_ms, words=list(found.words)
                )
            )

        return self._service.worker.submit(
            work, seconds=self._service.settings.stream_s, patient=True
        )

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
            config = EverythingConfig.without_near_duplicates(
                self._predictor.manifest,
                points_per_side=request.points_per_side,
                pred_iou_threshold=request.pred_iou_threshold,
                stability_threshold=request.stability_threshold,
                crop_layers=request.crop_layers,
            )
            found = self._everything(kept, config, job=job, emit=emit)
            self._emit_masks(kept, found, emit=emit, with_logits=request.low_res_logits)

        return self._service.worker.submit(
            work, seconds=self._service.settings.stream_s, patient=True
        )

    def _everything(
        self, kept: KeptImage, config: EverythingConfig, *, job: Job[None], emit: Emit
    ) -> _Found:
        start = time.perf_counter()
        listen = self._started(kept, config, job=job, emit=emit)
        picture = load_image(kept.picture)
        masks = segment_everything(self._predictor, picture, config=config, progress=listen)
        self._service.metrics.encodes.inc()
        return _Found(masks, (time.perf_counter() - start) * 1e3)

    def _started(
        self, kept: KeptImage, config: EverythingConfig, *, job: Job[None], emit: Emit
    ) -> Progress:
        """Emit a stream's first line; what is given back emits its progress."""
        emit(
            messages.Started(
                image=image_message(kept),
                bundle=self._service.bundle,
                backend=self._service.backend,
                batches=batch_count(kept.embedding.original_size, config),
            )
        )

        def progress(done: int, total: int) -> None:
            emit(messages.Progressed(done=done, total=total))
            job.breathe()

        return progress

    def _emit_masks(self, kept: KeptImage, found: _Found, *, emit: Emit, with_logits: bool) -> None:
        for mask in found.masks:
            region = mask if with_logits else None
            self._emit_mask(kept, mask.record(), region=region, emit=emit)
        timing = {"everything": found.elapsed_ms}
        emit(messages.Completed(masks=len(found.masks), timing_ms=timing))

    def _emit_mask(
        self, kept: KeptImage, record: MaskRecord, *, region: AutomaticMask | None, emit: Emit
    ) -> None:
        """Emit a mask, with the logits of its region where there is one."""
        logits = UNSET if region is None else float_bytes(self._logits_of(kept, region))
        emit(messages.FoundMask(mask=record, low_res_logits=logits))

    def _logits_of(self, kept: KeptImage, mask: AutomaticMask) -> Array:
        """(S/4, S/4) low-res logits of the candidate that a mask was cut from: its click again.

        A mask of a crop or of a second look has none of the whole image: it is drawn as a prompt.
        """
        view = kept.embedding.view
        height, width = view.original_size
        if mask.crop_box != (0, 0, width, height) or mask.focus is not None:
            drawn: Array = view.mask_prompt(mask.mask)
            return drawn
        logits, iou = self._predictor.decode_logits(kept.embedding, [Prompt([mask.point])])
        candidates = np.abs(iou[0, 1:] - mask.predicted_iou)
        found: Array = logits[0, 1 + int(candidates.argmin())]
        return found
