"""A bundle's table of graphs at work: what is handed on, checked, counted, prepared and kept."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from samedge import runtimes
from samedge.bundle import canary as canaries
from samedge.bundle.bundle import Bundle
from samedge.bundle.canary import MIN_COSINE
from samedge.bundle.manifest import Manifest
from samedge.cli import cli
from samedge.errors import (
    BundleError,
    IncompatibleArtifactError,
    InferenceError,
    NotPicklableError,
    OptionError,
    PromptError,
    TensorMismatchError,
)
from samedge.predict.graphs import Graphs
from samedge.predict.predictor import Predictor
from samedge.predict.subjects import artifact_bytes
from samedge.runtimes.base import Backend, Session
from samedge.types import Prompt, Role

pytest.importorskip("onnx")

from tests.predict.copies import CLICK, rewritten
from tests.toys.bundle import (
    MAPS,
    decoder_with_maps,
    encoder_with_maps,
    write_bundle,
)


@pytest.fixture(params=["onnxruntime", "openvino"])
def backend(request: pytest.FixtureRequest) -> Backend:
    found = runtimes.get(request.param)
    if not found.probe().available:
        pytest.skip(found.probe().detail)
    return found


@pytest.fixture
def mapped(tmp_path: Path, backend: Backend) -> Bundle:
    """A bundle whose encoder gives three tensors, all of which the decoder takes."""
    return write_bundle(
        tmp_path / "mapped",
        encoder=encoder_with_maps(),
        decoder=decoder_with_maps(),
        reference=backend,
    )


# ---- the canary's limit


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        ({}, 0.9999),
        ({"threads": 1, "callers": 2, "release_memory": True}, 0.9999),
        ({"inference_precision": "bf16"}, MIN_COSINE),
    ],
)
def test_only_other_arithmetic_loosens_the_canary(
    toy_bundle: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], limit: float
) -> None:
    pytest.importorskip("openvino")
    asked = []
    monkeypatch.setattr(
        canaries,
        "check_canary",
        lambda canary, *_, **__: asked.append((canary.min_cosine, canary.limit(Role.ENCODER))),
    )
    canary = Bundle.open(toy_bundle).canary()
    assert canary is not None
    strict = dataclasses.replace(canary, min_cosine=0.9999, limits={Role.ENCODER: 0.9999})
    monkeypatch.setattr(Bundle, "canary", lambda _: strict)
    backend = runtimes.get("openvino")
    with Predictor(Bundle.open(toy_bundle), backend, options=options) as predictor:
        predictor.check_canary()
    assert asked == [(limit, limit)]


# ---- what goes from one graph to the next


@pytest.mark.parametrize(("kind", "role"), [("inputs", Role.DECODER), ("outputs", Role.ENCODER)])
def test_a_graph_that_opens_under_other_names_is_refused(
    copied: Path, monkeypatch: pytest.MonkeyPatch, kind: str, role: Role
) -> None:
    """As OpenVINO called the text encoder's input by the cast beside it, which it had dropped."""
    backend = runtimes.get("onnxruntime")
    genuine, closed = type(backend).open, []

    def renamed(*args: Any, **options: Any) -> Session:
        session: Any = genuine(*args, **options)
        specs = getattr(session, kind)
        other = dataclasses.replace(specs[0], name="/text/Cast_output_0")
        setattr(session, kind, (other, *specs[1:]))
        session.close = lambda: closed.append(role)
        return session  # type: ignore[no-any-return]

    monkeypatch.setattr(type(backend), "open", renamed)
    message = rf"'onnxruntime' opens the {role} .*{kind} '/text/Cast_output_0'.*expected '"
    with (
        Graphs(Bundle.open(copied), backend) as graphs,
        pytest.raises(IncompatibleArtifactError, match=message),
    ):
        graphs.session(role)
    assert closed == [role]


