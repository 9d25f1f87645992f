"""``--dialect anylabeling``: a model folder that AnyLabeling opens, with this model's own masks."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from samedge.export import base
from samedge.export.anylabeling_dialect import CONFIG, config_text
from samedge.export.base import ExportRequest
from samedge.models.painted import PaintedSam
from samedge.models.sam import Sam
from samedge.pixels.frames import Frame
from samedge.targets import target
from samedge.types import Precision

FRAME = (684, 1024)
PHOTO = (342, 400)  # height, width; it fills the frame's height
SCALE = 2.0


class Consumer:
    """A program written from the contract alone: config, one picture, one prompt.

    Args:
        config: path of ``config.yaml``; paths in it are relative to it.
    """

    def __init__(self, config: Path) -> None:
        text = config.read_text()
        self.fields = dict(re.findall(r"^(\w+): \"?(.*?)\"?$", text, re.MULTILINE))
        needed = ("encoder_model_path", "decoder_model_path")
        self.encoder, self.decoder = (
            onnxruntime.InferenceSession(
                str(config.parent / self.fields[name]), providers=["CPUExecutionProvider"]
            )
            for name in needed
        )

    def encode(self, photo: np.ndarray) -> np.ndarray:
        """A picture scaled into the frame's top left corner, black elsewhere, HWC, no batch."""
        scale = min(FRAME[0] / photo.shape[0], FRAME[1] / photo.shape[1])
        size = (round(photo.shape[1] * scale), round(photo.shape[0] * scale))
        framed = np.zeros((*FRAME, 3), np.uint8)
        resized = Image.fromarray(photo).resize(size, Image.Resampling.BILINEAR)
        framed[: size[1], : size[0]] = np.asarray(resized)
        (entry,) = self.encoder.get_inputs()
        kind = np.float32 if entry.type == "tensor(float)" else np.uint8
        embedding: np.ndarray = self.encoder.run(None, {entry.name: framed.astype(kind)})[0]
        return embedding

    def masks(
        self, embedding: np.ndarray, points: list[list[float]], labels: list[int]
    ) -> np.ndarray:
        """The logits of the one mask that is drawn; (0, 0, -1) is always appended."""
        outputs = self.decoder.run(
            None,
            {
                "image_embeddings": embedding,
                "point_coords": np.array([[*points, [0.0, 0.0]]], np.float32),
                "point_labels": np.array([[*labels, -1]], np.float32),
                "mask_input": np.zeros((1, 1, 256, 256), np.float32),
                "has_mask_input": np.zeros(1, np.float32),
                "orig_im_size": np.array(FRAME, np.float32),
            },
        )
        assert len(outputs) == 3
        mask: np.ndarray = outputs[0][0][0]
        return mask


def photo() -> np.ndarray:
    rng = np.random.default_rng(4)
    small = rng.integers(0, 256, (18, 20, 3), np.uint8)
    picture = Image.fromarray(small).resize(PHOTO[::-1], Image.Resampling.BICUBIC)
    return np.asarray(picture)


def written(model: Sam | PaintedSam, folder: Path) -> Path:
    from tests.export.conftest import SOURCE

    request = ExportRequest(
        model=model,
        source=SOURCE,
        target=target("cpu"),
        precision=Precision.FP32,
        dialects=("anylabeling",),
    )
    exporter = base.get("onnx")
    asked = [graph for graph in exporter.graphs(request) if not graph.is_native]
    assert [graph.role for graph in asked] == ["anylabeling_encoder", "anylabeling_decoder"]
    written = exporter.written(asked, request, folder=folder)
    assert written[-1].extra_files[-1] == CONFIG
    return folder / CONFIG


