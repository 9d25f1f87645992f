"""What could lose a person's work at the desk: each is kept and said, or refused and said."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from samedge.annotate.desk.changes import applied
from samedge.annotate.desk.claims import SILENCE_S, ClaimedError, Claims
from samedge.annotate.desk.reviews import Review, Reviews
from samedge.annotate.tasks import AutoSettings
from samedge.files import writing
from samedge.predict.predictor import Predictor
from tests.annotate.desk.conftest import NAMES, Page, desk_over, refused, write_photo
from tests.annotate.desk.test_desk import drawn, request, review, reviewed, square
from tests.web.server.conftest import call


def reopened(page: Page) -> dict[str, Any]:
    """The page's photo as the desk has it."""
    assert page.photo is not None
    answer = page.open(page.photo["id"])
    assert answer.status == 200, answer.raw
    photo: dict[str, Any] = answer.document["photo"]
    return photo


def test_a_late_change_to_a_photo_that_somebody_else_has_is_refused_and_kept(
    photos: Path, tmp_path: Path, predictor: Predictor, settings: AutoSettings
) -> None:
    output = tmp_path / "out"
    with (
        desk_over(photos, output, predictor, settings, annotator="ann") as first,
        desk_over(photos, output, predictor, settings, annotator="bob") as second,
    ):
        ann, bob = Page(first), Page(second)
        photo = ann.next()
        assert photo is not None
        ann.save([drawn(1, square(1, 1))])
        ann.ask("/leave")  # its laptop slept too long
        assert bob.open(photo["id"]).status == 200
        claimed = refused(
            ann.save([drawn(1, square(1, 1)), drawn(2, square(9, 9))]), 409, "claimed"
        )
        assert bob.save([drawn(1, square(1, 1), category="bob's")], status="done").status == 200
        bob.ask("/leave")
        later = ann.save([drawn(1, square(1, 1)), drawn(3, square(5, 5))])
        outdated = refused(later, 409, "outdated")
    assert len(reviewed(output)["a.png"].masks) == 1
    for refusal, number in ((claimed, 1), (outdated, 2)):
        (file,) = output.rglob(f"*.refused-{number}")
        assert str(file) in refusal["message"]
        kept = msgspec.json.decode(file.read_bytes(), type=Review)
        assert (kept.name, len(kept.accepted)) == ("a.png", 2)


def test_a_change_behind_a_goodbye_is_kept_and_its_photo_is_free(page: Page, address: str) -> None:
    photo = page.next()
    assert photo is not None
    page.ask("/leave")  # overtook the last change, which a closing page sends all the same
    assert page.save([drawn(1, square(1, 1))]).status == 200
    other = Page(address)
    assert [mask["id"] for mask in (other.next() or {})["masks"]] == [1]


def test_proposals_for_a_page_that_went_on_do_not_take_its_old_photo(
    page: Page, address: str
) -> None:
    first = page.next()
    assert first is not None
    page.next()
    refused(page.ask(f"/photos/{first['id']}/proposals"), 409, "claimed")
    assert (Page(address).next() or {})["id"] == first["id"]


