"""A predictor that also finds what words name: the one that ``samedge.Predictor`` is.

It stands above everything mode, which proposes the regions; the plain predictor stands below it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from samedge.bundle.bundle import DEFAULT_MODEL, embedded_path
from samedge.errors import PromptError
from samedge.formats.results import Masks
from samedge.pixels.images import check_image
from samedge.pixels.layouts import YuvImage
from samedge.pixels.prompts import check_prompts, row_from_prompt
from samedge.predict import predictor as plain
from samedge.predict.focus import FocusMode
from samedge.predict.opening import Preprocess
from samedge.types import Array, Prompt, Role

if TYPE_CHECKING:
    from samedge.predict.words.finding import Found, FoundRegion


class Predictor(plain.Predictor):
    """A bundle opened on one device, that understands words where the bundle does.

    All else is as of :class:`samedge.predict.predictor.Predictor`.
    """

    def find(
        self, words: str | Sequence[str], image: Array, *, threshold: float | None = None
    ) -> Found:
        """Find the things that words name, such as ``predictor.find("dog, cat", image)``.

        Args:
            words: one or more names; commas separate several in one text.
            image: (H, W, 3) uint8 RGB.
            threshold: the lowest score, 0 to 1; ``None`` takes the bundle's.

        Returns:
            Regions with their word, score and mask, and for each word its best score; no region
            where the image shows none of the things.

        Raises:
            PromptError: a word is not understood, or the bundle understands none.
            OptionError: a threshold that is no share.
            ImageError: not such an image.
            InferenceError: the backend failed.
        """
        from samedge.predict.words.finding import find  # with everything mode: most need neither

        return find(self, words, image=image, threshold=threshold)

    def predict(self, image: Array | YuvImage, prompt: Prompt, *, multimask: bool = False) -> Masks:
        """Encode an image and decode one prompt about it, words included.

        A prompt with words gives one mask a thing, the best first, with the regions' own predicted
        IoUs; ``low_res_logits`` are those masks drawn in the input's frame.

        Args:
            image: (H, W, 3) uint8 RGB, or without words a camera's frame.
            prompt: in pixels of the image.
            multimask: as of ``decode``; words have no candidates.

        Raises:
            PromptError: the prompt does not fit the image or the bundle.
            ImageError: not such an image.
            InferenceError: the backend failed.
        """
        check_prompts([prompt])
        if prompt.text is None:
            return super().predict(image, prompt, multimask=multimask)
        if multimask:
            raise PromptError(f"The words {prompt.text!r} have no candidates: leave out multimask.")
        found = self.find(prompt.text, check_image(image))
        return self._masks(check_image(image), found.regions, timing_ms=found.timing_ms)

    def _masks(
        self, image: Array, regions: Sequence[FoundRegion], *, timing_ms: dict[str, float]
    ) -> Masks:
        view, side = self.frame.view_of(image), self.frame.low_res_side
        masks = [region.region.mask for region in regions]
        rows = [row_from_prompt(Prompt(mask=mask), view).mask for mask in masks]
        logits = [row for row in rows if row is not None]
        ratings = [(r.region.predicted_iou, r.region.stability_score) for r in regions]
        quality = np.array(ratings, np.float32).reshape(-1, 2)
        return Masks(
            masks=np.stack(masks) if masks else np.zeros((0, *view.original_size), np.bool_),
            iou_predictions=quality[:, 0],
            low_res_logits=np.stack(logits) if logits else np.zeros((0, side, side), np.float32),
            stability_scores=quality[:, 1],
            backend=self.active_backend(Role.REGION_ENCODER),
            timing_ms=dict(timing_ms),
        )


def load_default(
    model: str = DEFAULT_MODEL,
    *,
    backend: str | None = None,
    device: str | None = None,
    threads: int | None = None,
    focus: FocusMode = "never",
    refine: int | None = None,
    preprocess: Preprocess | None = None,
) -> Predictor:
    """Open a model that comes inside the samedge package.

    Args:
        model: its name: ``samedge-nano``, or ``samedge-pico`` for the smallest devices.
        backend: ``None`` takes the first available one that opens its format, the bundle's own
            first; the result says which.
        device: the backend's own device string.
        threads: processor threads; ``None`` leaves it to the backend.
        focus: as of :meth:`Predictor.from_bundle`, and so the next two.
        refine: see there.
        preprocess: see there.

    Raises:
        BundleError: this installation carries no such model.
        BackendUnavailableError: no backend here opens it.
        UnknownNameError: there is no such ``focus``.
        OptionError: ``threads``, ``refine`` or ``preprocess`` is out of its range.
    """
    return Predictor.from_bundle(
        embedded_path(model),
        backend=backend,
        device=device,
        threads=threads,
        any_backend=True,
        focus=focus,
        refine=refine,
        preprocess=preprocess,
    )
