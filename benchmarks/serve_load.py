"""Load on ``samedge serve``: many clients that click, every mask held against the sequential one.

    python benchmarks/serve_load.py                        # 16 clients x 200 clicks over 40 images
    python benchmarks/serve_load.py --minutes 60           # an hour of it (make serve-soak)

The server runs in a process of its own, as users start it. 429 is an answer and the click is sent
again; anything else that is no mask, or another mask than the predictor alone gives, fails the run.
The record has rates, percentiles and the server's memory over time: its first and last figure after
the first tenth of the run, and the slope of a line through those between. ``--pause 8`` lets each
client wait so long after a click, so that a long run leaves the machine to other work.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import json
import math
import platform
import random
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

import samedge
from samedge.files.lines import created_now
from samedge.predict.predictor import Predictor
from samedge.web.client import Client, ServerError

PHOTOS = Path(samedge.__file__).parent / "data" / "photos"
SIDE = 384
CLICKS_AN_IMAGE = 25
WARM_UP = 0.1  # of a run, until all images that are kept have been there


@dataclasses.dataclass(frozen=True)
class Expected:
    """An image with the masks of its clicks, computed one after the other.

    Attributes:
        data: its file.
        prompts: clicks and boxes.
        counts: run lengths of the masks.
    """

    data: bytes
    prompts: tuple[samedge.Prompt, ...]
    counts: tuple[str, ...]


@dataclasses.dataclass
class Tally:
    """What clients saw; one for all of them.

    Attributes:
        latency_ms: of every click that was answered, those of 429 before it included.
        wrong: masks that differ.
        errors: messages.
        busy: answers of 429.
    """

    latency_ms: list[float] = dataclasses.field(default_factory=list)
    wrong: int = 0
    errors: list[str] = dataclasses.field(default_factory=list)
    busy: int = 0
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)


def pictures(count: int, rng: np.random.Generator) -> Iterator[bytes]:
    """Crops and mirrors of the package's photos, each another image."""
    photos = [Image.open(path).convert("RGB") for path in sorted(PHOTOS.glob("*.jpg"))]
    for index in range(count):
        photo = photos[index % len(photos)]
        x = int(rng.integers(0, photo.width - SIDE + 1)) if photo.width > SIDE else 0
        y = int(rng.integers(0, photo.height - SIDE + 1)) if photo.height > SIDE else 0
        crop = photo.crop((x, y, min(x + SIDE, photo.width), min(y + SIDE, photo.height)))
        if index % 2:
            crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        stream = io.BytesIO()
        crop.save(stream, "PNG")
        yield stream.getvalue()


def expected(predictor: Predictor, data: bytes, rng: np.random.Generator) -> Expected:
    """The masks of an image as one process alone computes them."""
    image = samedge.load_image(data)
    embedding = predictor.encode(image)
    height, width = image.shape[:2]
    prompts = []
    for place in range(CLICKS_AN_IMAGE):
        x, y = float(rng.integers(0, width)), float(rng.integers(0, height))
        if place % 5 == 4:
            box = [x / 2, y / 2, x / 2 + width / 3, y / 2 + height / 3]
            prompts.append(samedge.Prompt(box=box))
        else:
            prompts.append(samedge.Prompt([[x, y]]))
    from samedge.pixels.rle import rle_from_mask

    masks = [predictor.decode(embedding, prompt).masks[0] for prompt in prompts]
    return Expected(data, tuple(prompts), tuple(rle_from_mask(mask)["counts"] for mask in masks))


def click(client: Client, image: Expected, place: int, tally: Tally) -> None:
    """Send an image and one prompt about it, as often as the server is too busy, and compare."""
    start = time.perf_counter()
    while True:
        try:
            (found,) = client.image(image.data).segment(image.prompts[place])
            break
        except ServerError as error:
            if error.status != 429:
                raise
            with tally.lock:
                tally.busy += 1
            time.sleep(0.05)
    elapsed = (time.perf_counter() - start) * 1e3
    with tally.lock:
        tally.latency_ms.append(elapsed)
        tally.wrong += found.rle["counts"] != image.counts[place]


@dataclasses.dataclass(frozen=True)
class Span:
    """How long a client goes on.

    Attributes:
        count: clicks, at least.
        until: on the monotonic clock, at least so long.
        end: on the same clock, no longer, whatever is left then.
    """

    count: int
    until: float
    end: float

    def is_open(self, done: int) -> bool:
        """Whether another click follows so many."""
        now = time.monotonic()
        return now < self.end and (done < self.count or now < self.until)


def clicks(
    address: str,
    images: list[Expected],
    *,
    seed: int,
    span: Span,
    tally: Tally,
    pause_s: float,
    patience_s: float,
) -> None:
    """One client: so many clicks, or as many as fit into the time, with a pause after each."""
    rng = random.Random(seed)
    with Client(address, retry_s=0, timeout_s=patience_s) as client:
        done = 0
        while span.is_open(done):
            image = rng.choice(images)
            try:
                click(client, image, rng.randrange(len(image.prompts)), tally)
            except samedge.SamedgeError as error:
                with tally.lock:
                    tally.errors.append(f"{type(error).__name__}: {error}")
                return
            done += 1
            if pause_s:
                time.sleep(min(pause_s, max(span.end - time.monotonic(), 0.0)))


