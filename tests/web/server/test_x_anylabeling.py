"""X-AnyLabeling's calls, as its ``remote_server`` makes them (its source, version 4.0.2)."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from samedge.pixels.images import load_image
from samedge.pixels.metrics import mask_iou as iou
from samedge.pixels.polygons import fill
from samedge.predict.predictor import Predictor
from samedge.types import Prompt
from samedge.web.server.shapes import rings, simplified
from tests.web.server.conftest import HEIGHT, WIDTH, Answer, call, picture, refused

HEADERS = {"Token": ""}
PARAMS = {"conf_threshold": 0.0, "iou_threshold": 0.0, "epsilon_factor": 0.001}


def uri(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def post(server: str, path: str, document: object) -> Answer:
    return call(server, "POST", path, body=document, headers=HEADERS)


def model_of(server: str) -> str:
    found = call(server, "GET", "/v1/models").document["data"]
    (name,) = found
    return str(name)


def predicted(server: str, data: bytes, marks: list[dict[str, Any]]) -> Answer:
    document = {"model": model_of(server), "image": uri(data), "params": PARAMS | {"marks": marks}}
    return post(server, "/v1/predict", document)


def drawn(shapes: list[dict[str, Any]]) -> Any:
    found = [np.array(shape["points"]) for shape in shapes]
    return fill(found, (HEIGHT, WIDTH))


def test_the_models_are_as_it_reads_them(server: str) -> None:
    models = call(server, "GET", "/v1/models").document
    assert models["success"]
    ((name, model),) = models["data"].items()
    assert model["display_name"]
    assert {"name", "value"} == set(model["widgets"][0])
    modes = {task["id"]: task["batch_processing_mode"] for task in model["available_tasks"]}
    assert modes == {"image": None, "everything": "default", "video": "video"}
    info = call(server, "GET", f"/v1/models/{name}/info").document
    assert info["data"] == model
    refused(call(server, "GET", "/v1/models/other/info"), 404, "unknown_name")


def test_points_become_an_outline(server: str, predictor: Predictor) -> None:
    data = picture(31)
    marks = [
        {"type": "point", "data": [20, 20], "label": 1},
        {"type": "point", "data": [50, 40], "label": 0},
    ]
    answer = predicted(server, data, marks)
    assert answer.status == 200, answer.raw
    shapes = answer.document["data"]["shapes"]
    prompt = Prompt([[20, 20], [50, 40]], [1, 0])
    mask = predictor.predict(load_image(data), prompt).masks[0]
    assert mask.any()
    assert iou(drawn(shapes), mask) > 0.95
    for shape in shapes:
        assert shape["shape_type"] == "polygon"
        assert shape["label"] == "AUTOLABEL_OBJECT"
        assert shape["points"][0] == shape["points"][-1]
        assert 0 <= shape["score"] <= 1
    assert answer.document["data"]["replace"] is False


def test_a_rectangle_from_any_corner(server: str, predictor: Predictor) -> None:
    data = picture(32)
    one = predicted(server, data, [{"type": "rectangle", "data": [10, 12, 40, 36], "label": 1}])
    other = predicted(server, data, [{"type": "rectangle", "data": [40, 36, 10, 12], "label": 1}])
    assert one.document["data"]["shapes"] == other.document["data"]["shapes"]
    mask = predictor.predict(load_image(data), Prompt(box=[10, 12, 40, 36])).masks[0]
    assert iou(drawn(one.document["data"]["shapes"]), mask) > 0.95


def test_without_marks_it_finds_everything(server: str) -> None:
    answer = post(
        server,
        "/v1/predict",
        {"model": model_of(server), "image": uri(picture(33)), "params": {"conf_threshold": 0.3}},
    )
    assert answer.status == 200
    assert all(shape["label"] == "object" for shape in answer.document["data"]["shapes"])


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"model": "yolo11n"}, 404),
        ({"image": "data:image/png;base64,!!!"}, 400),
        ({"image": base64.b64encode(b"no image").decode()}, 422),
        ({"params": {"text_prompt": "a cat"}}, 422),
        ({"params": {"marks": [{"type": "circle", "data": [1, 2]}]}}, 422),
        ({"params": {"marks": [{"type": "rectangle", "data": [1, 2, 30, 40], "label": 0}]}}, 422),
        ({"params": {"marks": [{"type": "point", "data": [1e9, 2]}]}}, 422),
    ],
    ids=range(7),
)
def test_what_it_cannot_answer(server: str, change: dict[str, Any], status: int) -> None:
    good = {
        "model": model_of(server),
        "image": uri(picture()),
        "params": {"marks": [{"type": "point", "data": [5, 5]}]},
    }
    assert post(server, "/v1/predict", good).status == 200
    answer = post(server, "/v1/predict", good | change)
    assert answer.status == status, answer.raw
    assert answer.document["schema"] == "samedge.error/1"


def frames(count: int) -> list[bytes]:
    """A bright disc that wanders over a dark ground."""
    made = []
    for index in range(count):
        image = Image.new("RGB", (WIDTH, HEIGHT), (20, 20, 30))
        x = 20 + 3 * index
        ImageDraw.Draw(image).ellipse((x - 8, 12, x + 8, 28), fill=(230, 220, 40))
        stream = io.BytesIO()
        image.save(stream, "PNG")
        made.append(stream.getvalue())
    return made


def test_an_object_through_a_video(server: str) -> None:
    model = model_of(server)
    sent = {"model": model, "frames": [uri(frame) for frame in frames(4)], "start_frame_index": 0}
    session = post(server, "/v1/video/init", sent).document["data"]["session_id"]
    asked = {
        "session_id": session,
        "model": model,
        "frame_index": 1,
        "points": [[23 / WIDTH, 20 / HEIGHT]],
        "point_labels": [1],
        "obj_id": 10000,
        "params": {"conf_threshold": 0.0, "epsilon_factor": 0.001},
    }
    answer = post(server, "/v1/video/prompt", asked)
    assert answer.status == 200, answer.raw
    (mask, *_) = answer.document["data"]["masks"]
    assert (mask["shape_type"], mask["group_id"]) == ("polygon", 10000)
    follow = {"session_id": session, "model": model, "start_frame": 1}
    stream = post(server, "/v1/video/propagate/stream", follow)
    assert stream.headers["content-type"].startswith("text/event-stream")
    events = [
        json.loads(line[6:])
        for line in stream.body.decode().splitlines()
        if line.startswith("data: ")
    ]
    assert [event["type"] for event in events] == ["started", *["progress"] * 3, "completed"]
    assert events[0] == {"type": "started", "total_frames": 4, "start_frame_index": 1}
    assert [event["current_frame"] for event in events[1:4]] == [1, 2, 3]
    assert sorted(events[-1]["results"]) == ["1", "2", "3"]
    first = events[-1]["results"]["1"]["masks"]
    assert first
    assert all(shape["group_id"] == 10000 for shape in first)
    assert post(server, f"/v1/video/cleanup/{session}?model={model}", {}).document["success"]
    refused(post(server, "/v1/video/prompt", asked), 404, "not_found")


def test_a_video_that_nothing_was_asked_about(server: str) -> None:
    model = model_of(server)
    sent = {"model": model, "frames": [uri(frame) for frame in frames(2)]}
    session = post(server, "/v1/video/init", sent).document["data"]["session_id"]
    about = {"session_id": session, "model": model}
    refused(post(server, "/v1/video/propagate/stream", about), 422, "prompt")
    late = about | {"frame_index": 9, "points": [[0.5, 0.5]], "point_labels": [1]}
    refused(post(server, "/v1/video/prompt", late), 404, "not_found")
    words = about | {"frame_index": 0, "text_prompt": "disc"}
    told = refused(post(server, "/v1/video/prompt", words), 422, "prompt")
    assert told["remedy"].endswith("/masks takes words.")  # which the model may well know
    refused(post(server, "/v1/video/init", {"model": model, "frames": []}), 400, "malformed")


def test_outlines_lose_vertices_and_little_else(rng: np.random.Generator) -> None:
    rows, columns = np.mgrid[:200, :200]
    mask = (rows - 100) ** 2 / 90**2 + (columns - 100) ** 2 / 60**2 < 1
    (exact,) = rings(mask, fineness=0)
    assert np.array_equal(fill([exact], mask.shape), mask)
    (coarse,) = rings(mask, fineness=0.002)
    assert len(coarse) < len(exact) / 4
    assert iou(fill([coarse], mask.shape), mask) > 0.98
    ring = rng.uniform(0, 100, (50, 2))
    assert np.array_equal(simplified(ring, tolerance=0), ring)
    assert len(simplified(ring, tolerance=1e9)) >= 3
