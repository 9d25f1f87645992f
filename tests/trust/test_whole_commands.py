"""Whole commands killed at any moment, and failing at any step of the file system.

What was there or what is new is there, never half of it; nothing piles up; the next run succeeds.
In the fast set a few kills and steps of quick commands; ``make faults`` runs 200 kills over all
commands that write, and fails every step of each (``SAMEDGE_KILLS``, ``SAMEDGE_FAULT_STEPS``), of
work begun anew where it could be gone on with some sixty.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("pycocotools")

from samedge import records
from tests.toys.records import eval_record
from tests.trust.conftest import compiled, small_disk
from tests.trust.whole_commands import (
    Command,
    Material,
    Nursery,
    Place,
    Server,
    json_is_whole,
    long_commands,
    quick_commands,
)

KILLS = int(os.environ.get("SAMEDGE_KILLS", "40"))
STEPS = int(os.environ.get("SAMEDGE_FAULT_STEPS", "6"))
STEPS_ANEW = min(STEPS, 60)  # of thousands, half a minute each
LONG = (
    *("export", "export .samedge", "export apple", "export intel", "export torch"),
    *("bench", "distill", "calibrate", "compare", "annotate"),
)
RESUMED = ("distill", "calibrate", "compare")  # a second run goes on from what the first one left
QUICK = ("segment", "eval", "convert", "report", "everything", "track", "download")
MOST_LEFT = 4  # folders that one killed process may leave until the next run

_PLAIN = Command(
    "plain",
    ("OUT/x.json",),
    "x.json",
    json_is_whole,
    python=(
        "import json\nwith open(arguments[0], 'w') as f:\n"
        "    for part in ['[1', ', 2' * 9000, ']']:\n        f.write(part)\n        f.flush()"
    ),
)
"""The control: it writes as programs do, without any care."""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(Path(__file__).with_name("faults.c"), tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="module")
def quick(shim: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    libraries = ("onnxruntime", "pycocotools.mask", "PIL.Image")
    with Nursery(shim, tmp_path_factory.mktemp("quick"), libraries) as nursery:
        yield nursery


@pytest.fixture(scope="module")
def slow(shim: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with Nursery(shim, tmp_path_factory.mktemp("slow")) as nursery:
        yield nursery


@pytest.fixture(scope="module")
def commands(
    toy_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Command]]:
    """Those that need no torch, by name."""
    record = tmp_path_factory.mktemp("record") / "eval.json"
    records.write(eval_record(record.parent), record)
    with Server() as server:
        found = [*quick_commands(toy_bundle, record), server.command(), _PLAIN]
        yield {command.name: command for command in found}


@pytest.fixture(scope="module")
def heavy(toy_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Command]:
    """Those that need torch, by name."""
    pytest.importorskip("torch")
    pytest.importorskip("segment_anything")
    material = Material(tmp_path_factory.mktemp("material")).write()
    return {command.name: command for command in long_commands(material, toy_bundle)}


def is_no_traceback(said: str) -> bool:
    return "Traceback" not in said and said.count("samedge:") == 1


def remove(place: Place, command: Command) -> None:
    path = place.out / command.output
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def runs_well(nursery: Nursery, command: Command, place: Place) -> tuple[float, int]:
    """Run undisturbed; its time and steps. Afterwards nothing may lie about."""
    ended = nursery.run(command, place)
    assert ended.code == 0, ended.said[-2000:]
    assert command.check(place)
    assert place.leftovers() == []
    return ended.seconds, ended.steps


def hunt(nursery: Nursery, command: Command, place: Place, *, kills: int) -> int:
    """Kill a command by turns at a random moment and at a random step; how many were killed."""
    rnd = random.Random(command.name)
    seconds, steps = runs_well(nursery, command, place)
    killed = 0
    for number in range(kills):
        if number % 3 == 0 or command.does_nothing_twice:
            remove(place, command)
        had = command.check(place)
        if number % 2:
            ended = nursery.run(command, place, at=rnd.randint(1, steps))
        else:
            ended = nursery.run(command, place, kill_after_s=rnd.uniform(0.0, seconds))
        assert ended.code in (-9, 0), ended.said[-2000:]
        killed += ended.code == -9
        assert command.check(place) or not had
        assert len(place.leftovers()) <= MOST_LEFT, place.leftovers()
    runs_well(nursery, command, place)
    return killed


def fail_steps(
    nursery: Nursery, command: Command, place: Place, *, most: int, anew: bool = False
) -> int:
    """Fail steps of a command: all of them, or so many evenly; how often it could not go on.

    ``anew``: each time with nothing there; else those of a run after one that ended well.
    """
    _, steps = runs_well(nursery, command, place)
    if not anew and not command.does_nothing_twice:
        _, steps = runs_well(nursery, command, place)
    count = min(steps, most)
    refused = 0
    for code in (errno.ENOSPC, errno.EIO):
        for at in sorted({1 + round(k * (steps - 1) / max(count - 1, 1)) for k in range(count)}):
            if anew:
                shutil.rmtree(place.root)
                place = Place(place.root)
            elif command.does_nothing_twice:
                remove(place, command)
            had, is_full = command.check(place), code == errno.ENOSPC
            ended = nursery.run(command, place, at=at, code=code, stays=is_full)
            assert ended.code == 0 or is_no_traceback(ended.said), (at, code, ended.said[-2000:])
            refused += ended.code != 0
            assert command.check(place) or not had, f"the old result is lost at step {at}"
    runs_well(nursery, command, place)
    return refused


@pytest.mark.parametrize("name", ["convert", "download"])
def test_a_few_kills(
    quick: Nursery, commands: dict[str, Command], tmp_path: Path, name: str
) -> None:
    assert hunt(quick, commands[name], Place(tmp_path), kills=4) > 0


@pytest.mark.parametrize("name", ["convert", "download"])
def test_a_few_failing_steps(
    quick: Nursery, commands: dict[str, Command], tmp_path: Path, name: str
) -> None:
    assert fail_steps(quick, commands[name], Place(tmp_path), most=2) > 0


def test_the_control_is_torn_by_kills_and_by_failing_steps(
    quick: Nursery, commands: dict[str, Command], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"JSON|Expecting|delimiter"):
        hunt(quick, commands["plain"], Place(tmp_path / "kills"), kills=12)
    with pytest.raises((ValueError, AssertionError)):
        fail_steps(quick, commands["plain"], Place(tmp_path / "steps"), most=12)


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_kills_of_quick_commands(
    quick: Nursery, commands: dict[str, Command], tmp_path: Path, name: str
) -> None:
    kills = KILLS // (len(QUICK) + len(LONG))
    print(f"{name}: {hunt(quick, commands[name], Place(tmp_path), kills=kills)} kills")


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG)
def test_kills_of_long_commands(
    slow: Nursery, heavy: dict[str, Command], tmp_path: Path, name: str
) -> None:
    kills = -(-KILLS // (len(QUICK) + len(LONG)))
    print(f"{name}: {hunt(slow, heavy[name], Place(tmp_path), kills=kills)} kills")


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_failing_steps_of_quick_commands(
    quick: Nursery, commands: dict[str, Command], tmp_path: Path, name: str
) -> None:
    print(f"{name}: refused {fail_steps(quick, commands[name], Place(tmp_path), most=1000)} times")


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG)
def test_failing_steps_of_long_commands(
    slow: Nursery, heavy: dict[str, Command], tmp_path: Path, name: str
) -> None:
    print(f"{name}: refused {fail_steps(slow, heavy[name], Place(tmp_path), most=STEPS)} times")


@pytest.mark.slow
@pytest.mark.parametrize("name", RESUMED)
def test_failing_steps_of_work_begun_anew(
    slow: Nursery, heavy: dict[str, Command], tmp_path: Path, name: str
) -> None:
    refused = fail_steps(slow, heavy[name], Place(tmp_path), most=STEPS_ANEW, anew=True)
    print(f"{name}: refused {refused} times")


# ---- real disks


def fill(path: Path) -> None:
    """Take all space that is left."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(bytes(512)):
            pass


