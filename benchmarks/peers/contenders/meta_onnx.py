"""SAM's ONNX decoder as Meta's notebook calls it, beside samexporter's encoder, and no other code.

ONNX Runtime, NumPy and Pillow are all that this needs: the leanest way to run SAM without samedge.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image

SIDE = 1024
MEAN = np.array([123.675, 116.28, 103.53], np.float32)
STD = np.array([58.395, 57.12, 57.375], np.float32)


class Contender:
    def __init__(self, encoder: Path, decoder: Path, threads: int | None) -> None:
        self._encoder, self._decoder = _session(encoder, threads), _session(decoder, threads)
        self._input = self._encoder.get_inputs()[0].name

    def encode(self, image: Any) -> tuple[Any, float]:
        size = height, width = image.shape[:2]
        scale = SIDE / max(size)
        inner = int(height * scale + 0.5), int(width * scale + 0.5)
        small = Image.fromarray(image).resize(inner[::-1], Image.Resampling.BILINEAR)
        pixels = np.zeros((1, 3, SIDE, SIDE), np.float32)
        pixels[0, :, : inner[0], : inner[1]] = ((np.asarray(small) - MEAN) / STD).transpose(2, 0, 1)
        start = time.perf_counter()
        data = self._encoder.run(None, {self._input: pixels})[0]
        return (data, size, scale), (time.perf_counter() - start) * 1e3

    def decode(self, embedding: Any, points: list[tuple[float, float]]) -> tuple[Any, float]:
        """One prompt a call: the batch is not a free axis of this graph."""
        data, size, scale = embedding
        masks, total = [], 0.0
        for point in points:
            feeds = {
                "image_embeddings": data,
                "point_coords": np.array([[point, (0, 0)]], np.float32) * scale,
                "point_labels": np.array([[1, -1]], np.float32),
                "mask_input": np.zeros((1, 1, 256, 256), np.float32),
                "has_mask_input": np.zeros(1, np.float32),
                "orig_im_size": np.array(size, np.float32),
            }
            start = time.perf_counter()
            logits = self._decoder.run(None, feeds)[0]
            total += (time.perf_counter() - start) * 1e3
            masks.append(logits[0] > 0)
        return masks, total

    def everything(self, image: Any) -> int:
        """The clicks alone, without any filtering."""
        height, width = image.shape[:2]
        embedding, _ = self.encode(image)
        grid = [(i + 0.5) / 32 for i in range(32)]
        return sum(
            len(self.decode(embedding, [(x * width, y * height)])[0]) for y in grid for x in grid
        )

    @staticmethod
    def embedding_array(embedding: Any) -> Any:
        return embedding[0]


def _session(path: Path, threads: int | None) -> Any:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads or 0
    return onnxruntime.InferenceSession(
        str(path), sess_options=settings, providers=["CPUExecutionProvider"]
    )


def open_model(files: Path, options: dict[str, Any]) -> Contender:
    return Contender(files / options["encoder"], files / options["decoder"], options["threads"])