@pytest.fixture(scope="module")
def folder(same_as_meta: Sam, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(same_as_meta, tmp_path_factory.mktemp("anylabeling"))


@pytest.fixture(scope="module")
def consumer(folder: Path) -> Consumer:
    return Consumer(folder)


def own(model: Sam, points: list[list[float]], labels: list[int]) -> np.ndarray:
    """The model's own mask of the same framed picture, in the frame's pixels."""
    framed = np.zeros((*FRAME, 3), np.uint8)
    size = (round(PHOTO[1] * SCALE), round(PHOTO[0] * SCALE))
    framed[: size[1], : size[0]] = np.asarray(
        Image.fromarray(photo()).resize(size, Image.Resampling.BILINEAR)
    )
    frame: Frame = model.frame
    view = frame.view(FRAME)
    with torch.no_grad():
        embedding = model.encode(torch.from_numpy(view.encoder_input(framed)))
        side = model.image_size
        coords = torch.tensor([[*points, [0.0, 0.0]]]) * (side / max(FRAME))
        kinds = torch.tensor([[*labels, -1]], dtype=torch.float32)
        nothing = torch.zeros(1, 1, side // 4, side // 4)
        logits, quality = model.decode(embedding, coords, kinds, nothing, torch.zeros(1))
    best = int(quality[0, 1:].argmax()) + 1 if len(points) == 1 else 0
    upscaled: np.ndarray = view.logits(logits[0, best : best + 1].numpy())[0]
    return upscaled


@pytest.mark.slow
@pytest.mark.parametrize(
    ("points", "labels"),
    [([[300.0, 200.0]], [1]), ([[300.0, 200.0], [500.0, 400.0]], [2, 3])],
    ids=["a click", "a box"],
)
def test_a_consumer_of_the_contract_gets_the_models_masks(
    consumer: Consumer, same_as_meta: Sam, points: list[list[float]], labels: list[int]
) -> None:
    given = consumer.masks(consumer.encode(photo()), points, labels)
    wanted = own(same_as_meta, points, labels)
    assert given.shape == FRAME
    agreement = ((given > 0) == (wanted > 0)).mean()
    print(f"pixels that agree: {agreement:.5f}")
    assert agreement > 0.995  # their picture is resized in float, ours in 8 bits


def test_the_encoder_has_one_input_in_their_layout(consumer: Consumer) -> None:
    (entry,) = consumer.encoder.get_inputs()
    assert (entry.type, entry.shape) == ("tensor(float)", [*FRAME, 3])
    assert consumer.fields["type"] == "segment_anything"
    needed = {"name", "display_name", "input_size", "max_width", "max_height"}
    assert needed <= consumer.fields.keys()
    assert "coreml" not in consumer.fields["decoder_model_path"]


def test_names_are_written_as_yaml() -> None:
    assert 'name: "a \\"b\\" \\\\ c: d"\n' in config_text('a "b" \\ c: d')


@pytest.mark.slow
def test_a_painted_model_speaks_it_too(painted: PaintedSam, tmp_path: Path) -> None:
    consumer = Consumer(written(painted, tmp_path))
    mask = consumer.masks(consumer.encode(photo()), [[300.0, 200.0]], [1])
    assert mask.shape == FRAME
    assert np.isfinite(mask).all()


def their_code(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Their ``sam_onnx``, without the packages around it, which open windows."""
    pytest.importorskip("cv2")
    package = importlib.util.find_spec("anylabeling")  # X-AnyLabeling's has the same name
    if package is None or package.origin is None:
        pytest.skip("pip install --no-deps anylabeling, or x-anylabeling-cvhub")
    place = Path(package.origin).parent
    for name in ("", ".services", ".services.auto_labeling"):
        module = types.ModuleType(f"anylabeling{name}")
        module.__path__ = [str(place.joinpath(*name.split(".")))]
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return importlib.import_module("anylabeling.services.auto_labeling.sam_onnx")


@pytest.mark.slow
def test_their_own_code_gets_the_same_masks(
    folder: Path, consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = their_code(monkeypatch)
    model = theirs.SegmentAnythingONNX(
        str(folder.parent / consumer.fields["encoder_model_path"]),
        str(folder.parent / consumer.fields["decoder_model_path"]),
    )
    embedding = model.encode(photo())
    # Their points are in pixels of the photo, and their matrix takes them to the frame.
    prompt = [{"type": "point", "data": [150.0, 100.0], "label": 1}]
    mask = model.predict_masks(embedding, prompt)[0][0]
    wanted = consumer.masks(consumer.encode(photo()), [[300.0, 200.0]], [1])
    wide, high = round(PHOTO[1] * SCALE), round(PHOTO[0] * SCALE)
    shrunk = np.asarray(
        Image.fromarray(wanted[:high, :wide]).resize(PHOTO[::-1], Image.Resampling.BILINEAR)
    )
    assert mask.shape == PHOTO
    agreement = ((mask > 0) == (shrunk > 0)).mean()
    print(f"pixels that agree: {agreement:.5f}")
    assert agreement > 0.98
