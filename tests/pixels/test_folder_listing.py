"""What a folder of photos holds beside photos is told: counted, named, and why."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from samedge.errors import DatasetError
from samedge.pixels.folder_listing import NAMED, image_files, pictures_listed
from samedge.pixels.image_files import PHOTOS


def filled(folder: Path) -> Path:
    for name in (
        *("a.jpg", "deep/b.PNG", "deep/er/c.webp", "scan.JP2"),
        *("clip.mp4", "deep/wave.GIF", "raw.CR2", "notes.txt", "deep/labels.json"),
        *(".cache/d.png", "._a.jpg", ".DS_Store", "two\nlines.txt"),
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (folder / "gone.jpg").symlink_to(folder / "nowhere.jpg")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "linked").symlink_to(folder / "deep", target_is_directory=True)
    os.mkfifo(folder / "pipe.jpg")
    return folder


def test_every_file_is_a_picture_or_is_told_of(tmp_path: Path) -> None:
    listing = pictures_listed(filled(tmp_path))
    pictures = [path.relative_to(tmp_path).as_posix() for path in listing.pictures]
    assert pictures == ["a.jpg", "deep/b.PNG", "deep/er/c.webp", "scan.JP2"]
    told = {entry.why.split(",")[0].split(" (")[0]: entry.names for entry in listing.skipped}
    assert told == {
        "videos and animations": ("clip.mp4", "deep/wave.GIF"),
        "pictures of another kind": ("raw.CR2",),
        "no pictures by the endings of their names": (
            *("deep/labels.json", "notes.txt", "two\nlines.txt"),
        ),
        "hidden": ("._a.jpg", ".cache"),
        "links to nothing": ("gone.jpg", "loop.png", "pipe.jpg"),
        "links to folders": ("linked",),
    }
    assert [path.name for path in image_files(tmp_path)] == [p.name for p in listing.pictures]


def test_a_folder_that_is_not_searched_below_says_so(tmp_path: Path) -> None:
    listing = pictures_listed(filled(tmp_path), below=False)
    assert [path.name for path in listing.pictures] == ["a.jpg", "scan.JP2"]
    told = {entry.why.split(",")[0]: entry.names for entry in listing.skipped}
    assert told["folders in it"] == (".cache", "deep")


def test_many_are_counted_and_the_first_are_named(tmp_path: Path) -> None:
    for number in range(NAMED + 5):
        (tmp_path / f"{number:03}.txt").touch()
    (entry,) = pictures_listed(tmp_path).skipped
    assert (entry.count, len(entry.names)) == (NAMED + 5, NAMED)
    assert str(entry).startswith("25 (000.txt, 001.txt, 002.txt, ...): no pictures")
    with pytest.raises(DatasetError, match=r"holds no pictures: .* It holds 25 \(000\.txt, "):
        image_files(tmp_path)


def test_it_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    filled(tmp_path)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            pictures_listed(tmp_path).tell()
    assert len(caplog.messages) == len(pictures_listed(tmp_path).skipped) == 6


def test_what_is_passed_over_is_not_looked_into(tmp_path: Path) -> None:
    filled(tmp_path)
    listing = pictures_listed(tmp_path, passed_over=lambda path: path == tmp_path / "deep")
    assert [path.name for path in listing.pictures] == ["a.jpg", "scan.JP2"]
    assert not any("deep" in name for entry in listing.skipped for name in entry.names)


def test_a_folder_without_the_right_to_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "locked").mkdir()
    real = os.scandir

    def scandir(path: Path) -> object:  # root may read everything
        if path.name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    listing = pictures_listed(tmp_path)
    assert [path.name for path in listing.pictures] == ["a.jpg"]
    assert str(*listing.skipped).startswith("1 (locked): folders that cannot be read")


def test_what_lies_beside_our_own_photos_is_not_told() -> None:
    """Exports check on them unasked: nobody who exports knows that folder."""
    listing = pictures_listed(PHOTOS)
    assert listing.pictures
    assert listing.skipped == ()


def test_folders_of_training_data_are_told_of_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.png").touch()
    (tmp_path / "clip.mp4").touch()
    assert image_files(tmp_path) == (tmp_path / "a.png",)
    assert "left out 1 (clip.mp4): videos" in caplog.text


def test_hidden_folders_without_pictures_are_nobodys_loss(tmp_path: Path) -> None:
    for name in (".git/config", ".thumbs/a.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    assert [entry.names for entry in pictures_listed(tmp_path).skipped] == [(".thumbs",)]
