"""The desk behind its server: what is decided is on disk, and only one works on a photo."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge import formats
from samedge.annotate import layout
from samedge.annotate.desk.changes import applied
from samedge.annotate.desk.claims import ClaimedError, Claims
from samedge.annotate.desk.messages import SaveRequest
from samedge.annotate.desk.reviews import Review, Reviews
from samedge.annotate.rounds import Accuracy, Round, keep_round, put_accuracy, read_rounds
from samedge.annotate.run import annotate_automatically
from samedge.annotate.tasks import AutoSettings
from samedge.errors import OptionError, WriteError
from samedge.pixels.rle import mask_from_rle, rle_from_mask
from samedge.predict.predictor import Predictor
from tests.annotate.desk.conftest import NAMES, Page, desk_over, refused, write_photo
from tests.web.server.conftest import call


def square(x: int, y: int, side: int = 10) -> dict[str, Any]:
    mask = np.zeros((48, 64), bool)
    mask[y : y + side, x : x + side] = True
    return dict(rle_from_mask(mask))


def drawn(number: int, rle: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": number, "decision": "accepted", "origin": "drawn", "rle": rle, **more}


def reviewed(output: Path) -> dict[str, Any]:
    images = formats.get("coco").read(output / "reviewed.json", left_out=Counter())
    return {image.name: image for image in images}


def test_a_page_takes_photos_decides_and_finishes(page: Page, tmp_path: Path) -> None:
    photo = page.next()
    assert photo is not None
    assert (photo["name"], photo["status"], photo["has_proposals"]) == ("a.png", "open", False)
    proposals = page.propose()
    assert len(proposals) > 1
    assert {mask["decision"] for mask in proposals} == {"proposed"}
    decided = page.decided(m1="accepted", m2="rejected")
    decided[0]["category"] = "cup"
    new = drawn(900, square(5, 7), category="plate", predicted_iou=0.5)
    answer = page.save([*decided, new], status="done", seconds=3.0)
    assert answer.status == 200, answer.raw
    assert answer.document["figures"] | {"seconds_per_mask": 0} == {
        "photos": 3,
        "done": 1,
        "skipped": 0,
        "unreadable": 0,
        "masks": 2,
        "seconds_per_mask": 0,
        "ranked": 0,
        "order": "name",
    }
    assert page.ask("/export").document["masks"] == 2
    found = reviewed(tmp_path / "out")["a.png"]
    assert [mask.category_name for mask in found.masks] == ["cup", "plate"]
    assert found.masks[0].rle == proposals[0]["rle"]  # as the model made it, to the pixel
    assert np.array_equal(found.masks[1].mask, mask_from_rle(square(5, 7)))
    second = page.next()
    assert second is not None
    assert second["name"] == "b.png"
    left = {entry.name for entry in Path(tmp_path, "out").iterdir() if entry.name[0] != "."}
    assert left - layout.KEPT == {"reviewed.json"}  # so that none is taken for a file left out


def test_proposals_of_auto_are_taken_over_and_its_file_stays(
    photos: Path, tmp_path: Path, predictor: Predictor, settings: AutoSettings
) -> None:
    output = tmp_path / "out"
    made = annotate_automatically(photos, output, settings=settings)
    before = (output / "annotations.json").read_bytes()
    with desk_over(photos, output, predictor, settings) as address:
        page = Page(address)
        photo = page.next()
        assert photo is not None
        assert photo["has_proposals"]
        assert 0 < len(photo["masks"]) < made.merged.masks
        page.save(page.decided(m1="accepted"), status="done")
    assert (output / "annotations.json").read_bytes() == before
    assert len(reviewed(output)["a.png"].masks) == 1
    stages = [one.stage for one in read_rounds(output)]
    assert stages == ["auto", "assisted"]


def test_two_desks_over_one_folder_never_give_a_photo_twice(
    photos: Path, tmp_path: Path, predictor: Predictor, settings: AutoSettings
) -> None:
    output = tmp_path / "out"
    for seed in range(8):
        write_photo(photos / f"more/{seed}.png", seed=50 + seed)
    taken: list[str] = []
    with (
        desk_over(photos, output, predictor, settings, annotator="ann") as first,
        desk_over(photos, output, predictor, settings, annotator="bob") as second,
    ):

        def work(address: str) -> None:
            page = Page(address)
            while (photo := page.next()) is not None:
                taken.append(photo["name"])
                assert page.save([drawn(1, square(1, 1))], status="done").status == 200

        workers = [threading.Thread(target=work, args=(a,)) for a in (first, second) * 2]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        mine, theirs = Page(first), Page(second)
        again = call(first, "GET", "/api/v1/desk/photos").document["photos"][0]["id"]
        assert mine.open(again).status == 200
        refused(theirs.open(again), 409, "claimed")
        mine.ask("/leave")
        assert theirs.open(again).status == 200
    assert sorted(taken) == sorted([*NAMES, *(f"more/{seed}.png" for seed in range(8))])
    assert len(reviewed(output)) == 11


def test_two_pages_of_one_server_do_not_share_a_photo(page: Page, address: str) -> None:
    other = Page(address)
    first, second = page.next(), other.next()
    assert first is not None
    assert second is not None
    assert first["id"] != second["id"]
    refused(other.open(first["id"]), 409, "claimed")
    other.photo = dict(first)
    refused(other.save([]), 409, "claimed")


def test_a_change_that_comes_twice_counts_once_and_an_old_one_is_refused(page: Page) -> None:
    page.next()
    masks = [drawn(1, square(2, 2))]
    assert page.save(masks, save_id="11111111").document["revision"] == 1
    assert page.photo is not None
    page.photo["revision"] = 0  # the answer was lost
    again = page.save(masks, save_id="11111111")
    assert again.document["revision"] == 1
    page.photo["revision"] = 0
    further = page.save([*masks, drawn(2, square(9, 9))], unanswered=["11111111"])
    assert further.document["revision"] == 2
    page.photo["revision"] = 0
    refused(page.save([]), 409, "outdated")


def test_a_mask_of_another_size_or_without_runs_is_refused(page: Page) -> None:
    page.next()
    small = dict(rle_from_mask(np.ones((4, 4), bool)))
    refused(page.save([drawn(1, small)]), 422, "prompt")
    refused(page.save([{"id": 7, "decision": "accepted", "origin": "drawn"}]), 422, "prompt")
    damaged = {"size": [48, 64], "counts": "damaged"}
    refused(page.save([drawn(1, damaged)]), 422, "dataset")
    refused(page.save([drawn(1, square(1, 1)), drawn(1, square(2, 2))]), 422, "prompt")
    assert page.photo is not None
    kept = page.open(page.photo["id"]).document["photo"]
    assert (kept["masks"], kept["revision"]) == ([], 0)  # none of them left a trace


def test_a_photo_that_was_removed_or_is_broken_is_passed_over(
    photos: Path, tmp_path: Path, predictor: Predictor, settings: AutoSettings
) -> None:
    (photos / "aa.jpg").write_bytes(b"\xff\xd8 no more")
    with desk_over(photos, tmp_path / "out", predictor, settings) as address:
        rows = call(address, "GET", "/api/v1/desk/photos").document["photos"]
        (photos / "a.png").unlink()
        page = Page(address)
        photo = page.next()
        assert photo is not None
        assert photo["name"] == "b.png"
        by_name = {row["name"]: row["id"] for row in rows}
        gone = refused(page.open(by_name["a.png"]), 404, "not_found")
        assert "not in the folder any more" in gone["message"]
        refused(page.open(by_name["aa.jpg"]), 422, "image")
        states = {
            row["name"]: row["state"]
            for row in call(address, "GET", "/api/v1/desk/photos").document["photos"]
        }
        assert states["aa.jpg"] == "unreadable"
        path = f"/api/v1/desk/photos/{by_name['a.png']}/picture"
        refused(call(address, "GET", path), 404, "not_found")
        assert page.save([drawn(1, square(1, 1))], status="done").status == 200  # b.png stays mine


def test_a_damaged_review_is_set_aside_and_said(
    photos: Path, tmp_path: Path, predictor: Predictor, settings: AutoSettings
) -> None:
    output = tmp_path / "out"
    with desk_over(photos, output, predictor, settings) as address:
        page = Page(address)
        page.next()
        page.save([drawn(1, square(1, 1))], status="done")
    file = Reviews(output / "reviews").path("a.png")
    file.write_bytes(b"{half")
    with desk_over(photos, output, predictor, settings) as address:
        page = Page(address)
        photo = page.next()
        assert photo is not None
        assert photo["name"] == "a.png"
        assert "set aside" in photo["notes"][0]
    assert [path.read_bytes() for path in file.parent.glob("*.damaged-*")] == [b"{half"]


def test_a_photo_of_another_size_keeps_its_old_review_aside(
    photos: Path, tmp_path: Path, predictor: Predictor, settings: AutoSettings
) -> None:
    output = tmp_path / "out"
    with desk_over(photos, output, predictor, settings) as address:
        page = Page(address)
        page.next()
        page.save([drawn(1, square(1, 1))])
    write_photo(photos / "a.png", seed=9)
    with desk_over(photos, output, predictor, settings) as address:
        photo = Page(address).next()
        assert photo is not None
        assert ("changed" in photo["notes"][0], len(photo["masks"])) == (True, 1)
    write_photo(photos / "a.png", seed=9, width=80)
    with desk_over(photos, output, predictor, settings) as address:
        photo = Page(address).next()
        assert photo is not None
        assert (photo["width"], photo["masks"]) == (80, [])
    assert list((output / "reviews").rglob("*.other-size-1"))


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="kills")
def test_a_server_that_is_killed_has_kept_everything_and_its_locks_go(
    photos: Path, tmp_path: Path, predictor: Predictor, settings: AutoSettings, toy_bundle: Path
) -> None:
    output = tmp_path / "out"
    command = [
        *(sys.executable, "-m", "samedge", "annotate", str(photos), "-o", str(output), "--json"),
        *("--bundle", str(toy_bundle), "--points-per-side", "3", "--predicted-iou", "0"),
        *("--stability", "0", "--port", "0", "--order", "name", "--annotator", "kay"),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdout is not None
        text = b""
        while b"\n}" not in text:
            text += server.stdout.readline()
        page = Page(json.loads(text)["address"])
        page.next()
        page.propose()
        saved = page.save(page.decided(m1="accepted", m2="rejected"), seconds=2.0)
        assert saved.status == 200, saved.raw
        server.send_signal(signal.SIGKILL)
    with desk_over(photos, output, predictor, settings) as address:
        photo = Page(address).next()  # nobody holds it any more
    assert photo is not None
    decisions = [mask["decision"] for mask in photo["masks"]]
    assert (photo["name"], decisions[:2]) == ("a.png", ["accepted", "rejected"])
    assert not list(output.rglob(".samedge-tmp-*"))


def test_a_folder_that_cannot_be_written_is_named(
    photos: Path, tmp_path: Path, predictor: Predictor, settings: AutoSettings
) -> None:
    (tmp_path / "file").write_bytes(b"")
    with (
        pytest.raises(WriteError, match="name another folder"),
        desk_over(photos, tmp_path / "file" / "out", predictor, settings),
    ):
        pass


def test_what_cannot_be_written_is_told_and_saved_when_it_can_be(
    page: Page, tmp_path: Path
) -> None:
    page.next()
    reviews = tmp_path / "out" / "reviews"
    moved = reviews.rename(tmp_path / "elsewhere")
    reviews.write_bytes(b"a file in the place of the folder")
    failed = page.save([drawn(1, square(1, 1))])
    assert failed.status in (404, 500), failed.raw
    reviews.unlink()
    moved.rename(reviews)
    assert page.save([drawn(1, square(1, 1))]).status == 200


def test_another_folder_of_photos_is_refused(
    photos: Path, tmp_path: Path, predictor: Predictor, settings: AutoSettings
) -> None:
    with desk_over(photos, tmp_path / "out", predictor, settings):
        pass
    with (
        pytest.raises(OptionError, match="holds reviews of the photos"),
        desk_over(photos / "north", tmp_path / "out", predictor, settings),
    ):
        pass


def test_categories_are_shared(page: Page, address: str) -> None:
    assert page.ask("/categories", add=["cup", " big  plate ", "cup"]).status == 200
    assert Page(address).ask("/beat").document["categories"] == ["cup", "big plate"]


def test_the_page_its_pictures_and_no_other_file(page: Page, address: str, photos: Path) -> None:
    index = call(address, "GET", "/")
    assert b"desk/app.js" in index.body
    assert (
        call(address, "GET", "/desk/app.js").headers["content-type"].startswith("text/javascript")
    )
    assert call(address, "GET", "/modules/stage.js").status == 200
    photo = page.next()
    assert photo is not None
    shown = call(address, "GET", f"/api/v1/desk/photos/{photo['id']}/picture")
    assert shown.headers["content-type"] == "image/png"
    refused(call(address, "GET", "/photos/a.png"), 404, "not_found")
    refused(call(address, "GET", "/api/v1/desk/photos/..%2f..%2fa/picture"), 404, "not_found")
    host = {"Host": "evil.example"}
    refused(call(address, "GET", "/api/v1/desk", headers=host), 403, "forbidden")
    described = urllib.request.urlopen(f"{address}openapi.json").read()
    assert "/api/v1/desk/photos/{photo_id}/save" in json.loads(described)["paths"]


def review() -> Review:
    return Review(
        name="a", file_bytes=1, modified_ns=1, size=(4, 4), bundle_id="b", model="m", saved=1e9
    )


def request(**fields: Any) -> SaveRequest:
    given = {"page": "12345678", "save_id": "12345678", "revision": 0, "status": "open"}
    return SaveRequest(**{**given, "seconds": 1.0, "masks": [], **fields})


def test_time_never_runs_back_nor_faster_than_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1e9 + 10)
    assert applied(review(), request(seconds=8.0), annotator="ann").seconds == 8.0
    assert applied(review(), request(seconds=500.0), annotator="ann").seconds == 15.0  # + slack
    before = applied(review(), request(seconds=8.0), annotator="ann")
    after = applied(before, request(seconds=2.0, revision=1), annotator="bob")
    assert (after.seconds, after.annotators) == (8.0, ("ann", "bob"))


def test_a_silent_page_loses_its_photo(tmp_path: Path) -> None:
    now = [0.0]
    claims = Claims(tmp_path, clock=lambda: now[0])
    claims.take("photo", "first")
    now[0] = 100.0
    claims.beat("first")
    now[0] = 250.0
    with pytest.raises(ClaimedError):
        claims.take("photo", "second")
    now[0] = 300.0
    claims.take("photo", "second")
    assert claims.holder("photo") == "second"
    claims.close()


def test_a_round_keeps_its_accuracy(tmp_path: Path) -> None:
    made = Round(
        stage="assisted",
        ended="1",
        bundle_id="b",
        model="m",
        images=1,
        masks=2,
        seconds_per_mask=3.0,
    )
    keep_round(tmp_path, made)
    figures = Accuracy(
        truth="t", truth_sha256="s", prompts="box", images=2, n=9, miou=0.5, ci95=None
    )
    put_accuracy(tmp_path, figures, bundle_id="b")
    (kept,) = keep_round(
        tmp_path, Round(**{f: getattr(made, f) for f in made.__struct_fields__} | {"masks": 5})
    )
    assert (kept.masks, kept.accuracy) == (5, figures)
    assert read_rounds(tmp_path) == [kept]