def test_a_file_that_changes_while_it_is_opened_is_refused(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What runs is what was verified, or nothing."""
    backend = runtimes.get("onnxruntime")
    genuine, closed = type(backend).open, []

    def late(*args: Any, **options: Any) -> Session:
        shutil.copyfile(args[1], tmp_path / "other")
        (tmp_path / "other").rename(args[1])
        session: Any = genuine(*args, **options)
        session.close = lambda: closed.append(True)
        return session  # type: ignore[no-any-return]

    monkeypatch.setattr(type(backend), "open", late)
    with (
        Graphs(Bundle.open(copied), backend) as graphs,
        pytest.raises(BundleError, match="changed since the bundle was opened: open it again"),
    ):
        graphs.session(Role.DECODER)
    assert closed == [True]


def test_every_tensor_that_the_decoder_takes_is_handed_on(
    mapped: Bundle, toy_bundle: Path, backend: Backend, image: np.ndarray
) -> None:
    with (
        Predictor.from_bundle(mapped, backend=backend.name) as predictor,
        Predictor.from_bundle(toy_bundle, backend=backend.name) as plain,
    ):
        assert predictor.check_canary()
        embedding = predictor.encode(image)
        logits, _ = predictor.decode_logits(embedding, [CLICK, Prompt(box=[9, 9, 60, 60])] * 3)
        expected, _ = plain.decode_logits(plain.encode(image), [CLICK, Prompt(box=[9, 9, 60, 60])])
        assert predictor.decode(embedding, CLICK).masks.shape == (1, 96, 128)
    assert set(embedding.tensors) == {"image_embeddings", *MAPS}
    assert embedding.data is embedding.tensors["image_embeddings"]
    fine, coarse = (embedding.tensors[name] for name in MAPS)
    detail = fine.mean(axis=1) + coarse.mean()
    assert np.ptp(detail) > 0.1
    np.testing.assert_allclose(logits[:2] - detail, expected, atol=1e-3)
    np.testing.assert_allclose(logits[4:], logits[:2], atol=1e-4)


def test_a_decoder_gets_no_prompt_that_it_does_not_take(
    tmp_path: Path, toy_bundle: Path, image: np.ndarray
) -> None:
    """A decoder without mask prompts, as EfficientSAM's: its manifest says so."""
    import onnx

    model = onnx.load(toy_bundle / "decoder.onnx")
    taken = {value.name: value for value in model.graph.input}
    for name, value in (("mask_input", np.zeros((1, 1, 16, 16))), ("has_mask_input", np.zeros(1))):
        model.graph.input.remove(taken[name])
        constant = onnx.numpy_helper.from_array(np.asarray(value, np.float32), name)
        model.graph.initializer.append(constant)
    bundle = write_bundle(tmp_path / "b", decoder=model, prompts=["point", "box"])
    with Predictor.from_bundle(bundle) as predictor, Predictor.from_bundle(toy_bundle) as other:
        embedding = predictor.encode(image)
        given, _ = predictor.decode_logits(embedding, [CLICK])
        wanted, _ = other.decode_logits(other.encode(image), [CLICK])
        np.testing.assert_allclose(given, wanted, atol=1e-5)
        with pytest.raises(PromptError, match="has a mask, and this model understands point, box"):
            predictor.decode(embedding, Prompt(mask=np.ones((96, 128), np.bool_)))


def test_a_feed_that_is_missing_is_named(toy_bundle: Path) -> None:
    backend = runtimes.get("onnxruntime")
    with (
        Graphs(Bundle.open(toy_bundle), backend) as graphs,
        pytest.raises(TensorMismatchError, match="missing input 'image'"),
    ):
        graphs.run("encoder", {"picture": np.zeros(1)})


# ---- all graphs are checked and counted


def with_third_graph(folder: Path, role: str, artifact_format: str) -> Bundle:
    """A copy of the decoder as one more graph of a bundle."""
    shutil.copy(folder / "decoder.onnx", folder / "third.onnx")
    manifest: Manifest = Bundle.open(folder).manifest
    decoder, files = manifest.graphs[1], manifest.artifacts[1]
    third = msgspec.structs.replace(
        decoder, role=role, artifact="third.onnx", format=artifact_format
    )
    held = {"third.onnx": files.sha256}
    again = msgspec.structs.replace(files, path="third.onnx", files=held)
    return rewritten(
        folder, graphs=[*manifest.graphs, third], artifacts=[*manifest.artifacts, again]
    )


def test_the_third_graph_is_checked_and_counted(copied: Path) -> None:
    before = Bundle.open(copied)
    bundle = with_third_graph(copied, Role.PROMPTS, "coreml")
    assert bundle.size_bytes == before.size_bytes + bundle.artifact("prompts").bytes
    with pytest.raises(IncompatibleArtifactError, match=r"third\.onnx .* is coreml"):
        Predictor.from_bundle(bundle)
    (copied / "third.onnx").write_bytes(b"altered")
    with pytest.raises(Exception, match=r"third\.onnx has SHA-256"):
        Bundle.open(copied)


def test_a_graph_in_another_dialect_comes_along(copied: Path, image: np.ndarray) -> None:
    before = Bundle.open(copied)
    bundle = with_third_graph(copied, Role.META_DECODER, "other")
    with Predictor.from_bundle(bundle) as predictor:
        assert predictor.predict(image, CLICK).masks.any()
        assert artifact_bytes(predictor) == before.size_bytes


def test_inspect_shows_every_graph(copied: Path) -> None:
    with_third_graph(copied, Role.META_DECODER, "onnx")
    result = CliRunner().invoke(cli, ["inspect", str(copied)], env={"COLUMNS": "250"})
    assert result.exit_code == 0, result.output
    for word in ("encoder.onnx", "decoder.onnx", "meta_decoder", "third.onnx", "point_coords"):
        assert word in result.output


def test_numbers_that_are_none_are_refused_in_every_tensor(
    mapped: Bundle, backend: Backend, image: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Predictor(mapped, backend) as predictor:
        session = predictor.graphs.session("encoder")
        real = session.run

        def spoilt(feeds: Any) -> Any:
            found = dict(real(feeds))
            found["high_res_features_8"] = found["high_res_features_8"] * np.nan
            return found

        monkeypatch.setattr(session, "run", spoilt)
        with pytest.raises(InferenceError, match="NaN or infinity in high_res_features_8"):
            predictor.encode(image)


def test_one_bad_prompt_of_a_batch(toy_bundle: Path, image: np.ndarray) -> None:
    prompts = [
        Prompt(box=[10, 10, 60, 60]),
        Prompt(box=[200, 10, 260, 60]),
        CLICK,
        Prompt(points=[[1, 500]]),
        Prompt(mask=np.ones((5, 5), np.bool_)),
        Prompt(box=[40, 40, 90, 90]),
    ]
    with Predictor.from_bundle(toy_bundle) as predictor:
        embedding = predictor.encode(image)
        with pytest.raises(PromptError, match=r"Prompt 1 of 6: Box .* wholly outside"):
            predictor.decode_batch(embedding, prompts)
        found = predictor.decode_batch(embedding, prompts, on_invalid="skip")
        assert [result is None for result in found] == [False, True, False, True, True, False]
        good = [prompt for prompt, result in zip(prompts, found, strict=True) if result]
        expected = predictor.decode_batch(embedding, good)
        kept = [result for result in found if result is not None]
        for one, other in zip(kept, expected, strict=True):
            assert np.array_equal(one.masks, other.masks)
        assert predictor.decode_batch(embedding, prompts[1:2], on_invalid="skip") == [None]
        with pytest.raises(PromptError, match="Prompt 3 of 6"):
            predictor.decode_logits(embedding, [CLICK] * 3 + [prompts[3]] + [CLICK] * 2)
        with pytest.raises(OptionError, match="'raise' or 'skip'"):
            predictor.decode_batch(embedding, good, on_invalid="ignore")  # type: ignore[call-overload]


@pytest.mark.parametrize("send", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_predictor_is_no_value_to_send(toy_bundle: Path, send: Callable[[Any], Any]) -> None:
    with Predictor.from_bundle(toy_bundle) as predictor:
        if send is copy.copy:
            with pytest.raises(NotPicklableError, match="from_bundle"):
                send(predictor.graphs)
        else:
            with pytest.raises(NotPicklableError, match=r"Predictor\.from_bundle.*pool"):
                send(predictor)
