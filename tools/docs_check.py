"""Runs what README and docs tell people to type, in a folder with the files that they talk about.

    python tools/docs_check.py                       # every page: Python, then command lines
    python tools/docs_check.py docs/quickstart.md    # one page

`make docs-check` runs it; it takes minutes. A block that cannot be run anywhere, because it needs a
camera or another board, is marked in its page by a comment before it, which readers do not see:

    <!-- not run: needs a camera -->

Tests run the Python blocks (tests/test_examples.py), and hold that commands and options exist
(tests/test_documentation.py).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md")))
PHOTOS = REPOSITORY / "samedge" / "data" / "photos"

_MARK = re.compile(r"<!-- not run: (.+?) -->\s*\Z")
_FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?:^(?: {4}[^\n]*)?\n)+", re.MULTILINE)
_COMMAND = re.compile(r"^samedge [a-z]")
_LIMIT_S = 1800
_SERVERS = ("serve", "web")  # run until they are stopped
_PAGELESS = ("--auto", "--rank")  # annotate without a page


@dataclasses.dataclass(frozen=True)
class Example:
    """One block of a page.

    Attributes:
        page: its file.
        line: where it begins.
        language: ``python``, or anything else for command lines.
        text: what stands in it.
        not_run: why it is not run; empty for one that is.
    """

    page: Path
    line: int
    language: str
    text: str
    not_run: str

    @property
    def place(self) -> str:
        """Page and line, for people."""
        return f"{self.page.name}:{self.line}"

    def commands(self) -> list[list[str]]:
        """The lines that call samedge, continued ones joined, those joined by && apart."""
        joined = re.sub(r"\\\n\s*", " ", self.text).replace(" && ", "\n")
        lines = (line.strip().removeprefix("$ ") for line in joined.splitlines())
        return [shlex.split(line, comments=True) for line in lines if _COMMAND.match(line)]


def examples(page: Path) -> Iterator[Example]:
    """The blocks of a page in its order, fenced or indented."""
    text = page.read_text(encoding="utf-8")
    found = [(m.start(), m.group(2), m.group(3)) for m in _FENCE.finditer(text)]
    bare = _FENCE.sub(lambda m: re.sub(r"[^\n]", "x", m.group()), text)
    found += [(m.start(), "", m.group()) for m in _INDENTED.finditer(bare) if m.group().strip()]
    for start, language, block in sorted(found):
        mark = _MARK.search(text[:start])
        line = text.count("\n", 0, start) + 1
        yield Example(page, line, language, block, mark.group(1) if mark else "")


def furnish(folder: Path) -> None:
    """Put into a folder what the pages talk about: photos, a recording, annotations, a bundle."""
    shutil.copyfile(PHOTOS / "astronaut.jpg", folder / "photo.jpg")
    for name in ("photos", "my-photos"):
        shutil.copytree(PHOTOS, folder / name)
    shutil.copyfile(PHOTOS / "instances.json", folder / "instances.json")
    (folder / "out").mkdir()
    shutil.copytree(REPOSITORY / "samedge" / "data" / "nano-cpu", folder / "out" / "intel")
    (folder / "words.txt").write_text("cup, mug\ncat\n", encoding="utf-8")
    for name, kind in (("annotations.xml", "cvat"), ("yolo", "yolo")):
        run_command(["samedge", "convert", "instances.json", name, "--to", kind], folder)
    _record(folder / "drive.mp4", folder / "photo.jpg")


def _record(path: Path, photo: Path) -> None:
    """A short recording in which the photo moves."""
    import cv2

    frame = cv2.imread(os.fspath(photo))
    assert frame is not None
    codec = cv2.VideoWriter.fourcc(*"mp4v")
    video = cv2.VideoWriter(os.fspath(path), codec, 10.0, frame.shape[1::-1])
    for shift in range(4):
        video.write(cv2.warpAffine(frame, _moved(shift), frame.shape[1::-1]))
    video.release()


def _checkpoints(*paths: Path) -> None:
    """SAM's architecture, small, with random weights, under each name that a page gives one."""
    import torch

    sys.path.insert(0, os.fspath(REPOSITORY))
    from tests.models.conftest import build_meta_sam

    state = build_meta_sam(128).state_dict()
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        torch.save(state, path)


def _moved(shift: int) -> object:
    import numpy as np

    return np.array([[1, 0, 3.0 * shift], [0, 1, 0]], np.float32)


def run_python(blocks: Sequence[Example], folder: Path) -> None:
    """Run Python blocks of one page one after the other, in one namespace, inside a folder.

    Raises:
        Exception: what the first one that fails raises.
    """
    before = Path.cwd()
    os.chdir(folder)
    names: dict[str, object] = {"__name__": "example"}
    try:
        for block in blocks:
            code = compile("\n" * block.line + block.text, os.fspath(block.page), "exec")
            exec(code, names)  # noqa: S102 - our own documentation
    finally:
        os.chdir(before)


def run_command(words: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run one command line of a page with this checkout's samedge; a server until it answers."""
    path = os.pathsep.join(filter(None, (os.fspath(REPOSITORY), os.environ.get("PYTHONPATH"))))
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    said = ""
    if _is_server(words):
        while "http://" not in said and (line := process.stdout.readline()):
            said += line
        answered = "http://" in said
        process.terminate()
        process.wait(_LIMIT_S)
        return subprocess.CompletedProcess(words, 0 if answered else process.returncode, said)
    try:
        said += process.communicate(timeout=_LIMIT_S)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        said += process.communicate()[0] + f"\nstopped after {_LIMIT_S} s"
    return subprocess.CompletedProcess(words, process.returncode, said)


def _is_server(words: Sequence[str]) -> bool:
    opens_a_page = words[1] == "annotate" and not set(words) & set(_PAGELESS)
    return words[1] in _SERVERS or opens_a_page


def checked(page: Path) -> tuple[int, list[str]]:
    """Run one page; how many blocks ran, and what failed."""
    failures: list[str] = []
    count = 0
    with tempfile.TemporaryDirectory(prefix="samedge-docs-") as name:
        folder = Path(name)
        furnish(folder)
        _checkpoints(folder / "runs" / "tuned.pth", folder / "sam_vit_b.pth")
        found = list(examples(page))
        python = [one for one in found if one.language == "python" and not one.not_run]
        if python:
            count += len(python)
            try:
                run_python(python, folder)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
                failures.append(f"{page.name}: {type(error).__name__}: {error}")
        for one in found:
            if one.language == "python" or one.not_run:
                continue
            for words in one.commands():
                count += 1
                done = run_command(words, folder)
                if done.returncode:
                    last = done.stdout.strip().splitlines()[-1:] or ["no message"]
                    failures.append(f"{one.place}: {shlex.join(words)}: {last[0]}")
    return count, failures


def main() -> int:
    """Check the pages that are named, or all; 1 when something failed."""
    raw = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("pages", nargs="*", type=Path, default=PAGES)
    failed = []
    for page in parser.parse_args().pages:
        start = time.monotonic()
        count, failures = checked(page)
        failed += failures
        print(f"{page.name}: {count} run, {len(failures)} failed, {time.monotonic() - start:.0f} s")
        print("".join(f"  {line}\n" for line in failures), end="", flush=True)
    left_out = [one for page in PAGES for one in examples(page) if one.not_run]
    print(json.dumps({one.place: one.not_run for one in left_out}, indent=1))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
