"""The page on the server: its files, its engine, and what it reads of any bundle."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest

from samedge.bundle.bundle import Bundle, embedded_path
from samedge.pixels.images import load_image
from samedge.predict.predictor import Predictor
from samedge.types import Prompt
from samedge.web.server.page import shown_manifest
from samedge.web.site import page_files
from tests.web.server.conftest import call, picture, refused, sent


def test_its_files_and_no_others(server: str) -> None:
    index = call(server, "GET", "/")
    assert index.body.lower().startswith(b"<!doctype html>")
    assert index.headers["content-type"].startswith("text/html")
    assert index.headers["cross-origin-opener-policy"] == "same-origin"
    assert "frame-ancestors" in index.headers["content-security-policy"]
    script = call(server, "GET", "/modules/engine-server.js")
    assert script.headers["content-type"].startswith("text/javascript")
    assert call(server, "GET", "/config.json").document == {"engine": "server"}
    for name in page_files():
        assert call(server, "GET", f"/{name}").status == 200, name
    for other in ("/encoder.onnx", "/modules/../../site.py", "/%2e%2e/site.py", "//etc/passwd"):
        refused(call(server, "GET", other), 404, "not_found")
    assert call(server, "GET", "/health").document["status"] == "UP"


def test_an_address_that_is_not_there_is_no_fault(
    server: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Browsers ask for an icon: that was a traceback in the server's log each time."""
    refused(call(server, "GET", "/favicon.ico"), 404, "not_found")
    assert not [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]


def test_what_it_reads_of_a_bundle(server: str, predictor: Predictor) -> None:
    manifest = call(server, "GET", "/bundle.json").document
    assert manifest["id"] == predictor.manifest.id
    assert {graph["role"] for graph in manifest["graphs"]} == {"encoder", "decoder"}
    assert {graph["format"] for graph in manifest["graphs"]} == {"onnx"}
    assert manifest["frame"]["target_length"] == predictor.manifest.frame.target_length


def test_everything_mode_is_told_as_in_the_browser() -> None:
    folder = embedded_path("samedge-pico")
    own = json.loads((folder / "bundle.json").read_text())
    assert own["thresholds"]["everything"]["points_per_side"] != 32  # the page's usual one
    assert (
        json.loads(shown_manifest(Bundle.open(folder).manifest))["thresholds"] == own["thresholds"]
    )


def floats(text: str) -> Any:
    return np.frombuffer(base64.b64decode(text), "<f4")


def test_logits_are_the_decoder_s(server: str, predictor: Predictor) -> None:
    data = picture(51)
    embedding = predictor.encode(load_image(data))
    side = predictor.frame.low_res_side
    start = np.linspace(-3, 3, side * side, dtype=np.float32).reshape(side, side)
    asked = {
        "points": [[20, 30]],
        "labels": [1],
        "box": None,
        "low_res_logits": base64.b64encode(start.astype("<f4").tobytes()).decode(),
    }
    path = f"/api/v1/images/{sent(server, data)}/logits"
    answer = call(server, "POST", path, body=asked).document
    logits, iou = predictor.decode_logits(embedding, [Prompt([[20, 30]], [1], mask=start)])
    assert (answer["tokens"], answer["side"]) == (4, side)
    assert np.array_equal(floats(answer["low_res_logits"]), logits.ravel())
    assert np.allclose(answer["predicted_iou"], iou[0])
    refused(call(server, "POST", path, body=asked | {"low_res_logits": "AAAA"}), 422, "prompt")


def test_everything_with_logits(server: str, predictor: Predictor) -> None:
    data = picture(52)
    body = {
        "points_per_side": 4,
        "pred_iou_threshold": 0.2,
        "stability_threshold": 0.1,
        "low_res_logits": True,
    }
    answer = call(server, "POST", f"/api/v1/images/{sent(server, data)}/everything", body=body)
    lines = [json.loads(line) for line in answer.body.splitlines() if line.startswith(b"{")]
    found = [line for line in lines if line["type"] == "mask"]
    assert found
    view = predictor.encode(load_image(data)).view
    side = predictor.frame.low_res_side
    for line in found:
        logits = np.reshape(floats(line["low_res_logits"]), (1, side, side))
        mask = view.masks(logits, threshold=predictor.manifest.thresholds.mask)[0]
        assert int(mask.sum()) == line["mask"]["area"]
