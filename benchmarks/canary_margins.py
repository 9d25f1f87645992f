"""How near sound arithmetic comes to the canary's limits: what the limits cost in false alarms.

    python benchmarks/canary_margins.py samedge/data/nano-cpu out/intel out/intel-int8

Every bundle is opened by each backend here that takes its format, with one to four threads, and
with what oneDNN (OpenVINO's library) may use of the processor cut down, as older processors have
it. All of these compute rightly, with other kernels and other orders of the sums. Printed for each
is the largest cosine distance of an answer to the expected one as a share of what the limit allows:
below 1 passes. A backend that refuses an arrangement is listed as such. The last line counts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from samedge import runtimes
from samedge.bundle.bundle import Bundle
from samedge.bundle.canary import compared
from samedge.errors import SamedgeError
from samedge.pixels.prompts import fitting_bucket
from samedge.predict.predictor import Predictor
from samedge.types import Role

KINDS = (None, "SSE41", "AVX", "AVX2", "AVX512_CORE", "AVX512_CORE_VNNI", "AVX512_CORE_BF16")
"""What oneDNN may use at most; above what a processor has they are all the same."""

THREADS = (1, 2, 3, 4)


def share_of_limit(path: Path, *, backend: str, threads: int) -> float:
    """The largest distance to an expected answer, over the one that its limit allows."""
    with Predictor.from_bundle(path, backend=backend, threads=threads, verify=False) as predictor:
        predictor.load()
        canary = predictor.bundle.canary()
        assert canary is not None, "the bundle has no canary"
        where = predictor.active_backend(Role.DECODER)
        answers = compared(
            canary,
            predictor.graphs,
            frame=predictor.frame,
            where=f"{where.name} {where.version}",
            bucket=fitting_bucket(predictor.manifest.prompt_buckets, length=2),
        )
        return max(
            (1 - cosine) / (1 - canary.limit(role))
            for role, _, cosines in answers
            for cosine in cosines
        )


def arrangements(path: Path) -> Iterator[tuple[str, int, str | None]]:
    """Backend, threads, and what oneDNN may use."""
    formats = {graph.format for graph in Bundle.open(path, verify=False).manifest.own_graphs}
    for name in runtimes.names():
        backend = runtimes.get(name)
        if formats <= set(backend.formats) and backend.probe().available:
            kinds = KINDS if name == "openvino" else (None,)
            yield from ((name, threads, kind) for threads in THREADS for kind in kinds)


def in_child(path: Path, *, backend: str, threads: int, kind: str | None) -> str | float:
    """As :func:`share_of_limit`, in a process whose libraries are told what to use; or an error."""
    limits = {} if kind is None else {"ONEDNN_MAX_CPU_ISA": kind}
    asked = [sys.executable, __file__, "--one", backend, str(threads), str(path)]
    environment = {**os.environ, **limits, "SAMEDGE_CACHE": os.devnull}
    ended = subprocess.run(asked, env=environment, capture_output=True, text=True, check=False)
    last = (ended.stdout if ended.returncode == 0 else ended.stderr).strip().splitlines()[-1:]
    return float(last[0]) if ended.returncode == 0 else " ".join(last)


@click.command()
@click.argument("bundles", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--one", nargs=2, hidden=True, help="Only this backend with so many threads, here.")
def main(bundles: tuple[Path, ...], *, one: tuple[str, str] | None) -> None:
    """Measure BUNDLES."""
    if one is not None:
        try:
            print(share_of_limit(bundles[0], backend=one[0], threads=int(one[1])))
        except SamedgeError as error:
            sys.exit(str(error))
        return
    shares: list[float] = []
    refused = 0
    for path in bundles:
        for backend, threads, kind in arrangements(path):
            found = in_child(path, backend=backend, threads=threads, kind=kind)
            row = {"bundle": str(path), "backend": backend, "threads": threads, "onednn": kind}
            print(json.dumps({**row, "share_of_limit": found}), flush=True)
            refused += isinstance(found, str)
            shares += [found] if isinstance(found, float) else []
    alarms = sum(share > 1 for share in shares)
    largest = max(shares, default=float("nan"))
    print(f"{alarms} of {len(shares)} false alarms, largest share {largest:.3g}, {refused} refused")


if __name__ == "__main__":
    main()
