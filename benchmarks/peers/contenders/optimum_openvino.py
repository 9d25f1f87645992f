"""transformers' SamModel through optimum-intel, on OpenVINO, with its defaults."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from optimum.intel import OVSamModel
from transformers import SamProcessor

BATCH = 64


class Contender:
    def __init__(self, model: OVSamModel, processor: SamProcessor) -> None:
        self._model, self._processor = model, processor

    def encode(self, image: Any) -> tuple[Any, float]:
        inputs = self._processor(image, return_tensors="pt")
        start = time.perf_counter()
        found = self._model.vision_encoder(inputs["pixel_values"])
        encoder_ms = (time.perf_counter() - start) * 1e3
        return (found, inputs["original_sizes"], inputs["reshaped_input_sizes"]), encoder_ms

    def decode(self, embedding: Any, points: list[tuple[float, float]]) -> tuple[Any, float]:
        found, original, reshaped = embedding
        logits, decoder_ms = self._logits(embedding, points)
        masks = self._processor.image_processor.post_process_masks(
            logits[:, :, :1], original, reshaped
        )
        del found
        return [mask.numpy() for mask in masks[0]], decoder_ms

    def everything(self, image: Any) -> int:
        """It has no generator: the clicks alone, without upscaling or any filtering."""
        height, width = image.shape[:2]
        embedding, _ = self.encode(image)
        grid = [(i + 0.5) / 32 for i in range(32)]
        points = [(x * width, y * height) for y in grid for x in grid]
        batches = [points[i : i + BATCH] for i in range(0, len(points), BATCH)]
        return sum(self._logits(embedding, batch)[0].shape[1] for batch in batches)

    def _logits(self, embedding: Any, points: list[tuple[float, float]]) -> tuple[Any, float]:
        found, original, reshaped = embedding
        scale = float(reshaped[0][0]) / float(original[0][0])
        coordinates = (np.array(points, np.float32) * scale)[None, :, None]
        start = time.perf_counter()
        output = self._model.prompt_encoder_mask_decoder(
            image_embeddings=found.image_embeddings,
            image_positional_embeddings=found.image_positional_embeddings,
            input_points=coordinates,
        )
        return output.pred_masks, (time.perf_counter() - start) * 1e3

    @staticmethod
    def embedding_array(embedding: Any) -> Any:
        return np.asarray(embedding[0].image_embeddings)


def open_model(files: Path, options: dict[str, Any]) -> Contender:
    torch.set_grad_enabled(False)
    limits = {"INFERENCE_NUM_THREADS": options["threads"]} if options["threads"] else {}
    model = OVSamModel.from_pretrained(files, ov_config=limits)
    return Contender(model, SamProcessor.from_pretrained(files))
