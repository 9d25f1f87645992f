"""The page on which a run is watched."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from samedge.live.page import Page
from tests.live.scenes import drawn


@pytest.fixture
def page() -> Iterator[Page]:
    page = Page(0)
    yield page
    page.close()


def test_the_page_and_its_record(page: Page) -> None:
    with urllib.request.urlopen(page.address) as answer:
        assert b"/stream.mjpg" in answer.read()
    page.show(drawn(7))
    with urllib.request.urlopen(page.address + "latest.json") as answer:
        assert json.load(answer)["frame"] == 7


def test_the_stream_shows_the_newest(page: Page) -> None:
    stop = threading.Event()

    def feed() -> None:
        number = 0
        while not stop.wait(0.02):
            page.show(drawn(number))
            number += 1

    feeding = threading.Thread(target=feed)
    feeding.start()
    try:
        with urllib.request.urlopen(page.address + "stream.mjpg") as answer:
            data = answer.read(20_000)
    finally:
        stop.set()
        feeding.join()
    assert data.count(b"--samedge") >= 2
    assert b"\xff\xd8\xff" in data


def test_another_host_may_not_look(page: Page) -> None:
    asked = urllib.request.Request(page.address, headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(asked)
    with refused.value as answer:
        assert answer.code == 403
