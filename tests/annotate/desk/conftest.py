"""A desk over a few small photos, behind a real server with the toy bundle."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("prometheus_client")

from samedge.annotate.desk.serving import DeskOptions, OpenDesk
from samedge.annotate.tasks import AutoSettings
from samedge.predict.predictor import Predictor
from samedge.web.server.running import running
from samedge.web.server.settings import ServeSettings
from tests.web.server.conftest import call, picture, refused

NAMES = ("a.png", "b.png", "north/a.png")
__all__ = ["NAMES", "Page", "desk_over", "picture", "refused"]


def write_photo(path: Path, *, seed: int, height: int = 48, width: int = 64) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    Image.fromarray(rng.integers(0, 255, (height, width, 3), np.uint8)).save(path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for seed, name in enumerate(NAMES):
        write_photo(tmp_path / "photos" / name, seed=seed)
    return tmp_path / "photos"


@pytest.fixture(scope="session")
def predictor(toy_bundle: Path) -> Iterator[Predictor]:
    with Predictor.from_bundle(toy_bundle) as opened:
        opened.load()
        yield opened


@pytest.fixture(scope="session")
def settings(toy_bundle: Path) -> AutoSettings:
    return AutoSettings(
        bundle=str(toy_bundle), points_per_side=3, pred_iou_threshold=0.0, stability_threshold=0.0
    )


@contextlib.contextmanager
def desk_running(desk: OpenDesk, predictor: Predictor, server: ServeSettings) -> Iterator[str]:
    """A desk's server in a thread; yields its address."""
    try:
        with running(predictor, server, protocols=(), extend=desk.extend) as address:
            yield address
    finally:
        desk.close()


@contextlib.contextmanager
def desk_over(
    photos: Path,
    output: Path,
    predictor: Predictor,
    settings: AutoSettings,
    **options: Any,
) -> Iterator[str]:
    given = {"annotator": "ann", "order": "name", **options}
    desk = OpenDesk(
        photos, output, predictor=predictor, settings=settings, options=DeskOptions(**given)
    )
    with desk_running(desk, predictor, ServeSettings(port=0, stop_s=5)) as address:
        yield address


@pytest.fixture
def address(
    photos: Path, tmp_path: Path, predictor: Predictor, settings: AutoSettings
) -> Iterator[str]:
    with desk_over(photos, tmp_path / "out", predictor, settings) as found:
        yield found


class Page:
    """What a tab of a browser says to a desk, without the browser."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.name = str(uuid.uuid4())
        self.photo: dict[str, Any] | None = None

    def ask(self, path: str, **fields: Any) -> Any:
        body = {"page": self.name, **fields}
        return call(self.address, "POST", f"/api/v1/desk{path}", body=body)

    def next(self) -> dict[str, Any] | None:
        after = None if self.photo is None else self.photo["id"]
        answer = self.ask("/next", after=after)
        assert answer.status == 200, answer.raw
        self.photo = answer.document["photo"]
        return self.photo

    def open(self, photo_id: str) -> Any:
        answer = self.ask(f"/photos/{photo_id}/open")
        if answer.status == 200:
            self.photo = answer.document["photo"]
        return answer

    def propose(self) -> list[dict[str, Any]]:
        assert self.photo is not None
        answer = self.ask(f"/photos/{self.photo['id']}/proposals")
        assert answer.status == 200, answer.raw
        self.photo = answer.document["photo"]
        masks: list[dict[str, Any]] = answer.document["photo"]["masks"]
        return masks

    def save(
        self,
        masks: list[dict[str, Any]],
        *,
        status: str = "open",
        seconds: float = 1.0,
        **more: Any,
    ) -> Any:
        assert self.photo is not None
        fields = {
            "revision": self.photo["revision"],
            "save_id": str(uuid.uuid4()),
            "status": status,
            "seconds": seconds,
            "masks": masks,
            **more,
        }
        answer = self.ask(f"/photos/{self.photo['id']}/save", **fields)
        if answer.status == 200:
            self.photo["revision"] = answer.document["revision"]
        return answer

    def decided(self, **by_id: str) -> list[dict[str, Any]]:
        """The photo's masks as a save has them; ``m1="accepted"`` decides about mask 1."""
        assert self.photo is not None
        return [
            {
                "id": mask["id"],
                "decision": by_id.get(f"m{mask['id']}", mask["decision"]),
                "origin": mask["origin"],
                "category": mask["category"],
            }
            for mask in self.photo["masks"]
        ]


@pytest.fixture
def page(address: str) -> Page:
    return Page(address)
