"""ONNX files in ONNX Runtime Web: which one WebAssembly computes faster, by processor time.

    samedge export --model samedge-pico --target cpu -o out/cpu
    samedge export --model samedge-pico --target web -o out/web
    python benchmarks/web_graphs.py out/cpu/decoder.onnx out/web/decoder.onnx

All are open in one worker of a headless Chromium, in one thread, with the same random inputs.
Batches of runs come in random order, one of each file to a round, and every round is a pair with
the first file. What is counted is the time that the worker's thread had a processor, from Linux, so
that other work on the machine shows less than by the clock.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from samedge.web.measuring import browser_path
from samedge.web.runtime import runtime_folder
from samedge.web.static import serving

PAGE = """<!doctype html><script>globalThis.ask = (message) => new Promise((resolve, reject) => {
  globalThis.worker ??= new Worker("worker.js", { type: "module" });
  worker.onmessage = ({ data }) => (data.error ? reject(new Error(data.error)) : resolve(data));
  worker.onerror = ({ message: text }) => reject(new Error(text));
  worker.postMessage(message);
});</script>"""
WORKER = """let ort = null;
const sessions = new Map(), feeds = new Map();
async function opened(paths) {
  ort = await import("./runtime/ort.wasm.min.mjs");
  ort.env.wasm.numThreads = 1;
  const options = { executionProviders: ["wasm"], graphOptimizationLevel: "all",
    enableCpuMemArena: false, enableMemPattern: false };
  for (const path of paths) {
    const file = new Uint8Array(await (await fetch(path)).arrayBuffer());
    sessions.set(path, await ort.InferenceSession.create(file, options));
    for (const one of sessions.get(path).inputMetadata) if (!feeds.has(one.name)) feeds.set(one.name, fed(one));
  }
}
function fed({ name, type, shape }) {
  const dims = shape.map((length, axis) => (typeof length === "number" ? length : axis ? 16 : 1));
  const count = dims.reduce((a, b) => a * b, 1);
  if (type === "uint8") return new ort.Tensor(type, Uint8Array.from({ length: count }, () => 256 * Math.random()), dims);
  const fixed = { point_coords: () => 200, point_labels: (_, index) => (index ? -1 : 1),
    mask_input: () => 0, has_mask_input: () => 0 };
  return new ort.Tensor(type, Float32Array.from({ length: count }, fixed[name] ?? (() => 2 * Math.random() - 1)), dims);
}
onmessage = async ({ data: { open, run, times } }) => {
  try {
    if (open) await opened(open);
    const session = sessions.get(run);
    for (let left = times; session && left > 0; left--) {
      await session.run(Object.fromEntries(session.inputNames.map((name) => [name, feeds.get(name)])));
    }
    postMessage({});
  } catch (error) {
    postMessage({ error: String(error) });
  }
};"""  # noqa: E501

Run = Callable[[str, int], float]
"""Runs a file so many times and gives the processor time, ms."""


@contextmanager
def opened(paths: list[Path]) -> Iterator[tuple[list[str], Run]]:
    """The files in one worker: their names there, and what runs them."""
    from playwright.sync_api import sync_playwright

    names = [f"graph-{index}.onnx" for index in range(len(paths))]
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as driver:
        page_file, worker_file = Path(scratch, "index.html"), Path(scratch, "worker.js")
        page_file.write_text(PAGE, encoding="utf-8")
        worker_file.write_text(WORKER, encoding="utf-8")
        library = {f"runtime/{path.name}": path for path in runtime_folder().iterdir()}
        files = {"index.html": page_file, "worker.js": worker_file, **library}
        browser = driver.chromium.launch(executable_path=browser_path(), args=["--no-sandbox"])
        with serving({**files, **dict(zip(names, paths, strict=True))}) as server:
            page = browser.new_page()
            page.set_default_timeout(300_000)
            page.goto(server.address)
            page.evaluate("paths => ask({ open: paths })", names)
            threads = worker_threads(browser)

            def run(name: str, times: int) -> float:
                before = processor_ms(threads)
                page.evaluate("([run, times]) => ask({ run, times })", [name, times])
                return processor_ms(threads) - before

            yield names, run
        browser.close()


def worker_threads(browser: Any) -> list[Path]:
    """Linux' folders of the threads of dedicated workers."""
    session = browser.new_browser_cdp_session()
    found = session.send("SystemInfo.getProcessInfo")["processInfo"]
    tasks = [
        task
        for one in found
        if one["type"] == "renderer"
        for task in Path(f"/proc/{one['id']}/task").iterdir()
    ]
    return [task for task in tasks if (task / "comm").read_text().startswith("DedicatedWorker")]


def processor_ms(threads: list[Path]) -> float:
    """Time that threads had a processor, ms."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in threads) / 1e6


def measured(names: list[str], run: Run, *, rounds: int, batch: int) -> dict[str, list[float]]:
    """Milliseconds a run, round by round."""
    times: dict[str, list[float]] = {name: [] for name in names}
    for name in names:
        run(name, batch)
    for _ in range(rounds):
        for name in random.sample(names, len(names)):
            times[name].append(run(name, batch) / batch)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--rounds", type=int, default=16)
    parser.add_argument("--batch", type=int, default=6)
    arguments = parser.parse_args()
    with opened(arguments.files) as (names, run):
        times = measured(names, run, rounds=arguments.rounds, batch=arguments.batch)
    first = times[names[0]]
    for path, values in zip(arguments.files, times.values(), strict=True):
        ratios = [one / base for one, base in zip(values, first, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        row = {"file": str(path), "ms": round(statistics.median(values), 2)}
        print(
            json.dumps({**row, "ratio": round(middle, 3), "half": [round(low, 3), round(high, 3)]})
        )


if __name__ == "__main__":
    main()
