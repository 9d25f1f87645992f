"""Frames a second of ``Predictor.map``, against its stages and against other arrangements.

One process, files on disk to masks; every round runs every arrangement of every subject on the same
frames, in an order that rotates, so that whatever else the machine does hits all alike.

    python benchmarks/throughput.py -o benchmarks/results/throughput.json

Arrangements:

* sequential: ``load_image`` and ``predict``, one frame after the other; its stages are timed, too;
* one thread: the same with ``threads=1``, whose stages say what a frame costs in processor time;
* staged: a thread reads and resizes, the other encodes and decodes on all processors;
* map: ``predictor.map`` as it comes; and of a predictor that was opened with ``threads=1``.

Of each subject the record gives the rate of map over that of the others, over that of the slowest
stage alone (``sequential``'s), and over what the processors could do at most: their number by the
processor time of a frame. Intervals are those of a bootstrap over rounds.
"""

from __future__ import annotations

import argparse
import json
import queue
import statistics
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
from PIL import Image

from samedge._version import __version__
from samedge.bundle.bundle import bundle_path
from samedge.export.sources import photo_paths
from samedge.files.lines import created_now
from samedge.machine.environment import environment, usable_cores
from samedge.pixels.frames import View
from samedge.pixels.images import load_image
from samedge.predict.embedding import ImageEmbedding
from samedge.predict.mapping import FrameMasks
from samedge.predict.predictor import Predictor
from samedge.records.machine import Environment
from samedge.types import IMAGE, Array, Prompt, Role

BAR = 0.85
"""Of the slowest stage's rate; issue 19, with two cores."""
STAGES = ("read", "preprocess", "encode", "decode", "postprocess")
PAUSE_S = 0.1
LEAST_ROUNDS = 3
RESAMPLES = 2000

Seconds = dict[str, list[float]]
"""Of every round, by arrangement or by stage: seconds a frame."""


class Interval(msgspec.Struct, frozen=True):
    """A ratio of medians with its 95% interval."""

    ratio: float
    low: float
    high: float


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What one subject gave.

    Attributes:
        subject: bundle and backend.
        frame: width x height of the files.
        rounds: that were measured.
        frames: of each round.
        frames_per_second: of each arrangement, median over rounds.
        stages_ms: of ``sequential``, a frame.
        stages_one_thread_ms: of ``one thread``, a frame: the processor time of a frame.
        slowest_stage: of ``sequential``.
        map_against: rate of map over that of each arrangement, of the slowest stage, of the stages
            one after the other, and of processors that are always busy.
        holds: whether the bar is held.
        is_equal: whether map's masks and logits were the sequential ones to the bit.
    """

    subject: str
    frame: str
    rounds: int
    frames: int
    frames_per_second: dict[str, float]
    stages_ms: dict[str, float]
    stages_one_thread_ms: dict[str, float]
    slowest_stage: str
    map_against: dict[str, Interval]
    holds: bool
    is_equal: bool


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """The document."""

    benchmark: str
    created: str
    samedge_version: str
    environment: Environment
    bar: float
    results: list[Row]


class Subject:
    """A bundle on a backend, opened as it comes and with one thread, and the frames for it.

    Args:
        bundle: a path or an embedded model's name.
        backend: a backend's name.
        files: the frames.
        size: ``(width, height)`` of them.
    """

    def __init__(
        self, bundle: str, backend: str, files: Sequence[Path], *, size: tuple[int, int]
    ) -> None:
        path = bundle_path(bundle)
        self.name = f"{path.name if path.name else bundle} on {backend}"
        self.size, self.files = size, list(files)
        self.prompt = Prompt(points=[[size[0] / 2, size[1] / 2]])
        self.opened = Predictor.from_bundle(path, backend=backend)
        self.single = Predictor.from_bundle(path, backend=backend, threads=1)
        self.rounds: Seconds = defaultdict(list)
        self.stages: Seconds = defaultdict(list)
        self.single_stages: Seconds = defaultdict(list)
        self.is_equal = True

    def arrangements(self) -> dict[str, Callable[[], Iterator[Array]]]:
        """Every way to the logits of all frames."""
        return {
            "sequential": lambda: self.sequential(self.opened, self.stages),
            "one thread": lambda: self.sequential(self.single, self.single_stages),
            "staged": self.staged,
            "map": lambda: self.mapped(self.opened),
            "map, one thread": lambda: self.mapped(self.single),
        }

    def sequential(self, predictor: Predictor, stages: Seconds) -> Iterator[Array]:
        """One frame after the other; adds a mean of each stage."""
        took: dict[str, list[float]] = {stage: [] for stage in STAGES}
        for path in self.files:
            start = time.perf_counter()
            image = load_image(path)
            took["read"].append(time.perf_counter() - start)
            embedding = predictor.encode(image)
            masks = predictor.decode(embedding, self.prompt)
            for stage, value in {**embedding.timing_ms, **masks.timing_ms}.items():
                took[stage].append(value / 1e3)
            yield masks.low_res_logits
        for stage, values in took.items():
            stages[stage].append(statistics.fmean(values))

    def staged(self) -> Iterator[Array]:
        """One thread reads and resizes, this one encodes and decodes."""
        ready: queue.Queue[tuple[View, Array] | None] = queue.Queue(2)

        def prepare() -> None:
            for path in self.files:
                image = load_image(path)
                view = self.opened.frame.view_of(image)
                ready.put((view, view.encoder_input(image)))
            ready.put(None)

        thread = threading.Thread(target=prepare)
        thread.start()
        while (one := ready.get()) is not None:
            view, pixels = one
            tensors = self.opened.graphs.run(Role.ENCODER, {IMAGE: pixels})
            embedding = ImageEmbedding(tensors, view, self.opened.bundle.id)
            yield self.opened.decode(embedding, self.prompt).low_res_logits
        thread.join()

    def mapped(self, predictor: Predictor) -> Iterator[Array]:
        """``Predictor.map``."""
        for outcome in predictor.map(self.files, self.prompt):
            assert isinstance(outcome, FrameMasks)
            yield outcome.results[0].low_res_logits

    def row(self) -> Row:
        """What was measured."""
        cores = usable_cores() or 1
        stages = {stage: statistics.median(self.stages[stage]) for stage in STAGES}
        slowest = max(stages, key=lambda stage: stages[stage])
        others: Seconds = {name: self.rounds[name] for name in self.rounds if name != "map"}
        others["slowest stage"] = self.stages[slowest]
        others["sum of stages"] = _sums(self.stages)
        others["busy processors"] = [value / cores for value in _sums(self.single_stages)]
        against = {name: interval(values, self.rounds["map"]) for name, values in others.items()}
        return Row(
            subject=self.name,
            frame=f"{self.size[0]} x {self.size[1]}",
            rounds=len(self.rounds["map"]),
            frames=len(self.files),
            frames_per_second={
                name: round(1 / statistics.median(values), 2)
                for name, values in self.rounds.items()
            },
            stages_ms=_medians_ms(self.stages),
            stages_one_thread_ms=_medians_ms(self.single_stages),
            slowest_stage=slowest,
            map_against=against,
            holds=against["slowest stage"].ratio >= BAR,
            is_equal=self.is_equal,
        )

    def close(self) -> None:
        """Release the graphs."""
        self.opened.close()
        self.single.close()


def _sums(stages: Seconds) -> list[float]:
    return [sum(values) for values in zip(*stages.values(), strict=True)]


def _medians_ms(stages: Seconds) -> dict[str, float]:
    return {stage: round(statistics.median(stages[stage]) * 1e3, 2) for stage in STAGES}


def interval(slower: Sequence[float], faster: Sequence[float]) -> Interval:
    """Ratio of the medians, with a bootstrap over rounds, drawn in pairs."""
    pairs = np.array([slower, faster])
    picks = np.random.default_rng(0).integers(0, pairs.shape[1], (RESAMPLES, pairs.shape[1]))
    drawn = np.median(pairs[:, picks], axis=2)
    low, high = np.percentile(drawn[0] / drawn[1], [2.5, 97.5])
    middle = statistics.median(slower) / statistics.median(faster)
    return Interval(round(middle, 3), round(float(low), 3), round(float(high), 3))


def written(folder: Path, *, size: tuple[int, int], count: int) -> list[Path]:
    """JPEG files of a size, made of samedge's own photos; each is used in turn."""
    paths = []
    for index, source in enumerate(photo_paths(None)):
        paths.append(folder / f"{index}-{size[0]}.jpg")
        resized = Image.open(source).convert("RGB").resize(size, Image.Resampling.BICUBIC)
        resized.save(paths[-1], quality=92)
    return [paths[index % len(paths)] for index in range(count)]


