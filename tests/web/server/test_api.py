"""samedge's own interface gives what the library gives."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from samedge.pixels.images import load_image
from samedge.pixels.rle import mask_from_rle, rle_from_mask
from samedge.predict.everything import EverythingConfig, segment_everything
from samedge.predict.predictor import Predictor
from samedge.types import Prompt
from tests.web.server.conftest import HEIGHT, WIDTH, call, picture, refused, sent


def test_masks_are_those_of_the_library(server: str, predictor: Predictor) -> None:
    data = picture(3)
    image_id = sent(server, data)
    start = np.zeros((HEIGHT, WIDTH), bool)
    start[10:20, 10:20] = True
    asked = [
        {"points": [[20, 30]]},
        {"points": [[20, 30], [40, 10]], "labels": [1, 0]},
        {"box": [5, 6, 40, 30]},
        {"points": [[20, 30]], "mask": dict(rle_from_mask(start))},
    ]
    answer = call(
        server, "POST", f"/api/v1/images/{image_id}/masks", body={"prompts": asked}
    ).document
    prompts = [
        Prompt([[20, 30]]),
        Prompt([[20, 30], [40, 10]], [1, 0]),
        Prompt(box=[5, 6, 40, 30]),
        Prompt([[20, 30]], mask=start),
    ]
    expected = predictor.decode_batch(predictor.encode(load_image(data)), prompts)
    assert len(answer["masks"]) == 4
    for place, (record, masks) in enumerate(zip(answer["masks"], expected, strict=True)):
        assert record["prompt"]["index"] == place
        assert np.array_equal(mask_from_rle(record["rle"]), masks.masks[0])
        assert record["predicted_iou"] == pytest.approx(float(masks.iou_predictions[0]), abs=1e-6)
    assert answer["schema"] == "samedge.serve.masks/1"
    assert answer["image"] == {"id": image_id, "height": HEIGHT, "width": WIDTH}
    assert answer["bundle"]["id"] == predictor.manifest.id
    assert set(answer["timing_ms"]) == {"decode", "postprocess"}


def test_all_three_candidates(server: str) -> None:
    body = {"prompts": [{"points": [[20, 30]]}], "multimask": True}
    answer = call(server, "POST", f"/api/v1/images/{sent(server)}/masks", body=body)
    assert len(answer.document["masks"]) == 3


def test_the_same_image_is_encoded_once(server: str) -> None:
    kind = {"Content-Type": "image/png"}
    first = call(server, "POST", "/api/v1/images", body=picture(11), headers=kind).document
    second = call(server, "POST", "/api/v1/images", body=picture(11), headers=kind).document
    assert first["is_new"]
    assert not second["is_new"]
    assert first["image"] == second["image"]
    known = call(server, "GET", f"/api/v1/images/{first['image']['id']}").document
    assert known["image"] == first["image"]


def test_everything_is_the_library_s(server: str, predictor: Predictor) -> None:
    data = picture(5)
    settings = {"points_per_side": 6, "pred_iou_threshold": 0.2, "stability_threshold": 0.1}
    image_id = sent(server, data)
    path = f"/api/v1/images/{image_id}/everything"
    answer = call(server, "POST", path, body=settings)
    assert answer.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in _chunks(answer.body).splitlines()]
    config = EverythingConfig.for_bundle(predictor.manifest, **settings)
    expected = segment_everything(predictor, load_image(data), config=config)
    assert len(expected) > 3
    assert [line["type"] for line in lines[:2]] == ["started", "progress"]
    found = [line["mask"] for line in lines if line["type"] == "mask"]
    assert [m["rle"]["counts"] for m in found] == [m.rle["counts"] for m in expected]
    assert lines[-1]["type"] == "completed"
    assert lines[-1]["masks"] == len(expected)
    done = [line["done"] for line in lines if line["type"] == "progress"]
    assert done == sorted(set(done))
    assert done[-1] == lines[0]["batches"]


def test_a_forgotten_image_is_gone(server: str) -> None:
    image_id = sent(server, picture(12))
    assert call(server, "DELETE", f"/api/v1/images/{image_id}").status == 204
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/masks")):
        body = {"prompts": [{"points": [[1, 1]]}]} if method == "POST" else b""
        answer = call(server, method, f"/api/v1/images/{image_id}{path}", body=body)
        refused(answer, 404, "not_found")


def test_an_image_by_its_path(server: str, root: Path) -> None:
    whole = str(root / "deep" / "photo.png")
    ids = {
        call(server, "POST", "/api/v1/images", body={"path": path}).document["image"]["id"]
        for path in (whole, "deep/photo.png", "in", "deep/../deep/photo.png")
    }
    assert ids == {sent(server, picture(1))}


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ({"points": [[900, 1]]}, "outside"),
        ({"points": [[1, 1]], "labels": [1, 0]}, "labels"),
        ({"box": [10, 10, 5, 5]}, "inverted"),
        ({}, "empty"),
        ({"mask": {"size": [3, 3], "counts": "9"}}, "size"),
        ({"mask": {"size": [HEIGHT, WIDTH], "counts": "9"}}, "cover"),
    ],
)
def test_a_prompt_that_fits_no_image(server: str, prompt: object, words: str) -> None:
    path = f"/api/v1/images/{sent(server)}/masks"
    answer = call(server, "POST", path, body={"prompts": [prompt]})
    assert answer.status == 422
    assert words in answer.document["message"]


def test_health_model_and_figures(server: str, predictor: Predictor) -> None:
    assert call(server, "GET", "/health").document["status"] == "UP"
    model = call(server, "GET", "/api/v1/model").document
    assert model["bundle"]["id"] == predictor.manifest.id
    assert model["reads_paths"]
    sent(server)
    from prometheus_client.parser import text_string_to_metric_families

    text = _chunks(call(server, "GET", "/metrics").body).decode()
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["samedge_requests_total", "POST /api/v1/images", "200"] >= 1
    assert samples[("samedge_kept_images",)] >= 1
    assert samples[("samedge_encodes_total",)] >= 1


def test_the_openapi_document_is_valid_and_whole(server: str) -> None:
    validator = pytest.importorskip("openapi_spec_validator", reason="not installed")
    document = call(server, "GET", "/openapi.json").document
    validator.validate(document)
    masks = document["paths"]["/api/v1/images/{image_id}/masks"]["post"]
    assert {"200", "400", "404", "413", "422", "429", "504"} <= set(masks["responses"])
    names = {
        part["$ref"].rpartition("/")[2]
        for part in (
            masks["requestBody"]["content"]["application/json"]["schema"],
            masks["responses"]["200"]["content"]["application/json"]["schema"],
        )
    }
    assert names == {"MasksRequest", "MasksAnswer"}
    assert names <= set(document["components"]["schemas"])


def test_an_address_or_a_method_that_is_not_there(server: str) -> None:
    refused(call(server, "GET", "/nowhere"), 404, "not_found")
    answer = call(server, "DELETE", "/api/v1/model")
    refused(answer, 405, "method")
    assert "GET" in answer.headers["allow"]


def _chunks(body: bytes) -> bytes:
    """A chunked body as one."""
    joined = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        try:
            count = int(size, 16)
        except ValueError:
            return body  # was not chunked
        joined += rest[:count]
        body = rest[count + 2 :]
    return joined


def _form(*parts: tuple[str, bytes], boundary: str = "----x7") -> tuple[bytes, dict[str, str]]:
    """A form as curl and browsers send it: each part's head and its bytes."""
    lines = [f"--{boundary}\r\n{head}\r\n\r\n".encode() + data + b"\r\n" for head, data in parts]
    kind = f"multipart/form-data; boundary={boundary}"
    return b"".join(lines) + f"--{boundary}--\r\n".encode(), {"Content-Type": kind}


