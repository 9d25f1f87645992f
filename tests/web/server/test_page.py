"""The page on the server: its files, its engine, and what it reads of any bundle."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge.pixels.images import load_image
from samedge.predict.predictor import Predictor
from samedge.types import Prompt
from samedge.web.server import page
from samedge.web.server.running import running
from samedge.web.server.settings import ServeSettings
from tests.web.server.conftest import call, picture, refused, sent


@pytest.fixture
def address(predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """A server whose page is two files of ours."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html>")
    (tmp_path / "modules" / "a.js").write_text("export {};")
    (tmp_path / "config.json").write_text('{"engine": "local"}')
    (tmp_path / "notes.txt").write_text("not a part of it")
    monkeypatch.setattr(page, "_PAGE", tmp_path)
    with running(predictor, ServeSettings(port=0)) as found:
        yield found


def test_its_files_and_no_others(address: str) -> None:
    index = call(address, "GET", "/")
    assert index.body == b"<!doctype html>"
    assert index.headers["content-type"].startswith("text/html")
    assert "frame-ancestors" in index.headers["content-security-policy"]
    script = call(address, "GET", "/modules/a.js")
    assert script.headers["content-type"].startswith("text/javascript")
    assert call(address, "GET", "/config.json").document == {"engine": "server"}
    for other in ("/notes.txt", "/modules/../../page.py", "/%2e%2e/page.py", "//etc/passwd", "/x"):
        refused(call(address, "GET", other), 404, "not_found")
    assert call(address, "GET", "/health").document["status"] == "UP"


def test_what_it_reads_of_a_bundle(address: str, predictor: Predictor) -> None:
    manifest = call(address, "GET", "/bundle.json").document
    assert manifest["id"] == predictor.manifest.id
    assert {graph["role"] for graph in manifest["graphs"]} == {"encoder", "decoder"}
    assert {graph["format"] for graph in manifest["graphs"]} == {"onnx"}
    assert manifest["frame"]["target_length"] == predictor.manifest.frame.target_length


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
