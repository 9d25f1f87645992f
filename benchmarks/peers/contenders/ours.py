"""samedge: a bundle, opened as anybody opens it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from samedge.predict.everything import segment_everything
from samedge.predict.predictor import Predictor
from samedge.types import Prompt


class Contender:
    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def encode(self, image: Any) -> tuple[Any, float]:
        embedding = self._predictor.encode(image)
        return embedding, embedding.timing_ms["encode"]

    def decode(self, embedding: Any, points: list[tuple[float, float]]) -> tuple[Any, float]:
        prompts = [Prompt(points=[point]) for point in points]
        found = self._predictor.decode_batch(embedding, prompts)
        return [masks.masks for masks in found], sum(m.timing_ms["decode"] for m in found)

    def everything(self, image: Any) -> int:
        return len(segment_everything(self._predictor, image))

    @staticmethod
    def embedding_array(embedding: Any) -> Any:
        return embedding.data


def open_model(files: Path, options: dict[str, Any]) -> Contender:
    return Contender(Predictor.from_bundle(files, threads=options["threads"]))