def test_a_full_disk_keeps_the_old_result(
    quick: Nursery, commands: dict[str, Command], tmp_path: Path
) -> None:
    command, place = commands["convert"], Place(tmp_path)
    with small_disk(place.out, size="256k"):
        (place.out / command.output).write_text('["old"]')
        fill(place.out / "fill")
        ended = quick.run(command, place)
        assert ended.code == 1
        assert is_no_traceback(ended.said)
        assert "free some space" in ended.said
        assert (place.out / command.output).read_text() == '["old"]'
        (place.out / "fill").unlink()
        runs_well(quick, command, place)


@pytest.mark.parametrize("kind", ["training state", "checkpoint"])
def test_libraries_that_write_by_themselves(tmp_path: Path, kind: str) -> None:
    """torch ends the process where an archive finds no space; safetensors has its own errors."""
    torch = pytest.importorskip("torch")
    from samedge.distill.checkpointing import save_state
    from samedge.errors import WriteError
    from samedge.models.checkpoints import load_checkpoint, save_checkpoint
    from tests.models.conftest import build_meta_sam

    torch.save(build_meta_sam(128).state_dict(), tmp_path / "tiny.pth")
    model = load_checkpoint(tmp_path / "tiny.pth")
    spec = model.spec
    assert spec is not None
    path = tmp_path / "disk" / "x"

    def write() -> None:
        if kind == "checkpoint":
            save_checkpoint(model, path, spec=spec)
        else:
            save_state(path, dict(model.state_dict()))

    with small_disk(path.parent, size="256k"):
        path.write_text("old")
        with pytest.raises(WriteError, match=r"x cannot be written \(No space left on device\)"):
            write()
        assert path.read_text() == "old"
        assert [file.name for file in path.parent.iterdir()] == ["x"]


def test_a_disk_that_is_read_only(
    quick: Nursery, commands: dict[str, Command], tmp_path: Path
) -> None:
    place = Place(tmp_path)
    with small_disk(place.out, options=",ro"):
        ended = quick.run(commands["convert"], place)
    assert ended.code == 1
    assert is_no_traceback(ended.said)
    assert "name a place that you may write to" in ended.said


@pytest.mark.parametrize("form", ["b", "b.samedge"])
def test_a_bundle_on_another_file_system(toy_bundle: Path, tmp_path: Path, form: str) -> None:
    from samedge.bundle.bundle import Bundle
    from tests.toys.bundle import write_bundle

    with small_disk(tmp_path / "disk", size="8m"):
        for _ in range(2):  # the second replaces the first
            write_bundle(tmp_path / "disk" / form)
            Bundle.open(tmp_path / "disk" / form)
        assert [path.name for path in (tmp_path / "disk").iterdir()] == [form]
