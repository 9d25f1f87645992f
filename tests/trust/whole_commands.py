"""Whole commands that write, what each needs, and what must be true of what it wrote.

The old result or the new one, never half of one: :meth:`Command.check` looks at what is there.
"""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from PIL import Image

from samedge.bundle.bundle import Bundle
from samedge.files.writing import MARK

REPOSITORY = Path(__file__).resolve().parents[2]
PHOTOS = REPOSITORY / "samedge" / "data" / "photos"
MAIN = "import sys, samedge.cli; sys.argv[1:] = arguments; samedge.cli.main()"
DOWNLOAD = (
    "from pathlib import Path; import samedge.errors\n"
    "from samedge.models.download import download\n"
    "try: download(arguments[0], Path(arguments[1]), sha256=arguments[2], pause_s=0)\n"
    "except samedge.errors.SamedgeError as e: print('samedge:', e); raise SystemExit(1)"
)
OF_LIBRARIES = ("torchinductor_", "__pycache__")  # torch's compiler makes its folder by itself


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code (negative: a signal), time, file-system steps, words."""

    code: int
    seconds: float
    steps: int
    said: str


class Nursery:
    """The process that forks for every command; a context manager."""

    def __init__(self, shim: Path, folder: Path, libraries: Sequence[str] = ()) -> None:
        self._shim, self._log = shim, folder / "command.log"
        self._libraries = libraries
        self._process: subprocess.Popen[str] | None = None
        folder.mkdir(exist_ok=True)

    def __enter__(self) -> Nursery:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.trust.nursery", *self._libraries],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={
                **os.environ,
                "LD_PRELOAD": str(self._shim),
                "PYTHONPATH": str(REPOSITORY),
                "PYTHONDONTWRITEBYTECODE": "1",
                "OMP_NUM_THREADS": "1",
            },
            cwd=REPOSITORY,
            text=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._process is not None
        self._process.communicate()

    def run(
        self,
        command: Command,
        place: Place,
        *,
        at: int = 0,
        code: int = 0,
        stays: bool = False,
        kill_after_s: float | None = None,
    ) -> Ended:
        """Run a command; ``at``, ``code`` and ``stays`` as of ``faults_arm``, ``code`` 0 kills."""
        order = {
            "python": command.python,
            "arguments": command.arguments(place),
            "variables": {"SAMEDGE_CACHE": str(place.cache), "TMPDIR": str(place.temporary)},
            "under": [str(place.out), str(place.cache), str(place.temporary)],
            "log": str(self._log),
            "at": at,
            "code": code,
            "stays": stays,
            "kill_after_s": kill_after_s,
            "limit_s": 300,
        }
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return Ended(**answer, said=self._log.read_text(errors="replace"))


@dataclasses.dataclass(frozen=True)
class Place:
    """Where one command writes: its output, its cache and its temporary files."""

    root: Path

    def __post_init__(self) -> None:
        for folder in (self.out, self.cache, self.temporary):
            folder.mkdir(parents=True, exist_ok=True)

    @property
    def out(self) -> Path:
        return self.root / "out"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def temporary(self) -> Path:
        return self.root / "tmp"

    def leftovers(self) -> list[str]:
        """What should not be there when nothing runs: half files, and anything temporary."""
        found = [path for path in self.root.rglob("*") if path.name.startswith(MARK)]
        found += list(self.temporary.iterdir())
        return sorted({str(p.relative_to(self.root)) for p in found if not _is_foreign(p)})


def _is_foreign(path: Path) -> bool:
    return path.name.startswith(OF_LIBRARIES)


Check = Callable[[Path], None]


@dataclasses.dataclass(frozen=True)
class Command:
    """A command, the path that it writes below the output, and what proves that to be whole."""

    name: str
    words: tuple[str, ...]
    output: str
    whole: Check
    python: str = MAIN
    does_nothing_twice: bool = False
    resumes: tuple[str, ...] = ()

    def arguments(self, place: Place) -> list[str]:
        words = [word.replace("OUT", str(place.out)) for word in self.words]
        goes_on = self.resumes and (place.out / self.output / "recipe.toml").exists()
        return [*words, *(self.resumes if goes_on else ())]

    def check(self, place: Place) -> bool:
        """Whether there is a result. One that is there must be whole."""
        path = place.out / self.output
        if not path.exists():
            return False
        self.whole(path)
        return True


def bundle_is_whole(path: Path) -> None:
    Bundle.open(path)  # every hash


def json_is_whole(path: Path) -> None:
    assert json.loads(path.read_text())


def page_is_whole(path: Path) -> None:
    assert path.read_text().rstrip().endswith("</html>")


def picture_is_whole(path: Path) -> None:
    Image.open(path).load()


def tree_is_whole(path: Path) -> None:
    """Every file of a folder that many files make up, by its ending."""
    checks = {".json": json_is_whole, ".html": page_is_whole, ".png": picture_is_whole}
    for file in path.rglob("*"):
        if file.is_file() and not any(part.startswith(MARK) for part in file.parts):
            if file.name == "bundle.json":
                bundle_is_whole(file.parent)
            elif file.suffix in checks:
                checks[file.suffix](file)


def run_is_whole(path: Path) -> None:
    import safetensors.torch
    import torch

    for file in path.rglob("*"):
        if any(part.startswith(MARK) for part in file.parts):
            continue
        if file.suffix == ".safetensors":
            safetensors.torch.load_file(file)
        elif file.suffix == ".pt":
            torch.load(file, map_location="cpu", weights_only=True)


class Server:
    """A file on loopback, slowly, with ranges; a context manager."""

    def __init__(self, size: int = 3_000_000) -> None:
        self.content = bytes(range(256)) * (size // 256)
        self.sha256 = hashlib.sha256(self.content).hexdigest()
        content = self.content

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                asked = self.headers.get("Range")
                start = int(asked.split("=")[1].split("-")[0]) if asked else 0
                self.send_response(206 if asked else 200)
                if asked:
                    ends = f"bytes {start}-{len(content) - 1}/{len(content)}"
                    self.send_header("Content-Range", ends)
                self.send_header("Content-Length", str(len(content) - start))
                self.end_headers()
                for begin in range(start, len(content), 100_000):
                    try:
                        self.wfile.write(content[begin : begin + 100_000])
                    except OSError:
                        return

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}/f"

    def __enter__(self) -> Server:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def command(self) -> Command:
        def whole(path: Path) -> None:
            assert hashlib.sha256(path.read_bytes()).hexdigest() == self.sha256

        words = (self.address, "OUT/f.pt", self.sha256)
        return Command("download", words, "f.pt", whole, DOWNLOAD, does_nothing_twice=True)


@dataclasses.dataclass(frozen=True)
class Material:
    """What the long commands read: a tiny model, pictures, a recipe, an exported bundle."""

    root: Path

    @property
    def checkpoint(self) -> Path:
        return self.root / "tiny.pth"

    @property
    def photos(self) -> Path:
        return self.root / "photos"

    @property
    def recipe(self) -> Path:
        return self.root / "tiny.toml"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def exported(self) -> Path:
        return self.root / "exported"

    def write(self) -> Material:
        import numpy as np
        import torch

        from samedge.export import export
        from tests.distill.training import recipe_text, write_photos
        from tests.models.conftest import build_meta_sam

        torch.save(build_meta_sam(128).state_dict(), self.checkpoint)
        self.photos.mkdir()
        rng = np.random.default_rng(0)
        for name in ("one.png", "two.png"):
            blocks = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
            Image.fromarray(blocks).resize((80, 60)).save(self.photos / name)
        self.recipe.write_text(recipe_text())
        write_photos(self.data)
        export(
            self.checkpoint, "cpu", precision="fp32", output=self.exported, calibration=self.photos
        )
        return self


def quick_commands(toy: Path, record: Path) -> list[Command]:
    """Those that need no torch; a second each at most."""
    photo, data = PHOTOS / "rocket.jpg", ("--dataset", str(PHOTOS / "instances.json"))
    bundle = ("--bundle", str(toy))
    segment = ("segment", str(photo), *bundle, "--point", "100,100", "-q")
    evaluate = ("eval", *data, "--images", str(PHOTOS), "--limit", "1", *bundle, "-q")
    convert = ("convert", str(PHOTOS / "instances.json"), "OUT/k.json", "-q")
    report = ("report", str(record), "--html", "OUT/r.html", "--no-photos")
    everything = ("everything", str(photo), *bundle, "--format", "sam", "-o", "OUT/m.json", "-q")
    track = ("track", str(PHOTOS), *bundle, "--box", "90,60,240,300", "-q")
    return [
        Command("segment", (*segment, "-o", "OUT/m.png"), "m.png", picture_is_whole),
        Command("eval", (*evaluate, "-o", "OUT/e.json"), "e.json", json_is_whole),
        Command("convert", convert, "k.json", json_is_whole),
        Command("report", report, "r.html", page_is_whole),
        Command("everything", everything, "m.json", json_is_whole),
        Command("track", (*track, "-o", "OUT/t.json"), "t.json", json_is_whole),
    ]


def long_commands(material: Material, toy: Path) -> list[Command]:
    """Those that need torch, or processes of their own."""
    tiny, photos = str(material.checkpoint), str(material.photos)
    fp32 = ("--target", "cpu", "--precision", "fp32")
    given = ("--checkpoint", tiny, "--calibration", photos, "-q")
    export = ("export", *fp32, *given)
    apple = ("export", "--target", "apple", "--precision", "fp16", "--no-gate", *given)
    intel = ("export", "--target", "intel", "--precision", "fp32", *given)
    pt2 = ("export", "--target", "torch", "--precision", "fp32", *given)
    bench = ("bench", "--bundle", str(toy), "--min-time", "0.01", "--effort", "quick", "-q")
    distill = ("distill", str(material.recipe), "--data", str(material.data), "-o", "OUT/run")
    calibrate = ("calibrate", str(material.exported), "--calibration", photos, "--images", "1")
    compare = ("compare", str(PHOTOS / "rocket.jpg"), "--model", tiny, *fp32, "-o", "OUT/c")
    annotate = ("annotate", str(PHOTOS), "--auto", "--bundle", str(toy), "--workers", "2")
    return [
        Command("export", (*export, "-o", "OUT/b"), "b", bundle_is_whole),
        Command("export .samedge", (*export, "-o", "OUT/b.samedge"), "b.samedge", bundle_is_whole),
        Command("export apple", (*apple, "-o", "OUT/b"), "b", bundle_is_whole),
        Command("export intel", (*intel, "-o", "OUT/b"), "b", bundle_is_whole),
        Command("export torch", (*pt2, "-o", "OUT/b"), "b", bundle_is_whole),
        Command("bench", (*bench, "-o", "OUT/b.json"), "b.json", json_is_whole),
        Command("distill", (*distill, "-q"), "run", run_is_whole, resumes=("--resume",)),
        Command(
            "calibrate",
            (*calibrate, "--gate-seconds", "0", "-o", "OUT/p.json", "-q"),
            "p.json",
            json_is_whole,
        ),
        Command("compare", (*compare, "-q"), "c", tree_is_whole),
        Command("annotate", (*annotate, "-o", "OUT/a", "-q"), "a", tree_is_whole),
    ]
