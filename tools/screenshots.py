r"""Pictures of a report's top for the documentation: on a desk, light and dark, and on a phone.

    samedge compare --target cpu --target intel --precision fp32 \
        --dataset samedge/data/photos/instances.json --images samedge/data/photos -o out/compare
    python tools/screenshots.py out/compare/report.html -o docs/images

Needs Chromium. Writes report-light.png, report-dark.png and report-phone.png.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from samedge.errors import BackendUnavailableError
from samedge.web.measuring import browser_path

SHOTS = {
    "light": (1280, 900, ()),
    "dark": (1280, 900, ("--blink-settings=preferredColorScheme=0",)),
    "phone": (500, 900, ()),  # Chromium's own least width; the page is one column there, too
}


def main() -> int:
    """Take the three pictures; 1 without a browser."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/images"))
    arguments = parser.parse_args()
    try:
        browser = browser_path()
    except BackendUnavailableError as error:
        print(error, file=sys.stderr)
        return 1
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name, (width, height, flags) in SHOTS.items():
        picture = arguments.output / f"report-{name}.png"
        _shoot(browser, arguments.page, picture, size=(width, height), flags=flags)
        print(picture)
    return 0


def _shoot(
    browser: str, page: Path, picture: Path, *, size: tuple[int, int], flags: tuple[str, ...]
) -> None:
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [
                browser,
                *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
                *("--disable-background-networking", "--disable-sync", "--hide-scrollbars"),
                *flags,
                f"--user-data-dir={profile}",
                f"--window-size={size[0]},{size[1]}",
                f"--screenshot={os.fspath(picture.absolute())}",
                page.absolute().as_uri(),
            ],
            check=True,
            capture_output=True,
            timeout=120,
        )


if __name__ == "__main__":
    sys.exit(main())