def measured(subjects: Sequence[Subject], *, rounds: int, seconds: float) -> None:
    """Run every arrangement of every subject in every round; the first one does not count.

    Args:
        subjects: what is measured.
        rounds: at most.
        seconds: after which no round begins, once there are three.
    """
    stop = time.monotonic() + seconds
    runs = [(s, name, run) for s in subjects for name, run in s.arrangements().items()]
    expected: dict[str, list[Array]] = {}
    for index in range(1 + rounds):
        if index > LEAST_ROUNDS and time.monotonic() > stop:
            return
        shift = index % len(runs)
        for subject, name, run in runs[shift:] + runs[:shift]:
            time.sleep(PAUSE_S)
            start = time.perf_counter()
            logits = list(run())
            took_s = (time.perf_counter() - start) / len(subject.files)
            if name in ("sequential", "map"):
                before = expected.setdefault(subject.name, logits)
                subject.is_equal &= all(map(np.array_equal, before, logits))
            if index:
                subject.rounds[name].append(took_s)
        if not index:
            for subject in subjects:
                subject.stages.clear()
                subject.single_stages.clear()


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--bundle", action="append", help="a bundle or an embedded model's name")
    parser.add_argument("--backend", action="append")
    parser.add_argument("--size", default="1920x1080", help="of the frames, WIDTHxHEIGHT")
    parser.add_argument("--frames", type=int, default=12, help="of each round")
    parser.add_argument("--rounds", type=int, default=20, help="at most")
    parser.add_argument("--seconds", type=float, default=100.0, help="no round begins after them")
    arguments = parser.parse_args()
    width, _, height = arguments.size.partition("x")
    size = int(width), int(height)
    with tempfile.TemporaryDirectory() as folder:
        files = written(Path(folder), size=size, count=arguments.frames)
        subjects = [
            Subject(bundle, backend, files, size=size)
            for bundle in arguments.bundle or ["samedge-nano", "samedge-pico"]
            for backend in arguments.backend or ["onnxruntime", "openvino"]
        ]
        measured(subjects, rounds=arguments.rounds, seconds=arguments.seconds)
    for subject in subjects:
        subject.close()
    record = Record(
        benchmark="throughput",
        created=created_now(),
        samedge_version=__version__,
        environment=environment(),
        bar=BAR,
        results=[subject.row() for subject in subjects],
    )
    document = msgspec.to_builtins(record)
    print(json.dumps(document["results"], indent=1))
    if arguments.output:
        arguments.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
