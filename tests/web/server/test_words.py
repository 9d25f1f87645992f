"""Words over HTTP: what is known, what is found, what is said where nothing is."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import samedge
from samedge.errors import PromptError
from samedge.predict import everything
from samedge.predict.words.choosing import proposing
from samedge.web.server.running import running
from samedge.web.server.settings import ServeSettings
from tests.predict.words.test_finding import COLOURS, PLACES, REGIONS, SIZE
from tests.toys.words import proposals_of, write_words_bundle
from tests.web.server.conftest import call, refused, sent


def red_picture() -> bytes:
    """A grey picture with a red square, as PNG."""
    pixels = np.full((*SIZE, 3), 128, np.uint8)
    x0, y0, x1, y1 = PLACES["red"]
    pixels[y0:y1, x0:x1] = COLOURS["red"]
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def knowing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server over the toy bundle with words, whose everything mode finds the three places."""

    def proposed(*args: object, **options: object) -> object:
        progress = options.get("progress")
        if callable(progress):
            progress(1, 1)
        return proposals_of(REGIONS)

    folder = tmp_path_factory.mktemp("words") / "toy"
    write_words_bundle(folder)
    with (
        pytest.MonkeyPatch.context() as patch,
        samedge.Predictor.from_bundle(folder) as opened,
        running(opened, ServeSettings(port=0, stop_s=5)) as address,
    ):
        patch.setattr(everything, "proposals", proposed)
        yield address


def test_the_words_that_are_known(knowing: str, server: str) -> None:
    answer = call(knowing, "GET", "/api/v1/words").document
    assert [word["name"] for word in answer["words"]] == ["blue", "green", "red"]
    assert answer["words"][0]["off"] == "it is never right"
    assert answer["words"][2]["synonyms"] == ["crimson", "ruby ball"]
    assert not answer["reads_phrases"]
    assert "text" in call(knowing, "GET", "/api/v1/model").document["prompts"]
    assert call(server, "GET", "/api/v1/words").document["words"] == []  # a model without


def test_words_beside_other_prompts(knowing: str) -> None:
    path = f"/api/v1/images/{sent(knowing, red_picture())}/masks"
    asked = [{"text": "reds"}, {"points": [[5, 5]]}, {"text": "green"}]
    answer = call(knowing, "POST", path, body={"prompts": asked}).document
    first, second = answer["masks"]
    assert (first["prompt"]["index"], second["prompt"]["index"]) == (0, 1)
    assert (first["category"], first["area"]) == ("red", int(REGIONS[0].mask.sum()))
    assert first["word_score"] > 0.5
    assert "category" not in second
    assert [(word["word"], word["found"]) for word in answer["words"]] == [("red", 1), ("green", 0)]
    assert 0 < answer["words"][1]["best_score"] < 0.5
    plain = call(knowing, "POST", path, body={"prompts": asked[1:2]}).document
    assert "words" not in plain


def test_a_stream_with_its_progress(knowing: str, tmp_path: Path) -> None:
    path = f"/api/v1/images/{sent(knowing, red_picture())}/find"
    body = {"text": "red, green", "low_res_logits": True}
    answer = call(knowing, "POST", path, body=body)
    lines = [json.loads(line) for line in answer.body.splitlines() if line.startswith(b"{")]
    assert [line["type"] for line in lines] == ["started", "progress", "mask", "completed"]
    with samedge.Predictor.from_bundle(write_words_bundle(tmp_path / "toy")) as opened:
        few = proposing(opened.manifest)  # as all words are asked for, and not as for everything
    assert lines[0]["batches"] == everything.batch_count(SIZE, few)
    assert lines[2]["mask"]["category"] == "red"
    assert lines[2]["low_res_logits"]
    assert [word["found"] for word in lines[3]["words"]] == [1, 0]
    strict = call(knowing, "POST", path, body={"text": "red", "score": 1 - 1e-9})
    assert b'"type":"mask"' not in strict.body


@pytest.mark.parametrize(
    ("text", "said"),
    [("gren", "'green'"), ("the largest red", "is not understood"), ("blue", "is never right")],
)
def test_what_is_not_understood_is_said(knowing: str, text: str, said: str) -> None:
    image = f"/api/v1/images/{sent(knowing, red_picture())}"
    for path, body in (
        (f"{image}/find", {"text": text}),
        (f"{image}/masks", {"prompts": [{"text": text}]}),
    ):
        answer = call(knowing, "POST", path, body=body)
        assert said in refused(answer, 422, "prompt")["message"]


def test_what_words_cannot(knowing: str, server: str) -> None:
    image = f"/api/v1/images/{sent(knowing, red_picture())}"
    both = {"prompts": [{"text": "red", "points": [[1, 1]]}]}
    refused(call(knowing, "POST", f"{image}/masks", body=both), 422, "prompt")
    three = {"prompts": [{"text": "red"}], "multimask": True}
    refused(call(knowing, "POST", f"{image}/masks", body=three), 422, "prompt")
    refused(call(knowing, "POST", f"{image}/logits", body={"text": "red"}), 422, "prompt")
    without = f"/api/v1/images/{sent(server)}/find"
    answer = refused(call(server, "POST", without, body={"text": "red"}), 422, "prompt")
    assert "--words" in answer["message"]


def test_the_python_client(knowing: str) -> None:
    heard: list[tuple[int, int]] = []
    with samedge.Client(knowing) as client:
        assert [word["name"] for word in client.words()["words"]] == ["blue", "green", "red"]
        image = client.image(red_picture())
        found = image.find("crimson, green", progress=lambda *step: heard.append(step))
        assert [mask.category for mask in found.masks] == ["red"]
        assert np.array_equal(found.masks[0].mask, REGIONS[0].mask)
        assert [(answer.asked, answer.found) for answer in found.words] == [
            ("crimson", 1),
            ("green", 0),
        ]
        assert heard == [(1, 1)]
        image.forget()
        (mask,) = image.segment(samedge.Prompt(text="red"))
        assert mask.category == "red"
        with pytest.raises(PromptError, match="green"):
            image.find("gren")


def test_the_document_tells_of_words(knowing: str) -> None:
    document = call(knowing, "GET", "/openapi.json").document
    prompt = document["components"]["schemas"]["PromptMessage"]
    assert "text" in prompt["properties"]
    assert "/api/v1/images/{image_id}/find" in document["paths"]
    assert "/api/v1/words" in document["paths"]
