"""Masks as objects of supervision and FiftyOne, and back."""

from __future__ import annotations

import dataclasses
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge.errors import BackendUnavailableError, DatasetError
from samedge.formats.masks import ImageMasks
from samedge.formats.objects import from_fiftyone, from_supervision, to_fiftyone, to_supervision
from tests.formats.pictures import HEIGHT, SHAPES, WIDTH, image

SIZE = (HEIGHT, WIDTH)


@dataclasses.dataclass
class Detections:
    """The fields of supervision's class that are used; the real one where it is installed."""

    xyxy: Any
    mask: Any = None
    confidence: Any = None
    class_id: Any = None
    data: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.xyxy)

    @classmethod
    def empty(cls) -> Detections:
        return cls(np.zeros((0, 4)))


@pytest.fixture(params=["real", "stand-in"])
def supervision(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    if request.param == "real":
        return pytest.importorskip("supervision")
    module = types.SimpleNamespace(Detections=Detections)
    monkeypatch.setitem(sys.modules, "supervision", module)
    return module


def test_supervision_there_and_back(supervision: Any) -> None:
    wanted = image("ring", "parts")
    found = to_supervision(wanted)
    assert isinstance(found, supervision.Detections)
    assert found.xyxy.tolist()[0] == [7, 7, 34, 34]
    back = from_supervision(found, name=wanted.name, size=SIZE)
    for record, twin in zip(back.masks, wanted.masks, strict=True):
        assert (record.mask == twin.mask).all()
        assert record.category == twin.category
        assert record.predicted_iou == pytest.approx(twin.predicted_iou)
    assert len(to_supervision(ImageMasks("a", SIZE, ()))) == 0


def test_supervision_classes(supervision: Any) -> None:
    found = to_supervision(image("ring"), categories=["x", "ring"])
    assert found.class_id.tolist() == [1]
    with pytest.raises(DatasetError, match="'ring' of a mask is not among x"):
        to_supervision(image("ring"), categories=["x"])
    bare = supervision.Detections(
        xyxy=np.zeros((1, 4), np.float32), mask=SHAPES["disc"][None], class_id=np.array([1])
    )
    assert from_supervision(bare, name="a", size=SIZE).masks[0].category == "class 1"
    named = from_supervision(bare, name="a", size=SIZE, categories=["x", "y"])
    assert named.masks[0].category == "y"
    boxes = supervision.Detections(xyxy=np.zeros((1, 4), np.float32))
    with pytest.raises(DatasetError, match="boxes only"):
        from_supervision(boxes, name="a", size=SIZE)
    with pytest.raises(DatasetError, match="A mask is"):
        from_supervision(bare, name="a", size=(3, 4))


@pytest.fixture
def fiftyone(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The three classes by their documented fields: the real library starts a database."""

    class Fields(types.SimpleNamespace):
        pass

    module = types.SimpleNamespace(Detection=Fields, Detections=Fields, Sample=Fields)
    monkeypatch.setitem(sys.modules, "fiftyone", module)
    return module


def test_fiftyone_there_and_back(fiftyone: Any) -> None:
    wanted = image("ring", "parts", "pixel")
    sample = to_fiftyone(wanted, Path("photos/a.png"))
    assert sample.filepath == "photos/a.png"
    first = sample.samedge.detections[0]
    assert first.bounding_box == [7 / WIDTH, 7 / HEIGHT, 27 / WIDTH, 27 / HEIGHT]
    assert first.mask.shape == (27, 27)
    back = from_fiftyone(sample.samedge, name=wanted.name, size=SIZE)
    for record, twin in zip(back.masks, wanted.masks, strict=True):
        assert (record.mask == twin.mask).all()
        assert (record.category, record.predicted_iou) == (twin.category, twin.predicted_iou)
    first.mask = None
    with pytest.raises(DatasetError, match="has a box only"):
        from_fiftyone(sample.samedge, name="a", size=SIZE)


def test_an_absent_library_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fiftyone", None)
    with pytest.raises(BackendUnavailableError, match="pip install fiftyone"):
        to_fiftyone(image("disc"), Path("a.png"))
