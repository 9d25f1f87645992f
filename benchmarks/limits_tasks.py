"""What `limits.py` runs: the processor's own limits, and every stage of a bundle on a backend."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType

import numpy as np
import openvino
from openvino import opset13 as ops

from samedge.bundle.bundle import Bundle, bundle_path
from samedge.inspection.roofline import graph_cost
from samedge.machine.environment import usable_cores
from samedge.predict.embedding import ImageEmbedding
from samedge.predict.predictor import Predictor
from samedge.types import Array, Prompt, Role

SIDE = 2048
COPY_BYTES = 256 << 20
PRECISIONS = ("fp32", "bf16", "int8")
_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "bf16"}
HD = (1080, 1920)
SMALL = (240, 320)
SIZES = ((480, 640), HD, (3000, 4000))
PROMPTS = (1, 2, 4, 8, 16)
OBJECTS = (1, 4, 16)

Key = tuple[str, str, str, float]
"""What is varied, the subject, the stage, and where."""
Times = dict[Key, list[float]]
Task = Callable[[], Mapping[Key, float]]


def product(precision: str, side: int = SIDE) -> Callable[[], object]:
    """A square matrix product, compiled; in int8 its input is quantized first, as in a layer."""
    random = np.random.default_rng(0)
    feed = random.uniform(-1, 1, (side, side)).astype(np.float32)
    left = ops.parameter([side, side], np.float32)
    if precision == "int8":
        low, high = np.float32(-1.28), np.float32(1.27)
        scaled = ops.fake_quantize(left, low, high, low, high, 256)
        weights = ops.constant(random.integers(-127, 128, (side, side), np.int8))
        right = ops.multiply(ops.convert(weights, np.float32), np.float32(0.01))
    else:
        scaled = left
        right = ops.constant(random.standard_normal((side, side), np.float32))
    model = openvino.Model([ops.matmul(scaled, right, False, True)], [left], precision)
    hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": _HINTS[precision]}
    request = openvino.Core().compile_model(model, "CPU", hints).create_infer_request()
    return lambda: request.infer([feed], share_inputs=True, share_outputs=True)


def copy() -> Callable[[], object]:
    """A copy of memory, a part for each processor."""
    cores = usable_cores() or 1
    source = np.ones((cores, COPY_BYTES // cores), np.uint8)
    target = np.zeros_like(source)
    threads = ThreadPoolExecutor(cores)
    return lambda: list(threads.map(np.copyto, target, source))


def timed(key: Key, call: Callable[[], object]) -> Mapping[Key, float]:
    """Milliseconds of a call; it runs once before, which brings its own data into the caches."""
    call()
    start = time.perf_counter()
    call()
    return {key: (time.perf_counter() - start) * 1e3}


def photo(size: tuple[int, int]) -> Array:
    """A picture with structure at every scale, so that resizing it is no special case."""
    height, width = size
    rows = np.arange(height, dtype=np.uint16)[:, None]
    columns = np.arange(width, dtype=np.uint16)[None, :]
    layers = [(rows * (3 + c) + columns * (5 - c)) ^ (columns * rows >> c) for c in range(3)]
    return np.stack(layers, axis=2).astype(np.uint8)


class Subject:
    """A bundle on a backend, open.

    Args:
        bundle: a path or an embedded model's name.
        backend: ``None`` takes the bundle's own.
        counted: of models by name: a bundle with its ONNX graphs.
        threads: ``None`` leaves it to the backend.
    """

    def __init__(
        self,
        bundle: str,
        backend: str | None,
        *,
        counted: Mapping[str, Bundle] = MappingProxyType({}),
        threads: int | None = None,
    ) -> None:
        path = bundle_path(bundle)
        self.predictor = Predictor.from_bundle(path, backend=backend, threads=threads)
        self.manifest = self.predictor.manifest
        self.backend = self.predictor.graphs.backend.name
        self.precision = self.manifest.precision
        self.model = self.manifest.model.name
        self.name = f"{self.model} {self.precision} on {self.backend}"
        self.counted = counted.get(self.model, self.predictor.bundle)

    def frame(self, image: Array, curve: str, x: float) -> Mapping[Key, float]:
        """Every stage of one picture and one click."""
        middle = Prompt(points=[[image.shape[1] / 2, image.shape[0] / 2]])
        embedding = self.predictor.encode(image)
        masks = self.predictor.decode(embedding, middle)
        stages = {**embedding.timing_ms, **masks.timing_ms}
        return {(curve, self.name, stage, x): ms for stage, ms in stages.items()}

    @functools.lru_cache(maxsize=8)  # noqa: B019 - subjects live as long as the process
    def _embedding(self, size: tuple[int, int]) -> ImageEmbedding:
        return self.predictor.encode(photo(size))

    def embedding(self, image: Array) -> ImageEmbedding:
        """The picture's embedding, made once."""
        return self._embedding((image.shape[0], image.shape[1]))

    def prompts(self, image: Array, count: int) -> Mapping[Key, float]:
        """Clicks about one picture in one call of the decoder's graph."""
        random = np.random.default_rng(count)
        places = random.uniform(0.1, 0.9, (count, 2)) * (image.shape[1], image.shape[0])
        asked = [Prompt(points=[place]) for place in places]
        embedding = self.embedding(image)
        key = ("prompts", self.name, "decode", float(count))
        return timed(key, lambda: self.predictor.decode_logits(embedding, asked))

    def objects(self, image: Array, count: int) -> Mapping[Key, float]:
        """Boxes of so many things to masks of the picture's size."""
        height, width = image.shape[:2]
        corners = np.random.default_rng(count).uniform(0.05, 0.6, (count, 2)) * (width, height)
        boxes = np.hstack([corners, corners + np.array([width, height]) * 0.3])
        embedding = self.embedding(image)
        key = ("objects", self.name, "decode and postprocess", float(count))
        return timed(key, lambda: self.predictor.decode_boxes(embedding, boxes))

    def operations(self, stage: str) -> int | None:
        """Multiplications and additions of a stage's graph; ``None`` where they are not counted."""
        role = {"encode": Role.ENCODER, "decode": Role.DECODER}.get(stage)
        record = None if role is None else self.counted.manifest.graph(role)
        if role is None or record is None or record.format != "onnx":
            return None
        return sum(graph_cost(self.counted.artifact_path(role)).operations.values())

    def bytes_moved(self, stage: str, size: tuple[int, int]) -> int:
        """What a stage reads and writes at least, for one picture and one click."""
        pixels, logits = 3 * size[0] * size[1], 4 * self.predictor.frame.low_res_side**2
        graphs = self.predictor.graphs
        if stage == "preprocess":
            return pixels + int(np.prod(self.predictor.frame.input_shape))
        if stage == "postprocess":
            return logits + size[0] * size[1]
        role = Role.ENCODER if stage == "encode" else Role.DECODER
        session = graphs.session(role)
        weights = self.predictor.bundle.artifact(role).bytes
        edges = (*session.inputs, *session.outputs)
        return weights + sum(_edge_bytes(edge.dtype, edge.shape) for edge in edges)


