"""How far our encoders are from what this machine can multiply, in one interleaved run.

    python limits.py WORK SECONDS

The limit is a matrix product of 4096 x 4096 x 4096 in OpenVINO (oneDNN underneath), in the
precision of the bundle; the operations of an encoder are counted in its ONNX graph. Prints JSON.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from openvino import opset13 as ops

from samedge import runtimes
from samedge.bundle.bundle import Bundle
from samedge.inspection.roofline import graph_cost

SIDE = 4096
PRECISIONS = ("fp32", "bf16", "int8")
_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "bf16"}


def main() -> None:
    work, seconds = Path(sys.argv[1]), float(sys.argv[2])
    products = {precision: product(precision) for precision in PRECISIONS}
    bundles = {
        path.parent.name + " " + path.name.removeprefix("ours-"): Bundle.open(path)
        for path in sorted(work.glob("files/*/ours-*"))
    }
    calls: dict[str, Callable[[], Any]] = {f"product {k}": v for k, v in products.items()}
    calls |= {name: encoder(bundle) for name, bundle in bundles.items()}
    times = interleaved(calls, seconds)
    print(json.dumps(document(times, bundles, work)))


def product(precision: str) -> Callable[[], Any]:
    """A square matrix product, compiled; in int8 its input is quantized first, as in a layer."""
    random = np.random.default_rng(0)
    feed = random.uniform(-1, 1, (SIDE, SIDE)).astype(np.float32)
    left = ops.parameter([SIDE, SIDE], np.float32)
    if precision == "int8":
        low, high = np.float32(-1.28), np.float32(1.27)
        scaled = ops.fake_quantize(left, low, high, low, high, 256)
        weights = ops.constant(random.integers(-127, 128, (SIDE, SIDE), np.int8))
        right = ops.multiply(ops.convert(weights, np.float32), np.float32(0.01))
    else:
        scaled = left
        right = ops.constant(random.standard_normal((SIDE, SIDE), np.float32))
    model = openvino.Model([ops.matmul(scaled, right, False, True)], [left], precision)
    hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": _HINTS[precision]}
    request = openvino.Core().compile_model(model, "CPU", hints).create_infer_request()
    return lambda: request.infer([feed], share_inputs=True, share_outputs=True)


def encoder(bundle: Bundle) -> Callable[[], Any]:
    """A bundle's encoder on its own backend with its own options, on a random photo."""
    manifest = bundle.manifest
    session = runtimes.get(manifest.backend).open(
        bundle.artifact_path("encoder"), device=manifest.device, options=manifest.options
    )
    side = manifest.input_size
    pixels = np.random.default_rng(1).integers(0, 256, (1, side, side, 3), np.uint8)
    shaped = pixels.reshape([int(axis) for axis in session.inputs[0].shape])
    return lambda: session.run({"image": shaped})


def interleaved(calls: dict[str, Callable[[], Any]], seconds: float) -> dict[str, list[float]]:
    """Milliseconds of each call, in rounds, until the time is over; each runs once before."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    stop = time.monotonic() + seconds
    while time.monotonic() < stop or len(times[next(iter(times))]) < 3:
        for name, call in calls.items():
            call()  # brings its own weights back into the caches
            start = time.perf_counter()
            call()
            times[name].append((time.perf_counter() - start) * 1e3)
    return times


def document(
    times: dict[str, list[float]], bundles: dict[str, Bundle], work: Path
) -> dict[str, Any]:
    medians = {name: statistics.median(values) for name, values in times.items()}
    peaks = {p: 2 * SIDE**3 / medians[f"product {p}"] * 1e3 for p in PRECISIONS}
    rows = {}
    for name, bundle in bundles.items():
        family = name.split()[0]
        counted = Path(work, "files", family, "ours-cpu-fp32", "encoder.onnx")
        if not counted.is_file():
            continue
        operations = sum(graph_cost(counted).operations.values())
        reached = operations / medians[name] * 1e3
        rows[name] = {
            "n": len(times[name]),
            "p50_ms": round(medians[name], 2),
            "operations": operations,
            "operations_per_second": round(reached),
            "share_of_product": round(reached / peaks[bundle.manifest.precision], 3),
        }
    return {
        "product": {
            p: {
                "side": SIDE,
                "n": len(times[f"product {p}"]),
                "p50_ms": round(medians[f"product {p}"], 2),
                "operations_per_second": round(peaks[p]),
            }
            for p in PRECISIONS
        },
        "encoders": rows,
    }


if __name__ == "__main__":
    main()
