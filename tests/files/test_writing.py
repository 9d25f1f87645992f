"""Old or new, never half; nothing planted is followed; the leftovers of the dead go."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from samedge.errors import WriteError
from samedge.files import owner, writing
from samedge.files.scratch import scratch_folder
from samedge.files.writing import (
    MARK,
    check_output,
    replacing,
    write_bytes,
    write_text,
)


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.startswith(MARK)]


def writer_that_waits(path: Path, *, before: str = "") -> subprocess.Popen[bytes]:
    """A process that is in the middle of writing ``path``."""
    code = (
        "import os, sys, time\nfrom pathlib import Path\n"
        "from samedge.files.writing import replacing\n"
        f"{before}\n"
        f"with replacing(Path({str(path)!r})) as temporary:\n"
        "    temporary.write_bytes(b'half')\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def stop(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


def test_a_file_is_written_with_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.json"
    assert write_bytes(path, b"new") == path
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~current_umask()
    assert leftovers(path.parent) == []


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_text_is_utf8_and_what_is_not_is_escaped(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "ä\n\udcff\n")
    assert (tmp_path / "a.txt").read_bytes() == b"\xc3\xa4\n\\udcff\n"


def fail_halfway(path: Path, error: type[BaseException]) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(b"half")
        raise error


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    path = write_bytes(tmp_path / "x", b"old")
    with pytest.raises(error):
        fail_halfway(path, error)
    assert path.read_bytes() == b"old"
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("step", ["mkdir", "fsync", "replace", "write_bytes"])
def test_every_step_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, code: int
) -> None:
    path = write_bytes(tmp_path / "x.json", b"old")

    def fail(*arguments: object, **options: object) -> None:
        raise OSError(code, os.strerror(code), str(arguments[0]))

    with monkeypatch.context() as patched:
        patched.setattr(os if step == "fsync" else Path, step, fail)
        with pytest.raises(WriteError, match=r"x\.json cannot be written") as caught:
            write_bytes(path, b"new")
    assert MARK not in str(caught.value)
    assert caught.value.errno == code
    assert path.read_bytes() == b"old"
    assert leftovers(tmp_path) == []


def test_a_full_device_is_said() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(WriteError, match="free some space"):
        write_bytes(Path("/dev/full"), b"x" * 100_000)
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("folder", "name a file in it"),
        ("file/x", "file is a file, expected a folder"),
        ("n" * 300, "shorter"),
    ],
)
def test_a_place_that_cannot_be_written(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match=words):
        write_bytes(tmp_path / name, b"new")
    assert leftovers(tmp_path) == []


def test_a_name_of_255_bytes_fits(tmp_path: Path) -> None:
    assert write_bytes(tmp_path / ("n" * 250 + ".json"), b"new").read_bytes() == b"new"


def test_nul_in_a_name(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="NUL"):
        write_bytes(tmp_path / "a\0b", b"new")


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    target = write_bytes(tmp_path / "target", b"precious")
    (tmp_path / "link").symlink_to(target)
    write_bytes(tmp_path / "link", b"new")
    assert target.read_bytes() == b"precious"
    assert not (tmp_path / "link").is_symlink()


def test_a_pipe_takes_the_bytes(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    write_bytes(pipe, b"through")
    reader.join(600)
    assert got == [b"through"]


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="this system has no /dev/fd")
def test_what_is_open_takes_the_bytes_after_what_was_written(tmp_path: Path) -> None:
    """``-o /dev/stdout`` with standard output in a file: the name in /dev is no file to replace."""
    with (tmp_path / "out").open("wb") as file:
        file.write(b"before,")
        file.flush()
        (tmp_path / "stdout").symlink_to(f"/dev/fd/{file.fileno()}")
        check_output(tmp_path / "stdout")
        write_bytes(tmp_path / "stdout", b"through")
        file.write(b",after")
    assert (tmp_path / "out").read_bytes() == b"before,through,after"
    assert (tmp_path / "stdout").is_symlink()
    with pytest.raises(WriteError, match="Bad file descriptor"):
        write_bytes(Path("/dev/fd/987"), b"x")


def test_a_killed_writer_leaves_the_old_file_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "x", b"old")
    process = writer_that_waits(path)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert path.read_bytes() == b"old"
    assert len(leftovers(tmp_path)) == 1  # the control: there is something to clean up
    write_bytes(tmp_path / "another", b"new")
    assert leftovers(tmp_path) == []


def test_what_a_living_process_writes_stays(tmp_path: Path) -> None:
    process = writer_that_waits(tmp_path / "x")
    try:
        (folder,) = leftovers(tmp_path)
        os.utime(folder, (1, 1))
        write_bytes(tmp_path / "another", b"new")
        assert leftovers(tmp_path) == [folder]
    finally:
        stop(process)


@pytest.fixture
def _no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)


@pytest.mark.usefixtures("_no_locks")
@pytest.mark.skipif(owner.name() == "0-0-0", reason="this system does not name its processes")
def test_without_locks_the_name_says_whether_the_writer_lives(tmp_path: Path) -> None:
    code = "; import fcntl; fcntl.flock = lambda *a: (_ for _ in ()).throw(OSError(37, 'no'))"
    process = writer_that_waits(tmp_path / "x", before="pass" + code)
    (folder,) = leftovers(tmp_path)
    os.utime(folder, (1, 1))
    try:
        write_bytes(tmp_path / "another", b"new")
        assert leftovers(tmp_path) == [folder]  # however old
    finally:
        stop(process)
    write_bytes(tmp_path / "another", b"newer")
    assert leftovers(tmp_path) == []


def test_a_process_elsewhere_is_not_known_to_have_ended() -> None:
    mine = owner.name()
    assert owner.is_gone(f"{mine}-0123") is (None if mine == "0-0-0" else False)
    assert owner.is_gone("elsewhere-1-1-0123") is None
    assert owner.is_gone("0-0-0-0123") is None
    assert owner.is_gone("0123456789abcdef") is None
    if mine != "0-0-0":  # the same number, started at another time
        assert owner.is_gone(f"{mine.rpartition('-')[0]}-1-0123") is True


@pytest.mark.usefixtures("_no_locks")
def test_without_locks_and_owner_age_decides(tmp_path: Path) -> None:
    young, old = tmp_path / f"{MARK}young", tmp_path / f"{MARK}old"
    young.mkdir()
    old.mkdir()
    os.utime(old, (1, 1))
    write_bytes(tmp_path / "x", b"new")
    assert leftovers(tmp_path) == [young]


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    precious = write_bytes(elsewhere / "precious", b"stays")
    place = tmp_path / "place"
    place.mkdir()
    (place / f"{MARK}link").symlink_to(elsewhere)
    write_bytes(place / "x", b"new")
    assert precious.read_bytes() == b"stays"


def test_a_planted_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / f"{MARK}pipe")
    assert write_bytes(tmp_path / "x", b"new").read_bytes() == b"new"


def test_scratch_of_a_killed_process_goes_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = (
        "import os\nfrom samedge.files.scratch import scratch_folder\n"
        "with scratch_folder() as folder:\n"
        "    (folder / 'x').touch()\n    os.kill(os.getpid(), 9)\n"
    )
    variables = {**os.environ, "TMPDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=variables, check=False)
    assert len(leftovers(tmp_path)) == 1
    with scratch_folder() as folder:
        assert leftovers(tmp_path) == [folder]
    assert leftovers(tmp_path) == []


def test_a_new_folder_taken_for_a_leftover_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another writer cleans up between making the folder and locking it."""
    held, calls = writing._held, []

    def lose_the_first(folder: Path) -> int | None:
        calls.append(folder)
        if len(calls) == 1:
            folder.rmdir()
        return held(folder)

    monkeypatch.setattr(writing, "_held", lose_the_first)
    assert write_bytes(tmp_path / "x", b"new").read_bytes() == b"new"
    assert len(calls) == 2


def test_many_writers_of_one_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    problems: list[BaseException] = []

    def work(letter: bytes) -> None:
        try:
            for _ in range(20):
                write_bytes(path, letter * 5000)
        except BaseException as error:  # noqa: BLE001
            problems.append(error)

    threads = [threading.Thread(target=work, args=(bytes([65 + i]),)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    content = path.read_bytes()
    assert problems == []
    assert len(content) == 5000
    assert len(set(content)) == 1
    assert leftovers(tmp_path) == []
