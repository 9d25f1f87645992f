"""Random damage to bundles, archives and caches: refused, mended or harmless, never another mask.

    python benchmarks/corruption.py --bundle out/intel --count 10000
    python benchmarks/corruption.py --bundle out/intel --count 500 --unchecked   # the control
    python benchmarks/corruption.py --bundle out/intel --count 200 --canary

By turns a file of the bundle's folder, the ``.samedge`` file and a file of the cache is damaged: a
bit flipped, a page zeroed, a stretch overwritten or cut off. Then the bundle is opened as a program
would open it, and one click decoded. What counts is how often that gives another mask and no error.
``--unchecked`` opens without looking at hashes and canary, which must find such masks. ``--canary``
zeroes a page of the graphs and looks at no hash: what the canary alone finds, as it would have to
where a library or a driver computes wrongly.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import logging
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from samedge.bundle import _archive
from samedge.errors import BundleError, SamedgeError
from samedge.predict.predictor import Predictor
from samedge.types import Array, Prompt

PAGE = 4096
KINDS = ("bundle", "archive", "cache")
GRAPHS = (".onnx", ".bin", ".data")
CLICK = Prompt(points=[[64, 48]])
SILENT = "another mask"


def damage(data: bytes, rnd: random.Random) -> bytes:
    """One of four kinds of damage, somewhere."""
    content = bytearray(data)
    at = rnd.randrange(max(len(content), 1))
    how = rnd.choice(("flip", "zero", "write", "cut"))
    if how == "cut" or not content:
        return bytes(content[:at])
    if how == "flip":
        content[at] ^= 1 << rnd.randrange(8)
    elif how == "zero":
        start = at // PAGE * PAGE
        content[start : start + PAGE] = bytes(len(content[start : start + PAGE]))
    else:
        length = min(rnd.randrange(1, 64), len(content) - at)
        content[at : at + length] = rnd.randbytes(length)
    return bytes(content)


class Campaign:
    """Damages copies of a bundle and looks at what its masks become.

    Args:
        bundle: folder of a sound bundle.
        folder: an empty folder to work in.
        backend: who opens it; ``None``: the bundle's own.
        checked: whether it is opened as usual, and not without its checks.
    """

    def __init__(
        self, bundle: Path, folder: Path, *, backend: str | None = None, checked: bool = True
    ) -> None:
        self._bundle, self._folder = bundle, folder
        self._backend, self._checked = backend, checked
        self._cache = folder / "cache"
        os.environ["SAMEDGE_CACHE"] = str(self._cache)
        self._image = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
        self._expected = self._logits(bundle)

    def run(
        self, count: int, *, seed: int = 0, on_step: Callable[[int], None] = lambda _: None
    ) -> collections.Counter[str]:
        """Damage so often; how often what came of it, by kind and outcome."""
        rnd = random.Random(seed)
        found: collections.Counter[str] = collections.Counter()
        for number in range(count):
            kind = KINDS[number % len(KINDS)]
            found[f"{kind}: {self._outcome(kind, rnd)}"] += 1
            on_step(number + 1)
        return found

    def _outcome(self, kind: str, rnd: random.Random) -> str:
        path = self._damaged(kind, rnd)
        try:
            logits = self._logits(path)
        except SamedgeError:
            return "refused"
        same = logits.shape == self._expected.shape and bool((logits == self._expected).all())
        return "the same mask" if same else SILENT

    def run_canary(self, count: int, *, seed: int = 0) -> collections.Counter[str]:
        """Zero a page of a graph so often, and run the canary without any look at hashes."""
        rnd = random.Random(seed)
        return collections.Counter(self._canarys_outcome(rnd) for _ in range(count))

    def _canarys_outcome(self, rnd: random.Random) -> str:
        work = self._folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(self._bundle, work)
        path = rnd.choice([p for p in sorted(work.rglob("*")) if p.suffix in GRAPHS])
        content = bytearray(path.read_bytes())
        start = rnd.randrange(max(len(content) // PAGE, 1)) * PAGE
        content[start : start + PAGE] = bytes(len(content[start : start + PAGE]))
        path.write_bytes(content)
        try:
            with Predictor.from_bundle(
                work, backend=self._backend, threads=1, verify=False
            ) as predictor:
                predictor.load()
                predictor.check_canary()
                logits = predictor.predict(self._image, CLICK).low_res_logits
        except BundleError:
            return "refused by the canary"
        except SamedgeError:
            return "does not open"
        return "the same mask" if np.array_equal(logits, self._expected) else SILENT

    def _damaged(self, kind: str, rnd: random.Random) -> Path:
        """A fresh copy with damage; of the cache only the file in it."""
        work = self._folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        if kind == "cache":
            files = [path for path in sorted(self._cache.rglob("*")) if path.is_file()]
            if files:
                _damage_file(rnd.choice(files), rnd)
            return self._bundle
        shutil.copytree(self._bundle, work)
        if kind == "bundle":
            _damage_file(rnd.choice(sorted(p for p in work.rglob("*") if p.is_file())), rnd)
            return work
        packed = self._folder / "damaged.samedge"
        packed.unlink(missing_ok=True)
        _archive.pack(work, packed)
        _damage_file(packed, rnd)
        return packed

    def _logits(self, path: Path) -> Array:
        with Predictor.from_bundle(
            path, backend=self._backend, threads=1, verify=self._checked
        ) as predictor:
            return predictor.predict(self._image, CLICK).low_res_logits


def _damage_file(path: Path, rnd: random.Random) -> None:
    path.write_bytes(damage(path.read_bytes(), rnd))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--backend")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--unchecked", action="store_true")
    parser.add_argument("--canary", action="store_true")
    given = parser.parse_args()
    logging.getLogger("samedge").setLevel(logging.CRITICAL)  # every damaged cache is a warning

    def show(done: int) -> None:
        if done % 1000 == 0:
            print(f"{done} of {given.count}", file=sys.stderr, flush=True)

    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        campaign = Campaign(
            given.bundle, folder, backend=given.backend, checked=not given.unchecked
        )
        if given.canary:
            found = campaign.run_canary(given.count, seed=given.seed)
        else:
            found = campaign.run(given.count, seed=given.seed, on_step=show)
    for what, times in sorted(found.items()):
        print(f"{times:7} {what}")
    return 1 if any(what.endswith(SILENT) for what in found) and not given.canary else 0


if __name__ == "__main__":
    sys.exit(main())