_FIELD = ('Content-Disposition: form-data; name="note"', b"a note\r\n--not the end")
_FILE = 'Content-Disposition: form-data; name="image"; filename="p.png"\r\nContent-Type: image/png'


def test_an_image_in_a_form(server: str) -> None:
    """``curl -F image=@photo.png``, with other fields beside it."""
    data, headers = _form(_FIELD, (_FILE, picture(21)))
    answer = call(server, "POST", "/api/v1/images", body=data, headers=headers)
    assert answer.status == 200, answer.raw
    assert answer.document["image"]["id"] == sent(server, picture(21))


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_a_form_that_curl_sends(server: str, tmp_path: Path) -> None:
    photo = tmp_path / "é.png"
    photo.write_bytes(picture(22))
    address = f"{server.rstrip('/')}/api/v1/images"
    command = ["curl", "-s", "-F", f"image=@{photo}", "-F", "note=one", address]
    made = subprocess.run(command, capture_output=True, check=True, timeout=60)
    assert json.loads(made.stdout)["image"]["id"] == sent(server, picture(22))


@pytest.mark.parametrize(
    ("form", "words"),
    [
        (_form(_FIELD), "no file,"),
        (_form((_FILE, b"1"), (_FILE, b"2")), "2 files,"),
        (_form(*[_FIELD] * 40), "32 parts"),
        (_form(("x" * (1 << 15), b"")), "no head"),
        ((_form((_FILE, b"1"))[0][:-20], _form()[1]), "send it whole"),
        ((b"", _form()[1]), "send it whole"),
        ((_form(_FIELD)[0], {"Content-Type": "multipart/form-data"}), "boundary"),
        ((b"", {"Content-Type": 'Multipart/Form-Data; boundary="é"'}), "boundary"),
    ],
)
def test_a_form_without_one_image(
    server: str, form: tuple[bytes, dict[str, str]], words: str
) -> None:
    data, headers = form
    answer = call(server, "POST", "/api/v1/images", body=data, headers=headers)
    message = refused(answer, 400, "malformed")["message"]
    assert words in message
    assert "curl --data-binary @photo.jpg" in message


def test_a_form_of_no_image(server: str) -> None:
    data, headers = _form((_FILE, b"no image"))
    refused(call(server, "POST", "/api/v1/images", body=data, headers=headers), 422, "image")
