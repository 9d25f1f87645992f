"""What goes on beside the pages: the order of the photos, and questions that have to wait."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import pytest

from samedge.annotate.desk.api import _Api
from samedge.annotate.desk.messages import PageRequest
from samedge.annotate.ranking import read_ranking
from samedge.annotate.tasks import AutoSettings
from samedge.predict.predictor import Predictor
from samedge.web.server.failures import NotFoundError
from tests.annotate.desk.conftest import NAMES, desk_over
from tests.toys import loops


@pytest.mark.parametrize("tiles", [None, 64])
def test_photos_are_ranked_also_where_masks_are_found_by_tiles(
    tiles: int | None,
    photos: Path,
    tmp_path: Path,
    predictor: Predictor,
    settings: AutoSettings,
) -> None:
    """Every photo was told to be unreadable: by tiles, its pixels were not read."""
    asked = msgspec.structs.replace(settings, tiles=tiles)
    with desk_over(photos, tmp_path / "out", predictor, asked, order="rank"):
        end = time.monotonic() + 60
        while (found := read_ranking(tmp_path / "out")) is None and time.monotonic() < end:
            time.sleep(0.05)
    assert found is not None
    assert found.failures == []
    assert {image.name for image in found.images} == set(NAMES)


def test_a_question_that_waits_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on, went_on = threading.Event(), []

    class Waiting:
        """Takes the place of a desk, a service and their parts."""

        def __getattr__(self, name: str) -> Any:
            return self

        def __call__(self, *_: object) -> None:
            return None

        def check_held(self, *_: object) -> None:
            went_on.append(goes_on.wait(3))
            raise NotFoundError("nothing more is asked")

    class Asked:
        path_params = MappingProxyType({"photo_id": "a"})

    async def document(*_: object) -> PageRequest:
        return PageRequest(page="p")

    async def both() -> None:
        first = asyncio.ensure_future(api.propose(Asked()))  # type: ignore[arg-type]
        await asyncio.sleep(0.1)
        goes_on.set()  # what another request would bring about
        with pytest.raises(NotFoundError):
            await first

    monkeypatch.setattr(_Api, "_document", document)
    api = _Api(Waiting(), Waiting(), Waiting())  # type: ignore[arg-type]
    loops.run(both())
    assert went_on == [True], "the loop that all are answered by stood still"
