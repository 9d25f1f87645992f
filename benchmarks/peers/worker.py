"""One turn of one contender in a fresh process of its own environment.

    PYTHON worker.py PLAN.json

The plan names the module in ``contenders/``, its files, a photo and how often each stage runs. The
last line on standard output is the JSON result. Nothing is imported before the contender's own
libraries that they would not import themselves, so that the start and the memory are theirs.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def main() -> None:
    plan = json.loads(Path(sys.argv[1]).read_text())
    sys.path.insert(0, str(Path(__file__).parent))
    result = turn(plan)
    print("\n" + json.dumps(result))


def turn(plan: dict[str, Any]) -> dict[str, Any]:
    """First mask, its cost, then every stage again and again."""
    if plan["clock"] == "cpu":
        time.perf_counter = time.process_time  # for samedge's and the contenders' own timing, too
    imported = time.perf_counter()
    module = importlib.import_module(f"contenders.{plan['module']}")
    opening = time.perf_counter()
    model = module.open_model(Path(plan["files"]), plan["options"])
    opened = time.perf_counter()
    image = photo(plan["photo"])
    points = [tuple(point) for point in plan["points"]]
    embedding, _ = model.encode(image)
    model.decode(embedding, points[:1])
    result = {
        "first_mask_ms": since_start(plan) * 1e3,
        "import_ms": (opening - imported) * 1e3,
        "open_ms": (opened - opening) * 1e3,
        "peak_rss_bytes": peak_bytes(),
    }
    return result | stages(model, image, points, plan["counts"]) | checked(model, image, plan)


def since_start(plan: dict[str, Any]) -> float:
    """Seconds since this process began."""
    if plan["clock"] == "cpu":
        return time.process_time()
    # The monotonic clock is the system's: the driver's reading and this one can be subtracted.
    return float(time.monotonic() - plan["started"])


def photo(path: str) -> Any:
    import numpy as np
    from PIL import Image

    return np.asarray(Image.open(path).convert("RGB"))


def stages(
    model: Any, image: Any, points: list[tuple[float, float]], counts: dict[str, int]
) -> dict[str, list[float]]:
    """Milliseconds of every repetition; each stage has run before, in the first mask or here."""
    times: dict[str, list[float]] = {}
    embedding = None
    for _ in range(counts.get("encode", 0)):
        start = time.perf_counter()
        embedding, encoder_ms = model.encode(image)
        model.decode(embedding, points[:1])
        note(times, "photo_to_mask_ms", (time.perf_counter() - start) * 1e3)
        note(times, "encoder_ms", encoder_ms)
    embedding = embedding if embedding is not None else model.encode(image)[0]
    for prompts, name in ((points[:1], "decode"), (points, "decode16")):
        for index in range(counts.get(name, 0) + 1):
            wall_ms, graph_ms = timed(lambda some=prompts: model.decode(embedding, some)[1])
            if index:
                note(times, f"{name}_ms", wall_ms)
                note(times, f"{name}_graph_ms", graph_ms)
    for _ in range(counts.get("everything", 0)):
        note(times, "everything_ms", timed(lambda: model.everything(image))[0])
    return times


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    value = call()
    return (time.perf_counter() - start) * 1e3, value


def note(times: dict[str, list[float]], name: str, value: float) -> None:
    times.setdefault(name, []).append(value)


def checked(model: Any, image: Any, plan: dict[str, Any]) -> dict[str, Any]:
    """Write the embedding where the plan asks for it, so that the driver can compare."""
    if not plan.get("embedding"):
        return {}
    import numpy as np

    array = np.asarray(model.embedding_array(model.encode(image)[0]), np.float32)
    np.save(plan["embedding"], array)
    return {"embedding_shape": list(array.shape)}


def peak_bytes() -> int | None:
    """High-water mark of this process's memory; ``getrusage`` would inherit the parent's."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    kilobytes = next(line.split()[1] for line in lines if line.startswith("VmHWM"))
    return int(kilobytes) * 1024


if __name__ == "__main__":
    main()
