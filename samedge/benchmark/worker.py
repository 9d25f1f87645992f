"""The process in which one subject is measured; :mod:`samedge.benchmark.bench` starts it.

One request a line on standard input, one reply a line on what was standard output. Everything else
that Python or a native library prints goes to standard error.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import msgspec

from samedge.benchmark.messages import (
    Block,
    Closed,
    Failed,
    Measured,
    Open,
    Opened,
    Rate,
    Rated,
    Reply,
    Request,
    Sustain,
    Sustained,
)
from samedge.errors import SamedgeError
from samedge.machine import power
from samedge.types import Array, Prompt

DEFAULT_FACTORY = "samedge.predict.subjects:open_predictor"


class Worker:
    """Holds one predictor and answers the requests about it."""

    def __init__(self) -> None:
        self._predictor: Any = None
        self._stack = contextlib.ExitStack()
        self._images: dict[str, Array] = {}

    def answer(self, request: Request) -> Reply:
        """Do what one request asks."""
        if isinstance(request, Open):
            return self.open(request)
        if isinstance(request, Block):
            return self.block(request)
        if isinstance(request, Rate):
            return self.rate(request)
        return self.sustain(request) if isinstance(request, Sustain) else self.close()

    def open(self, request: Open) -> Opened:
        """Load the bundle and segment for the first time; both are timed.

        The import of samedge and of NumPy is not part of ``load``; that of the backend is.
        """
        module, _, name = request.factory.partition(":")
        make = getattr(importlib.import_module(module), name)
        pixels, prompts = self._work(request.image, [request.point])
        where = {"backend": request.backend, "device": request.device}
        start = time.perf_counter()
        opened, subject = make(request.bundle, threads=request.threads, **where)
        self._predictor = self._stack.enter_context(opened)
        loaded = time.perf_counter()
        self._predict(pixels, prompts[0])
        first = time.perf_counter()
        return Opened(load=(loaded - start) * 1000, first=(first - loaded) * 1000, subject=subject)

    def block(self, request: Block) -> Measured:
        """Segment one image with rotating prompts until both the time and the count are reached.

        One prediction before it is not recorded: it finds the caches as the other subjects left
        them, which is not what a running application sees.
        """
        pixels, prompts = self._work(request.image, request.points)
        self._predict(pixels, prompts[-1])
        samples: dict[str, list[float]] = {}
        start = time.perf_counter()
        done = 0
        while done < request.count or time.perf_counter() - start < request.seconds:
            for stage, value in self._predict(pixels, prompts[done % len(prompts)]).items():
                samples.setdefault(stage, []).append(value)
            done += 1
        return Measured(
            samples=samples,
            frequency_mhz=power.frequency_mhz("scaling_cur_freq"),
            throttled=list(power.throttled_now()),
        )

    def rate(self, request: Rate) -> Rated:
        """Time whole frames that are asked all of ``points`` at once, one prompt each."""
        pixels, prompts = self._work(request.image, request.points)
        samples: list[float] = []
        start = time.perf_counter()
        while len(samples) < request.count or time.perf_counter() - start < request.seconds:
            began = time.perf_counter()
            self._predictor.decode_batch(self._predictor.encode(pixels), prompts)
            samples.append((time.perf_counter() - began) * 1000)
        return Rated(samples=samples)

    def sustain(self, request: Sustain) -> Sustained:
        """Segment one image without a pause for so long."""
        pixels, prompts = self._work(request.image, request.points)
        series: list[tuple[float, float]] = []
        start = time.perf_counter()
        while (elapsed := time.perf_counter() - start) < request.seconds:
            value = self._predict(pixels, prompts[len(series) % len(prompts)])["end_to_end"]
            series.append((round(elapsed, 4), round(value, 4)))
        return Sustained(series=series)

    def close(self) -> Closed:
        """Release the predictor and say how much memory the process needed at most."""
        peak = peak_rss_bytes()
        self._stack.close()
        return Closed(peak_rss_bytes=peak)

    def _work(self, image: str, points: Sequence[Sequence[float]]) -> tuple[Array, list[Prompt]]:
        """Pixels and prompts; points are given as shares of width and height.

        One image is held at a time, so that the process needs no more memory than an application.
        """
        if image not in self._images:
            from samedge.pixels.images import load_image

            self._images = {image: load_image(Path(image))}
        pixels = self._images[image]
        height, width = pixels.shape[:2]
        return pixels, [Prompt(points=[[x * width, y * height]]) for x, y in points]

    def _predict(self, pixels: Array, prompt: Prompt) -> dict[str, float]:
        began = time.perf_counter()
        embedding = self._predictor.encode(pixels)
        result = self._predictor.decode(embedding, prompt)
        total = (time.perf_counter() - began) * 1000
        return {**embedding.timing_ms, **result.timing_ms, "end_to_end": total}


def peak_rss_bytes() -> int | None:
    """Largest resident memory of this process so far.

    Linux's ``VmHWM`` belongs to this program alone; ``ru_maxrss`` would begin at the size of the
    process that started it.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return None


def serve(requests: Iterator[str], replies: IO[str]) -> None:
    """Answer requests until there are no more. An error of samedge is an answer too."""
    worker = Worker()
    for line in requests:
        reply: Reply
        try:
            reply = worker.answer(msgspec.json.decode(line, type=Request))
        except SamedgeError as error:
            reply = Failed(kind=type(error).__name__, message=str(error))
        replies.write(msgspec.json.encode(reply).decode() + "\n")
        replies.flush()


def main() -> None:
    """Keep standard output for replies alone, then serve."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    with replies:
        serve(iter(sys.stdin), replies)


if __name__ == "__main__":
    main()
