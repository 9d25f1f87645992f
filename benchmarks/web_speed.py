"""What a visitor of a bundle's page waits for: load, encode, click, memory, bytes.

    samedge export --target web --model samedge-nano -o out/nano-web
    python benchmarks/web_speed.py out/nano-web -o benchmarks/results/web_speed_nano.json

Headless Chromium, WebAssembly, the site on loopback, a photo of 1920x1080. Every visit is of a
browser that knows nothing of the page. `load` is from the address to the frame that says the page
takes photos, `encode` is from the opened file to the ready photo, its
decoding and resizing included, on a page whose canary has been heard; `decode` from the moment when
the mouse was let go to the frame with the painted mask, without previews and closer looks. The page
begins when a button goes down: ``--hold 80`` lets it go after 80 ms, as people do. Processor time
is that of the page's process, in which its worker lives: with ``--threads 1`` it is what the wall
clock would show on a machine that does nothing else. ``samedge bench --bundle out/nano-web``
measures the same way.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import msgspec

from samedge import records
from samedge.bundle.bundle import Bundle, embedded_path
from samedge.types import Steps
from samedge.web.measuring import measure_page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--loads", type=int, default=3)
    parser.add_argument("--clicks", type=int, default=20)
    parser.add_argument("--hold", type=float, default=0.0, help="ms that a button stays down")
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    photo = embedded_path().parent / "photos" / "coffee.jpg"
    before = os.getloadavg()[0]
    record = measure_page(
        Bundle.open(arguments.bundle),
        photo,
        loads=arguments.loads,
        clicks=arguments.clicks,
        threads=arguments.threads,
        hold_ms=arguments.hold,
        steps=Steps(arguments.loads, stage=print),
    )
    command = f"python benchmarks/web_speed.py {' '.join(sys.argv[1:])}"
    record = msgspec.structs.replace(record, command=command)
    records.write(record, arguments.output)
    for row in record.results:
        print(f"{row.stage:12} p50 {row.p50_ms:9.1f} ms of {row.n}")
    print(record.pages[0], f"load {before:.1f} to {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