def _edge_bytes(dtype: str, shape: Sequence[int | str]) -> int:
    fixed = [axis for axis in shape if isinstance(axis, int)]
    return int(np.prod(fixed)) * np.dtype(dtype).itemsize


def threads_tasks(bundle: str, backend: str, image: Array) -> Iterator[Task]:
    """Every stage with 1 thread, 2, 4, ... and all."""
    cores = usable_cores() or 1
    counts = sorted({cores, *(2**power for power in range(cores.bit_length()) if 2**power < cores)})
    for count in counts:
        subject = Subject(bundle, backend, threads=count)
        yield functools.partial(subject.frame, image, "threads", float(count))


def tasks(subjects: Sequence[Subject], varied: Sequence[Subject]) -> Iterator[Task]:
    """Everything that a round measures.

    Args:
        subjects: whose stages are set against the processor.
        varied: whose costs are followed.
    """
    for precision in PRECISIONS:
        yield functools.partial(timed, ("peak", precision, "product", SIDE), product(precision))
    yield functools.partial(timed, ("peak", "copy", "copy", COPY_BYTES), copy())
    hd, small = photo(HD), photo(SMALL)
    for subject in subjects:
        yield functools.partial(subject.frame, hd, "stages", 1.0)
    for size in SIZES:
        image = photo(size)
        for subject in varied:
            yield functools.partial(subject.frame, image, "pixels", image.size / 3e6)
    for subject in varied:
        yield from (functools.partial(subject.prompts, small, count) for count in PROMPTS)
        yield from (functools.partial(subject.objects, hd, count) for count in OBJECTS)
