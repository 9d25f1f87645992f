"""The page's engine for a server, in Node: it gives the decoder's own logits."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from samedge.pixels.images import load_image
from samedge.predict.predictor import Predictor
from samedge.types import Prompt
from samedge.web import PAGE
from tests.web.server.conftest import HEIGHT, WIDTH, call, picture

SCRIPT = """
import { readFileSync } from "node:fs";
import { create } from "./engine.mjs";
const engine = create();
const manifest = await (await fetch(new URL("../../bundle.json", API))).json();
const info = await engine.open(manifest);
const blob = new Blob([readFileSync("photo.png")]);
const handle = await engine.encode({ blob });
const prompt = { points: [[20, 30]], labels: [1], box: null, mask: null };
const first = await engine.decode(handle, prompt);
const side = Math.sqrt(first.logits.length / 4);
const mask = first.logits.subarray(side * side, 2 * side * side).slice();
await fetch(new URL(`images/${handle.id}`, API), { method: "DELETE" });
const again = await engine.decode(handle, { ...prompt, mask });  // sent again by itself
const steps = [];
const found = await engine.everything(handle, {
  pointsPerSide: 4, progress: (done, total) => steps.push([done, total]),
});
const stopped = new AbortController();
stopped.abort();
const none = await engine.everything(handle, { pointsPerSide: 4, signal: stopped.signal });
let refusal = null;
try {
  await engine.decode(handle, { ...prompt, points: [[9999, 1]] });
} catch (error) {
  refusal = { status: error.status, message: error.message };
}
engine.close();
console.log(JSON.stringify({
  info, size: handle.size, first: [...first.logits], iou: [...first.iou], again: [...again.logits],
  steps, none: none.length, refusal,
  found: found.map((one) => ({ ...one, logits: one.logits.length })),
}));
"""


def test_it_is_the_predictor_s(server: str, predictor: Predictor, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node is not installed")
    source = (PAGE / "modules" / "engine-server.js").read_text(encoding="utf-8")
    ours, place = 'new URL("../api/v1/", import.meta.url)', f'new URL("{server}api/v1/")'
    assert ours in source
    (tmp_path / "engine.mjs").write_text(source.replace(ours, place), encoding="utf-8")
    (tmp_path / "run.mjs").write_text(SCRIPT.replace("API", place), encoding="utf-8")
    data = picture(61)
    (tmp_path / "photo.png").write_bytes(data)
    ran = subprocess.run(
        [node, "run.mjs"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    got = json.loads(ran.stdout)
    assert "on the server" in got["info"]["label"]
    assert got["size"] == [HEIGHT, WIDTH]
    embedding = predictor.encode(load_image(data))
    logits, iou = predictor.decode_logits(embedding, [Prompt([[20, 30]])])
    assert np.array_equal(np.array(got["first"], np.float32), logits.ravel())
    assert np.allclose(got["iou"], iou[0])
    refined, _ = predictor.decode_logits(embedding, [Prompt([[20, 30]], mask=logits[0, 1])])
    assert np.array_equal(np.array(got["again"], np.float32), refined.ravel())
    assert got["steps"] == [[1, 1]]
    assert got["none"] == 0
    assert all(one["logits"] == logits[0, 0].size and one["iou"] > 0 for one in got["found"])
    assert got["refusal"]["status"] == 422
    assert "outside" in got["refusal"]["message"]
    assert call(server, "GET", "/health").status == 200
