"""Where results go is looked at before the work, and nothing is written over what is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from samedge.cli import cli
from samedge.errors import WriteError
from samedge.files.writing import (
    check_no_source,
    check_output,
)
from samedge.pixels.image_files import PHOTOS


def test_an_output_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"kept")
    with pytest.raises(WriteError, match=r"x\.json cannot be written"):
        check_output(tmp_path / "file" / "x.json")
    with pytest.raises(WriteError, match="would be lost"):
        check_output(tmp_path / "file", (tmp_path / "file",))
    for path in (tmp_path / "new" / "x.json", tmp_path / "file", Path("/dev/null"), None):
        check_output(path)
    assert (tmp_path / "file").read_bytes() == b"kept"
    assert not (tmp_path / "new").exists()  # until something is written
    for place in ("a" * 300, "b" * 300 + "/x.json", "new/" + "c" * 300 + "/x.json"):
        with pytest.raises(WriteError, match="cannot be written"):
            check_output(tmp_path / place)


@pytest.mark.parametrize(
    "command",
    [
        ("eval", "--dataset", "gone.json", "--images", "gone", "-o"),
        ("eval", "--video", "gone", "-o"),
        ("bench", "--bundle", "gone", "-o"),
        ("bench", "--stream", "gone.mp4", "-o"),
        ("calibrate", "gone", "--calibration", "gone", "-o"),
        ("export", "--target", "cpu", "--model", "gone", "--record"),
        ("segment", "gone.jpg", "--point", "1,1", "-o"),
        ("everything", "gone.jpg", "-o"),
        ("track", ".", "--point", "1,1", "-o"),
        ("camera", ".", "--point", "1,1", "-o"),
        ("convert", str(PHOTOS / "instances.json")),
        ("compare", "gone", "-o"),
        ("annotate", "gone", "--auto", "-o"),
        ("distill", "nano", "--data", "gone", "-o"),
    ],
)
@pytest.mark.parametrize(
    ("place", "remedy"),
    [
        ("file/x.json", "file is a file, expected a folder"),
        ("loop/x.json", "loop is a link that leads nowhere"),
        ("y" * 300 + ".json", "give it a shorter name"),
    ],
)
def test_commands_look_at_their_output_first(
    tmp_path: Path, command: tuple[str, ...], place: str, remedy: str
) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "loop").symlink_to("loop")
    result = CliRunner().invoke(cli, [*command, str(tmp_path / place)])
    assert isinstance(result.exception, SystemExit), result.output
    said = " ".join(result.stderr.split())
    assert f"{place} cannot be written" in said
    assert remedy in said


def test_a_folder_to_write_into_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"kept")
    (tmp_path / "loop").symlink_to("loop")
    for place in ("file", "loop", "file/new", "z" * 300):
        with pytest.raises(WriteError, match="cannot be written") as error:
            check_output(tmp_path / place, is_folder=True)
        assert str(error.value).startswith(f"{tmp_path / place} ")
    check_output(tmp_path / "new" / "folder", is_folder=True)
    check_output(tmp_path, is_folder=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "loop"]


@pytest.mark.parametrize("command", [("inspect",), ("segment", "--point", "1,1"), ("web",)])
def test_names_that_the_system_refuses_are_told_with_a_remedy(command: tuple[str, ...]) -> None:
    result = CliRunner().invoke(cli, [*command, "n" * 300])
    assert result.exit_code == 1
    assert "could not be read or written. Give it a shorter name." in " ".join(
        result.stderr.split()
    )


@pytest.mark.parametrize(
    "command",
    [
        ("bench", "--bundle", "{it}", "-o"),
        ("eval", "--bundle", "{it}", "--dataset", "gone.json", "--images", "gone", "-o"),
        ("calibrate", "{it}", "--calibration", "gone", "-o"),
        ("calibrate", "{it}", "--calibration", "gone", "--plot"),
        ("doctor", "--bundle", "{it}", "--bundle-report"),
        ("sign", "gone", "--key", "{it}", "-o"),
        ("report", "{it}", "--csv"),
    ],
)
def test_no_command_writes_over_what_it_is_given(tmp_path: Path, command: tuple[str, ...]) -> None:
    """A bundle that is one file was replaced by the record of its own latency."""
    it = tmp_path / "nano.samedge"
    it.write_bytes(b"a bundle")
    words = [word.format(it=it) for word in command]
    result = CliRunner().invoke(cli, [*words, f"{tmp_path}/./nano.samedge"])
    assert "is read, and would be lost" in " ".join(result.stderr.split()), result.output
    assert result.exit_code == 1
    assert it.read_bytes() == b"a bundle"


def test_what_is_read_is_not_written_to(tmp_path: Path) -> None:
    photo, link, other = tmp_path / "a.jpg", tmp_path / "link.jpg", tmp_path / "b.jpg"
    photo.write_bytes(b"a photo")
    link.symlink_to(photo)
    other.write_bytes(b"another")
    for path in (photo, link, tmp_path / "." / "a.jpg"):
        with pytest.raises(WriteError, match=r"a\.jpg is read, and would be lost"):
            check_no_source(path, (other, photo))
    with pytest.raises(WriteError, match="would be lost"):
        check_no_source(tmp_path, (tmp_path,))
    check_no_source(photo, (other, tmp_path / "gone.jpg", tmp_path))
    check_no_source(tmp_path / "new.jpg", (photo,))
    check_no_source(Path("/dev/null"), (Path("/dev/null"),))
