"""Label Studio's calls, as its ML connector makes them; brushes are read back by its own SDK."""

from __future__ import annotations

import base64
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge.formats.brush import mask_from_brush
from samedge.pixels.images import load_image
from samedge.pixels.metrics import mask_iou
from samedge.pixels.polygons import fill
from samedge.predict.predictor import Predictor
from samedge.types import Prompt
from tests.web.server.conftest import HEIGHT, WIDTH, Answer, call, picture, refused

BRUSH = """<View><Image name="photo" value="$picture"/>
<BrushLabels name="brush" toName="photo"><Label value="cat"/><Label value="dog"/></BrushLabels>
<KeyPointLabels name="kp" toName="photo" smart="true"><Label value="dog"/></KeyPointLabels>
</View>"""
POLYGON = BRUSH.replace("BrushLabels", "PolygonLabels")


def keypoint(x: float, y: float, **more: Any) -> dict[str, Any]:
    """As the editor sends it; pixels here, per cent there."""
    return {
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "image_rotation": 0,
        "value": {
            "x": x / WIDTH * 100,
            "y": y / HEIGHT * 100,
            "width": 0.3,
            "keypointlabels": ["dog"],
        },
        "id": "a1",
        "from_name": "kp",
        "to_name": "photo",
        "type": "keypointlabels",
        "origin": "manual",
        **more,
    }


def rectangle(x0: float, y0: float, x1: float, y1: float) -> dict[str, Any]:
    value = {
        "x": x0 / WIDTH * 100,
        "y": y0 / HEIGHT * 100,
        "width": (x1 - x0) / WIDTH * 100,
        "height": (y1 - y0) / HEIGHT * 100,
        "rotation": 0,
        "rectanglelabels": ["cat"],
    }
    return keypoint(0, 0) | {"type": "rectanglelabels", "value": value}


