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
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
from limits_figures import curves, peaks, stage_rows
from limits_page import write_page
from limits_record import Record
from limits_tasks import (
    HD,
    PRECISIONS,
    SIDE,
    Subject,
    Task,
    Times,
    photo,
    product,
    tasks,
    threads_tasks,
    timed,
)

from samedge import runtimes
from samedge._version import __version__
from samedge.bundle.bundle import Bundle, bundle_path
from samedge.files.lines import created_now
from samedge.inspection.roofline import graph_cost
from samedge.machine.environment import environment
from samedge.types import Role

PEERS_SIDE = 4096


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
