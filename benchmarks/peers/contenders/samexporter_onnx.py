"""samexporter's two files through samexporter's own runtime class, on ONNX Runtime."""

from __future__ import annotations

import functools
import time
from pathlib import Path
from typing import Any

import onnxruntime
from samexporter.sam_onnx import SegmentAnythingONNX


class TimedSession:
    """An ONNX Runtime session that notes how long its last run took."""

    def __init__(self, session: Any) -> None:
        self._session, self.ms = session, 0.0

    def run(self, names: Any, feeds: Any) -> Any:
        start = time.perf_counter()
        outputs = self._session.run(names, feeds)
        self.ms = (time.perf_counter() - start) * 1e3
        return outputs


class Contender:
    def __init__(self, model: SegmentAnythingONNX) -> None:
        self._model = model
        model.encoder_session = TimedSession(model.encoder_session)
        model.decoder_session = TimedSession(model.decoder_session)

    def encode(self, image: Any) -> tuple[Any, float]:
        embedding = self._model.encode(image[:, :, ::-1])  # it expects OpenCV's BGR
        return embedding, self._model.encoder_session.ms

    def decode(self, embedding: Any, points: list[tuple[float, float]]) -> tuple[Any, float]:
        """Its graph takes one prompt a call."""
        masks, total = [], 0.0
        for x, y in points:
            mark = {"type": "point", "data": [x, y], "label": 1}
            masks.append(self._model.predict_masks(embedding, [mark])[0] > 0)
            total += self._model.decoder_session.ms
        return masks, total

    def everything(self, image: Any) -> int:
        """It has no generator: the clicks alone, without any filtering."""
        height, width = image.shape[:2]
        embedding, _ = self.encode(image)
        grid = [(i + 0.5) / 32 for i in range(32)]
        return sum(
            len(self.decode(embedding, [(x * width, y * height)])[0]) for y in grid for x in grid
        )

    @staticmethod
    def embedding_array(embedding: Any) -> Any:
        return embedding["image_embedding"]


def open_model(files: Path, options: dict[str, Any]) -> Contender:
    if options["threads"]:
        limited = onnxruntime.SessionOptions()
        limited.intra_op_num_threads = options["threads"]
        onnxruntime.InferenceSession = functools.partial(
            onnxruntime.InferenceSession, sess_options=limited
        )
    encoder, decoder = (files / options[role] for role in ("encoder", "decoder"))
    return Contender(SegmentAnythingONNX(str(encoder), str(decoder)))