def uri(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def predicted(
    server: str, image: str, marks: list[dict[str, Any]], *, config: str = BRUSH
) -> Answer:
    document = {
        "tasks": [{"id": 1, "data": {"picture": image}}],
        "model_version": None,
        "project": "1.1700000000",
        "label_config": config,
        "params": {"login": None, "password": None, "context": {"result": marks}},
    }
    return call(server, "POST", "/predict", body=document)


def test_it_connects(server: str) -> None:
    assert call(server, "GET", "/health").document["status"] == "UP"
    setup = {
        "project": "1.17",
        "schema": BRUSH,
        "hostname": "http://localhost:8080",
        "access_token": "t",
    }
    version = call(server, "POST", "/setup", body=setup).document["model_version"]
    assert version.startswith("samedge ")
    event = {"action": "ANNOTATION_CREATED", "project": {"id": 1}}
    assert call(server, "POST", "/webhook", body=event).status == 201


def test_keypoints_become_a_brush(server: str, predictor: Predictor) -> None:
    data = picture(41)
    marks = [keypoint(20, 20, is_positive=True), keypoint(50, 40, is_positive=False)]
    answer = predicted(server, uri(data), marks)
    assert answer.status == 200, answer.raw
    (prediction,) = answer.document["results"]
    (result,) = prediction["result"]
    prompt = Prompt([[20, 20], [50, 40]], [1, 0])
    mask = predictor.predict(load_image(data), prompt).masks[0]
    assert mask.any()
    assert np.array_equal(mask_from_brush(result["value"]["rle"], (HEIGHT, WIDTH)), mask)
    assert result["value"]["format"] == "rle"
    assert result["value"]["brushlabels"] == ["dog"]
    assert (result["from_name"], result["to_name"]) == ("brush", "photo")
    assert (result["original_width"], result["original_height"]) == (WIDTH, HEIGHT)
    assert prediction["score"] == result["score"]
    brush = pytest.importorskip(
        "label_studio_sdk.converter.brush", reason="label-studio-sdk is not installed"
    )
    theirs = brush.decode_rle(result["value"]["rle"]).reshape(HEIGHT, WIDTH, 4)[:, :, 3] > 127
    assert np.array_equal(theirs, mask)


def test_a_rectangle_becomes_polygons(server: str, predictor: Predictor) -> None:
    data = picture(42)
    answer = predicted(server, uri(data), [rectangle(10, 12, 40, 36)], config=POLYGON)
    results = answer.document["results"][0]["result"]
    scale = np.array([WIDTH, HEIGHT]) / 100
    rings = [np.array(result["value"]["points"]) * scale for result in results]
    mask = predictor.predict(load_image(data), Prompt(box=[10, 12, 40, 36])).masks[0]
    assert mask_iou(fill(rings, (HEIGHT, WIDTH)), mask) > 0.95
    assert {result["type"] for result in results} == {"polygonlabels"}
    assert results[0]["value"]["polygonlabels"] == ["cat"]


def test_an_image_of_the_local_files(server: str) -> None:
    marks = [keypoint(20, 20)]
    by_path = predicted(server, "/data/local-files/?d=deep/photo.png", marks)
    assert by_path.status == 200
    assert (
        by_path.document["results"][0]["score"]
        == predicted(server, uri(picture(1)), marks).document["results"][0]["score"]
    )
    assert predicted(server, "/data/local-files/?d=deep/photo.png&d=x", marks).status == 200
    refused(predicted(server, "/data/local-files/?d=../secret.png", marks), 403, "forbidden")


def test_without_marks_there_is_nothing_to_say(server: str) -> None:
    tasks = [{"id": n, "data": {"picture": "s3://bucket/x.jpg"}} for n in range(3)]
    answer = call(server, "POST", "/predict", body={"tasks": tasks, "label_config": BRUSH})
    assert [result["result"] for result in answer.document["results"]] == [[], [], []]


@pytest.mark.parametrize(
    ("config", "marks", "words"),
    [
        ("<View/>", [keypoint(1, 1)], "BrushLabels"),
        ("<View>", [keypoint(1, 1)], "XML"),
        ("<!DOCTYPE x [<!ENTITY a 'b'>]><View/>", [keypoint(1, 1)], "document type"),
        ("<a>" * 200 + "</a>" * 200, [keypoint(1, 1)], "nested"),
        (BRUSH, [keypoint(1, 1) | {"type": "ellipselabels"}], "ellipse"),
        (BRUSH, [keypoint(1, 1) | {"value": {"x": "1", "y": 2}}], "number"),
        (BRUSH, [keypoint(1e6, 1)], "outside"),
        (BRUSH.replace("$picture", "$other"), [keypoint(1, 1)], "other"),
    ],
    ids=range(8),
)
def test_what_it_cannot_answer(
    server: str, config: str, marks: list[dict[str, Any]], words: str
) -> None:
    answer = predicted(server, uri(picture()), marks, config=config)
    assert words in refused(answer, 422, "prompt")["message"]


class _Uploads(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        asked = (self.headers.get("Authorization"), self.path)
        good = asked == ("Token key", "/data/upload/1.png")
        body = picture(43) if good else b""
        self.send_response(200 if good else 403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def label_studio() -> Iterator[str]:
    """The part of Label Studio that gives uploaded images."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Uploads) as uploads:
        thread = threading.Thread(target=uploads.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{uploads.server_port}"
        uploads.shutdown()
        thread.join()


def test_images_are_fetched_from_the_named_label_studio_alone(
    server: str, label_studio: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    marks = [keypoint(20, 20)]
    monkeypatch.delenv("LABEL_STUDIO_URL", raising=False)
    refused(predicted(server, "/data/upload/1.png", marks), 403, "forbidden")
    monkeypatch.setenv("LABEL_STUDIO_URL", label_studio)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "key")
    expected = predicted(server, uri(picture(43)), marks).document["results"][0]["score"]
    for source in ("/data/upload/1.png", f"{label_studio}/data/upload/1.png"):
        answer = predicted(server, source, marks)
        assert answer.document["results"][0]["score"] == expected
    refused(predicted(server, "/data/upload/2.png", marks), 404, "not_found")
    for elsewhere in (
        "http://169.254.169.254/latest",
        "//evil.example/x.png",
        "https://127.0.0.1/x.png",
        f"file://{tmp_path}/x.png",
        "s3://bucket/x.png",
        "http://[bad/x.png",
    ):
        answer = predicted(server, elsewhere, marks)
        assert answer.status in (403, 404), answer.raw