@contextlib.contextmanager
def server(arguments: list[str]) -> Iterator[tuple[str, int]]:
    """``samedge serve`` as its own process: address and process id."""
    command = [sys.executable, "-m", "samedge", "serve", "--port", "0", "--json", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        text = ""
        while not text.endswith("}\n") or text.count("{") != text.count("}"):
            line = process.stdout.readline()
            if not line:
                raise SystemExit("the server ended before it answered")
            text += line
        try:
            yield json.loads(text)["address"], process.pid
        finally:
            process.terminate()
            process.wait(60)


def rss_bytes(pid: int) -> int | None:
    """Memory of a process; ``None`` where the system does not say."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize()
    return None


def percentile(values: list[float], share: float) -> float | None:
    """The value below which a share of them lies."""
    ordered = sorted(values)
    return round(ordered[min(int(share * len(ordered)), len(ordered) - 1)], 1) if ordered else None


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--clicks", type=int, default=200, help="of each client")
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--minutes", type=float, default=0.0, help="at least so long")
    parser.add_argument("--at-most", type=float, default=math.inf, help="seconds, then it ends")
    parser.add_argument(
        "--pause",
        type=float,
        default=0.0,
        help="seconds of each client after a click: where the machine has other work, too",
    )
    parser.add_argument("--seed", type=int, default=0, help="other clicks with another")
    parser.add_argument("--bundle", help="the embedded model without it")
    parser.add_argument("--backend", default="onnxruntime")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--queue", type=int, default=8, help="short, so that there are 429s")
    parser.add_argument(
        "--keep", type=int, default=24, help="fewer than the images, so that some go"
    )
    parser.add_argument(
        "--request-seconds",
        type=float,
        default=120.0,
        help="that the server gives a request: more where a machine stops everything at times",
    )
    parser.add_argument("-o", "--output", type=Path)
    return parser.parse_args()


def main() -> int:
    """Run it; 1 where a mask was wrong or an answer was neither a mask nor 429."""
    args = arguments()
    rng = np.random.default_rng(0)
    opened = (
        Predictor.from_bundle(args.bundle, backend=args.backend, threads=args.threads)
        if args.bundle
        else samedge.load_default(backend=args.backend, threads=args.threads)
    )
    with opened as predictor:
        images = [expected(predictor, data, rng) for data in pictures(args.images, rng)]
        bundle = predictor.manifest.id
    options = ["--backend", args.backend, "--threads", str(args.threads)]
    options += ["--queue", str(args.queue), "--keep", str(args.keep)]
    options += ["--request-seconds", f"{args.request_seconds:g}"]
    tally, memory = Tally(), list[tuple[float, int | None]]()
    with server([*([args.bundle] if args.bundle else []), *options]) as (address, pid):
        start = time.monotonic()
        span = Span(args.clicks, start + args.minutes * 60, start + args.at_most)
        threads = [
            threading.Thread(
                target=clicks,
                args=(address, images),
                kwargs={
                    "seed": seed,
                    "span": span,
                    "tally": tally,
                    "pause_s": args.pause,
                    "patience_s": args.request_seconds + 60,
                },
            )
            for seed in range(args.seed * args.clients, (args.seed + 1) * args.clients)
        ]
        for thread in threads:
            thread.start()
        step_s = max(1.0, args.minutes * 60 / 120)
        while any(thread.is_alive() for thread in threads):
            memory.append((round(time.monotonic() - start, 1), rss_bytes(pid)))
            threads[0].join(step_s) if threads[0].is_alive() else time.sleep(min(step_s, 1.0))
        elapsed = time.monotonic() - start
        memory.append((round(elapsed, 1), rss_bytes(pid)))
    record = report(args, tally, memory, elapsed=elapsed, bundle=bundle)
    text = json.dumps(record, indent=1)
    if args.output:
        args.output.write_text(text + "\n", encoding="utf-8")
    print(text)
    return 1 if tally.wrong or tally.errors else 0


def slope_per_hour(samples: list[tuple[float, int]]) -> float | None:
    """Growth of the memory in an hour: a line through the samples, by least squares."""
    if len(samples) < 2:
        return None
    seconds, sizes = np.array(samples, np.float64).T
    return round(float(np.polyfit(seconds, sizes, 1)[0]) * 3600)


def report(
    args: argparse.Namespace,
    tally: Tally,
    memory: list[tuple[float, int | None]],
    *,
    elapsed: float,
    bundle: str,
) -> dict[str, object]:
    """The record of a run."""
    known = [size for _, size in memory if size is not None]
    middle = known[len(known) // 2 :]
    growth = middle[-1] - statistics.median(middle) if middle else None
    warm = [(second, size) for second, size in memory if size and second > WARM_UP * elapsed]
    return {
        "schema": "samedge.serve-load/1",
        "samedge_version": samedge.__version__,
        "created": created_now(),
        "command": " ".join(["python", "benchmarks/serve_load.py", *sys.argv[1:]]),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "bundle_id": bundle,
        "clients": args.clients,
        "images": args.images,
        "clicks": len(tally.latency_ms),
        "seconds": round(elapsed, 1),
        "clicks_per_s": round(len(tally.latency_ms) / elapsed, 1),
        "wrong_masks": tally.wrong,
        "errors": tally.errors[:10],
        "busy_429": tally.busy,
        "p50_ms": percentile(tally.latency_ms, 0.50),
        "p95_ms": percentile(tally.latency_ms, 0.95),
        "p99_ms": percentile(tally.latency_ms, 0.99),
        "rss_peak_bytes": max(known, default=None),
        "rss_growth_second_half_bytes": growth,
        "rss_first_bytes": warm[0][1] if warm else None,
        "rss_last_bytes": warm[-1][1] if warm else None,
        "rss_slope_bytes_per_hour": slope_per_hour(warm),
        "rss_bytes": memory[:: max(1, len(memory) // 120)],
    }


if __name__ == "__main__":
    sys.exit(main())
