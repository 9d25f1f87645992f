"""segment-anything in torch; MobileSAM's encoder is the one inside samexporter."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from segment_anything import SamAutomaticMaskGenerator, SamPredictor, sam_model_registry


class Contender:
    def __init__(self, model: Any) -> None:
        self._model, self._predictor = model, SamPredictor(model)
        self._encoder_ms = self._decoder_ms = self._start = 0.0
        model.image_encoder.register_forward_pre_hook(self._started)
        model.image_encoder.register_forward_hook(self._encoded)
        model.prompt_encoder.register_forward_pre_hook(self._started)
        model.mask_decoder.register_forward_hook(self._decoded)

    def _started(self, *_: Any) -> None:
        self._start = time.perf_counter()

    def _encoded(self, *_: Any) -> None:
        self._encoder_ms = (time.perf_counter() - self._start) * 1e3

    def _decoded(self, *_: Any) -> None:
        self._decoder_ms = (time.perf_counter() - self._start) * 1e3

    def encode(self, image: Any) -> tuple[Any, float]:
        self._predictor.set_image(image)
        return self._predictor.features, self._encoder_ms

    def decode(self, _embedding: Any, points: list[tuple[float, float]]) -> tuple[Any, float]:
        size = self._predictor.original_size
        coordinates = self._predictor.transform.apply_coords(np.array(points), size)
        masks, _, _ = self._predictor.predict_torch(
            torch.as_tensor(coordinates, dtype=torch.float)[:, None],
            torch.ones((len(points), 1), dtype=torch.int),
            multimask_output=False,
        )
        return list(masks.numpy()), self._decoder_ms

    def everything(self, image: Any) -> int:
        return len(SamAutomaticMaskGenerator(self._model).generate(image))

    @staticmethod
    def embedding_array(embedding: Any) -> Any:
        return embedding.numpy()


def open_model(files: Path, options: dict[str, Any]) -> Contender:
    torch.set_grad_enabled(False)
    if options["threads"]:
        torch.set_num_threads(options["threads"])
    if options["family"] == "vit-b":
        return Contender(sam_model_registry["vit_b"](checkpoint=files).eval())
    from samexporter.mobile_encoder.setup_mobile_sam import setup_model

    model = setup_model()
    model.load_state_dict(torch.load(files, weights_only=True))
    return Contender(model.eval())