def test_a_full_disk_is_said_and_the_same_change_goes_through_later(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    page.next()
    assert page.save([drawn(1, square(1, 1))]).status == 200

    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    masks = [drawn(1, square(1, 1)), drawn(2, square(9, 9))]
    with monkeypatch.context() as patched:
        patched.setattr(writing, "sync", full)
        failed = page.save(masks)
    assert failed.status == 500
    assert "free some space" in failed.document["message"]
    assert len(reopened(page)["masks"]) == 1
    assert page.save(masks).status == 200
    assert len(reopened(page)["masks"]) == 2


def test_a_review_that_cannot_be_read_now_is_not_taken_for_damaged(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page.next()
    assert page.save([drawn(1, square(1, 1))]).status == 200
    file = Reviews(tmp_path / "out" / "reviews").path("a.png")
    before, read = file.read_bytes(), Path.read_bytes

    def too_many(path: Path) -> bytes:
        if path == file:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return read(path)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", too_many)
        assert page.save([]).status == 500
    assert file.read_bytes() == before
    assert not list(file.parent.glob("*.damaged-*"))


def test_a_review_of_a_newer_samedge_is_left_alone(
    photos: Path, tmp_path: Path, predictor: Predictor, settings: AutoSettings
) -> None:
    output = tmp_path / "out"
    with desk_over(photos, output, predictor, settings) as address:
        page = Page(address)
        page.next()
        page.save([drawn(1, square(1, 1))], status="done")
    file = Reviews(output / "reviews").path("a.png")
    newer = json.dumps({**json.loads(file.read_text()), "schema": "samedge.annotate-review/9"})
    file.write_text(newer)
    with desk_over(photos, output, predictor, settings) as address:
        page = Page(address)
        rows = call(address, "GET", "/api/v1/desk/photos").document["photos"]
        said = refused(page.open(rows[0]["id"]), 422, "dataset")
        assert "upgrade" in said["message"]
        assert (page.next() or {})["name"] == "b.png"
    assert file.read_text() == newer


def test_photos_that_were_removed_or_resized_after_they_were_done_are_said(
    photos: Path, tmp_path: Path, predictor: Predictor, settings: AutoSettings
) -> None:
    output = tmp_path / "out"
    with desk_over(photos, output, predictor, settings) as address:
        page = Page(address)
        while page.next() is not None:
            page.save([drawn(1, square(1, 1))], status="done")
        page.ask("/export")
        assert sorted(reviewed(output)) == sorted(NAMES)
        write_photo(photos / "a.png", seed=1, width=70)
        (name, why) = page.ask("/export").document["left_out"][0]
        assert (name, "70 by 48 pixels now" in why) == ("a.png", True)
        assert "a.png" not in reviewed(output)
    (photos / "b.png").rename(photos / "moved.png")
    with desk_over(photos, output, predictor, settings) as address:
        (note,) = call(address, "GET", "/api/v1/desk").document["notes"]
        assert "1 annotated photos are not in the folder any more (b.png)" in note
    (photos / "moved.png").rename(photos / "b.png")
    with desk_over(photos, output, predictor, settings):
        pass
    assert sorted(reviewed(output)) == ["b.png", "north/a.png"]


def test_two_desks_that_write_the_file_at_once_leave_the_newest(
    photos: Path, tmp_path: Path, predictor: Predictor, settings: AutoSettings
) -> None:
    output = tmp_path / "out"
    with (
        desk_over(photos, output, predictor, settings) as first,
        desk_over(photos, output, predictor, settings) as second,
    ):

        def work(page: Page) -> None:
            page.next()
            page.save([drawn(1, square(1, 1))], status="done")
            assert page.ask("/export").status == 200

        workers = [threading.Thread(target=work, args=(Page(a),)) for a in (first, second)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert len(reviewed(output)) == 2


def test_a_clock_that_jumps_loses_neither_a_photo_nor_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("time.time", lambda: 1e9 - 86_400)  # a day back
    back = applied(review(), request(seconds=4.0), annotator="ann")
    assert back.seconds == 4.0
    assert applied(back, request(seconds=8.0, revision=1), annotator="ann").seconds == 8.0
    now = [time.monotonic()]
    claims = Claims(tmp_path, clock=lambda: now[0])
    claims.take("photo", "mine")
    lock = tmp_path / "photo.lock"
    os.utime(lock, (0, 0))  # as old as can be: a lock holds all the same
    with pytest.raises(ClaimedError, match="in another process"):
        Claims(tmp_path, clock=lambda: now[0] + 2 * SILENCE_S).take("photo", "theirs")
    claims.close()


def test_what_is_known_of_a_review_is_never_older_than_its_file(tmp_path: Path) -> None:
    mine, theirs = Reviews(tmp_path), Reviews(tmp_path)
    mine.write(msgspec.structs.replace(review(), status="open"))
    file = mine.path("a")
    os.utime(file, ns=(0, 0))
    assert (mine.head("a") or review()).status == "open"
    theirs.write(msgspec.structs.replace(review(), status="done"))  # as many bytes
    os.utime(file, ns=(0, 0))
    assert (mine.head("a") or review()).status == "done"


WRITES = """
import sys, time
from pathlib import Path
from samedge.annotate.desk.reviews import Review, Reviews
reviews = Reviews(Path(sys.argv[1]))
for number in range(1, 100_000):
    reviews.write(Review(name="a", file_bytes=1, modified_ns=1, size=(4, 4), bundle_id="b" * 5000,
                         model="m", revision=number))
    print(number, flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="kills")
def test_a_kill_in_the_middle_of_a_save_leaves_this_state_or_the_one_before(tmp_path: Path) -> None:
    reviews = Reviews(tmp_path / "reviews")
    for after in (5, 11, 17, 23, 40):
        command = [sys.executable, "-c", WRITES, str(reviews.folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            said = 0
            while said < after:
                said = int(child.stdout.readline())
            child.send_signal(signal.SIGKILL)
            said = max([said, *(int(line) for line in child.stdout.read().split())])
        found = reviews.read("a")
        assert found is not None
        assert found.revision in (said, said + 1)
        reviews.write(found)
    assert not list(reviews.folder.rglob(f"{writing.MARK}*"))
