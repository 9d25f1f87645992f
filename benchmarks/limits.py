"""How far every stage is from what this processor can do, and how its cost grows.

    python benchmarks/limits.py measure -o benchmarks/results/limits.json       # two minutes
    python benchmarks/limits.py measure --bundle out/intel --counted out/cpu ... # other bundles
    python benchmarks/limits.py page benchmarks/results/limits*.json -o docs/limits.md
    python benchmarks/limits.py peers WORK SECONDS                # the encoders of benchmarks/peers

What the processor can do is measured in the same run: a matrix product of SIDE x SIDE x SIDE in
OpenVINO (oneDNN underneath) in each precision, and a copy of 256 MB by as many threads as there are
processors. The operations of a graph are counted in its ONNX file, or in that of a bundle of the
same model (``--counted``); bytes are what a stage cannot do without: weights, inputs and outputs,
each once. A stage's floor is the longer of its operations at the product's rate and its bytes at
the copy's. Everything runs in turns, in an order that rotates; costs are fitted as straight lines.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType

import msgspec
import numpy as np
import openvino
from limits_page import write_page
from limits_record import Curve, Peak, Record, StageRow
from openvino import opset13 as ops

from samedge import runtimes
from samedge._version import __version__
from samedge.bundle.bundle import Bundle, bundle_path
from samedge.files.lines import created_now
from samedge.inspection.roofline import graph_cost
from samedge.machine.environment import environment, usable_cores
from samedge.predict.embedding import ImageEmbedding
from samedge.predict.predictor import Predictor
from samedge.types import Array, Prompt, Role

SIDE, PEERS_SIDE = 2048, 4096
COPY_BYTES = 256 << 20
PRECISIONS = ("fp32", "bf16", "int8")
_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "bf16"}
HD = (1080, 1920)
SMALL = (240, 320)
SIZES = ((480, 640), HD, (3000, 4000))
PROMPTS = (1, 2, 4, 8, 16)
OBJECTS = (1, 4, 16)
RESAMPLES = 1000

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


def interleaved(all_tasks: Sequence[Task], *, seconds: float, least: int = 5) -> Times:
    """Every task in turns until the time is over; the first round does not count."""
    times: Times = {}
    for task in all_tasks:
        task()
    stop, index = time.monotonic() + seconds, 0
    while time.monotonic() < stop or index < least:
        shift = index % len(all_tasks)
        for task in [*all_tasks[shift:], *all_tasks[:shift]]:
            for key, value in task().items():
                times.setdefault(key, []).append(value)
        index += 1
    return times


def peaks(times: Times) -> list[Peak]:
    """What the processor reaches."""
    found = []
    for (curve, name, what, x), values in times.items():
        if curve == "peak":
            amount = 2 * x**3 if what == "product" else 2 * x
            p50 = statistics.median(values)
            found.append(Peak(name, len(values), round(p50, 3), round(amount / p50 * 1e3)))
    return found


def stage_rows(times: Times, subjects: Sequence[Subject]) -> list[StageRow]:
    """Every stage against the processor."""
    rates = {peak.name: peak.per_second for peak in peaks(times)}
    rows = []
    for subject in subjects:
        keys = [key for key in times if key[:2] == ("stages", subject.name)]
        rows += [_stage_row(subject, key[2], times[key], rates) for key in keys]
    return rows


def _stage_row(
    subject: Subject, stage: str, values: Sequence[float], rates: Mapping[str, float]
) -> StageRow:
    p50, (low, high) = statistics.median(values), interval(np.median, np.array([values]))
    operations, moved = subject.operations(stage), subject.bytes_moved(stage, HD)
    compute_ms = 0.0 if operations is None else operations / rates[subject.precision] * 1e3
    return StageRow(
        subject=subject.name,
        stage=stage,
        n=len(values),
        p50_ms=round(p50, 3),
        low_ms=round(low, 3),
        high_ms=round(high, 3),
        operations=operations,
        operations_per_second=None if operations is None else round(operations / p50 * 1e3),
        bytes_moved=moved,
        bytes_per_second=round(moved / p50 * 1e3),
        share_of_product=None if operations is None else round(compute_ms / p50, 3),
        share_of_copy=round(moved / rates["copy"] * 1e3 / p50, 3),
        floor_ms=round(max(compute_ms, moved / rates["copy"] * 1e3), 3),
    )


def curves(times: Times) -> list[Curve]:
    """Every cost that was followed, with its slope."""
    lines: dict[tuple[str, str, str], dict[float, list[float]]] = {}
    for (over, subject, stage, x), values in times.items():
        if over not in ("peak", "stages"):
            lines.setdefault((over, subject, stage), {})[x] = values
    return [_curve(*names, points) for names, points in lines.items()]


def _curve(over: str, subject: str, stage: str, points: Mapping[float, Sequence[float]]) -> Curve:
    xs = np.array(sorted(points))
    samples = np.array([points[x] for x in xs])
    is_power = over == "threads"
    fit = functools.partial(_slope, np.log(xs) if is_power else xs, is_power=is_power)
    slope, offset = fit(np.median(samples, axis=1))
    low, high = interval(lambda drawn, axis: fit(np.median(drawn, axis=axis))[0], samples)
    return Curve(
        over=over,
        subject=subject,
        stage=stage,
        points=[
            (float(x), round(float(np.median(s)), 3)) for x, s in zip(xs, samples, strict=True)
        ],
        slope=round(slope, 4),
        low=round(low, 4),
        high=round(high, 4),
        offset=round(offset, 4),
    )


def _slope(xs: Array, ys: Array, *, is_power: bool) -> tuple[float, float]:
    """Slope and offset of the straight line, for a power in logarithms."""
    if len(xs) < 2:
        return 0.0, float(ys[0])
    slope, offset = np.polyfit(xs, np.log(ys) if is_power else ys, 1)
    return float(slope), float(offset)


def interval(figure: Callable[..., Array | float], samples: Array) -> tuple[float, float]:
    """95% of what a figure is when the rounds are drawn anew."""
    random = np.random.default_rng(0)
    drawn = []
    for _ in range(RESAMPLES):
        picks = random.integers(0, samples.shape[1], samples.shape[1])
        drawn.append(np.ravel(figure(samples[:, picks], axis=1))[0])
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def measure(arguments: argparse.Namespace) -> None:
    """Measure everything and write the record."""
    counted = [Bundle.open(bundle_path(name)) for name in arguments.counted]
    embedded = [Bundle.open(bundle_path(f"samedge-{name}")) for name in ("nano", "pico")]
    known = {bundle.manifest.model.name: bundle for bundle in (*counted, *embedded)}
    pairs = [(n, b) for n in ("samedge-nano", "samedge-pico") for b in ("onnxruntime", "openvino")]
    wanted = [*pairs, *((path, None) for path in arguments.bundle)]
    subjects = [Subject(name, backend, counted=known) for name, backend in wanted]
    names = [subject.name for subject in subjects]
    if len(set(names)) < len(names):  # their times would be mixed
        twice = sorted({name for name in names if names.count(name) > 1})
        raise SystemExit(f"Measured twice: {', '.join(twice)}. Leave out one --bundle of each.")
    varied = subjects[:2]
    everything = list(tasks(subjects, varied))
    for backend in ("onnxruntime", "openvino"):
        everything += threads_tasks("samedge-nano", backend, photo(HD))
    times = interleaved(everything, seconds=arguments.seconds, least=arguments.rounds)
    record = Record(
        benchmark="limits",
        created=created_now(),
        samedge_version=__version__,
        command=" ".join(["python benchmarks/limits.py", *sys.argv[1:]]),
        environment=environment(),
        frame=f"{HD[1]} x {HD[0]}",
        side=SIDE,
        peaks=peaks(times),
        stages=stage_rows(times, subjects),
        curves=curves(times),
    )
    text = json.dumps(msgspec.to_builtins(record), indent=1) + "\n"
    arguments.output.write_text(text)


def peers(arguments: argparse.Namespace) -> None:
    """The encoders of ``benchmarks/peers`` against the product; prints JSON for its record."""
    paths = sorted(arguments.work.glob("files/*/ours-*"))
    bundles = {
        f"{path.parent.name} {path.name.removeprefix('ours-')}": Bundle.open(path) for path in paths
    }
    everything: list[Task] = [
        functools.partial(timed, ("peak", p, "product", PEERS_SIDE), product(p, PEERS_SIDE))
        for p in PRECISIONS
    ]
    for name, bundle in bundles.items():
        run = encoder(bundle)
        everything.append(functools.partial(timed, ("stages", name, "encode", 1.0), run))
    times = interleaved(everything, seconds=arguments.seconds, least=3)
    found = {peak.name: peak for peak in peaks(times)}
    rows = {}
    for name, bundle in bundles.items():
        counted = arguments.work / "files" / name.split()[0] / "ours-cpu-fp32" / "encoder.onnx"
        if counted.is_file():
            values = times["stages", name, "encode", 1.0]
            operations = sum(graph_cost(counted).operations.values())
            reached = operations / statistics.median(values) * 1e3
            rows[name] = {
                "n": len(values),
                "p50_ms": round(statistics.median(values), 2),
                "operations": operations,
                "operations_per_second": round(reached),
                "share_of_product": round(reached / found[bundle.manifest.precision].per_second, 3),
            }
    products = {
        name: {
            "side": PEERS_SIDE,
            "n": peak.n,
            "p50_ms": round(peak.p50_ms, 2),
            "operations_per_second": peak.per_second,
        }
        for name, peak in found.items()
    }
    print(json.dumps({"product": products, "encoders": rows}))


def encoder(bundle: Bundle) -> Callable[[], object]:
    """A bundle's encoder on its own backend with its own options, on a random photo."""
    manifest = bundle.manifest
    session = runtimes.get(manifest.backend).open(
        bundle.artifact_path(Role.ENCODER), device=manifest.device, options=manifest.options
    )
    side = manifest.input_size
    pixels = np.random.default_rng(1).integers(0, 256, (1, side, side, 3), np.uint8)
    shaped = pixels.reshape([int(axis) for axis in session.inputs[0].shape])
    return lambda: session.run({"image": shaped})


def page(arguments: argparse.Namespace) -> None:
    """Write the page of the documentation and its pictures."""
    records = [msgspec.json.decode(p.read_bytes(), type=Record) for p in arguments.records]
    write_page(records, arguments.output)


def main() -> None:
    """One of the three."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("measure")
    one.add_argument("-o", "--output", type=Path, required=True)
    one.add_argument("--bundle", action="append", default=[], help="beside the embedded models")
    one.add_argument("--counted", action="append", default=[], help="ONNX bundle of such a model")
    one.add_argument("--seconds", type=float, default=90.0)
    one.add_argument("--rounds", type=int, default=5, help="at least")
    one.set_defaults(run=measure)
    one = commands.add_parser("page")
    one.add_argument("records", type=Path, nargs="+")
    one.add_argument("-o", "--output", type=Path, required=True)
    one.set_defaults(run=page)
    one = commands.add_parser("peers")
    one.add_argument("work", type=Path)
    one.add_argument("seconds", type=float)
    one.set_defaults(run=peers)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
