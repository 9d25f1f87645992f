"""A device that computes nonsense is found out before the first mask."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge import runtimes
from samedge.bundle import canary as canaries
from samedge.bundle.canary import Canary, canary_images, check_canary, record_canary
from samedge.errors import BundleError
from samedge.machine.identity import machine_identity
from samedge.pixels.frames import Frame
from samedge.predict import trust
from samedge.predict.predictor import Predictor

pytest.importorskip("onnx")

from tests.toys.bundle import FRAME, SIDE, write_bundle

Arrays = Mapping[str, np.ndarray]


def blocks(image: np.ndarray) -> np.ndarray:
    """Means of 16 x 16 blocks, spread over 256 channels."""
    grid = image[0].astype(np.float32).reshape(4, 16, 4, 16, 3).mean(axis=(1, 3)) - 120
    spread = np.random.default_rng(0).normal(size=(256, 3)).astype(np.float32)
    return np.asarray(np.einsum("yxc,kc->kyx", grid, spread)[None])


def encoder(feeds: Arrays) -> dict[str, np.ndarray]:
    return {"image_embeddings": blocks(feeds["image"])}


def decoder(feeds: Arrays) -> dict[str, np.ndarray]:
    low = SIDE // 4
    rows, columns = np.mgrid[:low, :low]
    x, y = feeds["point_coords"][0, 0] / 4
    cone = 5 - np.hypot(columns - x, rows - y) + feeds["image_embeddings"].mean()
    return {"low_res_masks": np.tile(cone.astype(np.float32), (1, 4, 1, 1))}


class Pair:
    """Two functions asked by role."""

    def __init__(self, one: Any = encoder, two: Any = decoder) -> None:
        self.graphs = {"encoder": one, "decoder": two}

    def run(self, role: str, feeds: Arrays) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = self.graphs[role](feeds)
        return found


def check(canary: Canary, one: Any = encoder, two: Any = decoder) -> None:
    check_canary(canary, Pair(one, two), frame=FRAME, where="the abacus")


@pytest.fixture
def canary() -> Canary:
    return record_canary(Pair(), FRAME)


def test_same_answers_pass(canary: Canary) -> None:
    check(canary)
    check(Canary.from_bytes(canary.to_bytes()))


def test_pictures_are_small_different_and_the_same_every_time() -> None:
    images, points = canary_images()
    assert images.shape[0] == 2
    assert images.nbytes < 40_000
    assert not np.array_equal(images[0], images[1])
    assert np.array_equal(images, canary_images()[0])
    for image, (x, y) in zip(images, points.astype(int), strict=True):
        assert image[y, x].std() > 30  # on the coloured shape


def test_file_is_small_at_full_size() -> None:
    rng = np.random.default_rng(0)

    def large_encoder(feeds: Arrays) -> dict[str, np.ndarray]:
        return {"image_embeddings": rng.normal(size=(1, 256, 64, 64)).astype(np.float32)}

    def large_decoder(feeds: Arrays) -> dict[str, np.ndarray]:
        return {"low_res_masks": rng.normal(size=(1, 4, 256, 256)).astype(np.float32)}

    data = record_canary(Pair(large_encoder, large_decoder), Frame(target_length=1024)).to_bytes()
    assert len(data) < 2_000_000


def test_rounding_passes(canary: Canary) -> None:
    def rounded(feeds: Arrays) -> dict[str, np.ndarray]:
        embedding = encoder(feeds)["image_embeddings"]
        return {"image_embeddings": embedding.astype(np.float16).astype(np.float32) * 1.01}

    check(canary, rounded)


def test_constant_embedding_is_found(canary: Canary) -> None:
    def constant(feeds: Arrays) -> dict[str, np.ndarray]:
        return {"image_embeddings": canary_embedding}

    canary_embedding = encoder({"image": np.zeros((1, SIDE, SIDE, 3), np.uint8)})[
        "image_embeddings"
    ]
    with pytest.raises(BundleError, match="abacus the encoder gives the same embedding"):
        check(canary, constant)
    with pytest.raises(BundleError, match="reference the encoder gives the same embedding"):
        record_canary(Pair(constant), FRAME)


def test_nearly_constant_embedding_is_found(canary: Canary) -> None:
    def dull(feeds: Arrays) -> dict[str, np.ndarray]:
        return {"image_embeddings": canary_mean + 0.01 * encoder(feeds)["image_embeddings"]}

    canary_mean = canary.answers["encoder"]["image_embeddings"].mean(axis=0, keepdims=True)
    with pytest.raises(BundleError, match="nearly the same embedding"):
        check(canary, dull)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_found(canary: Canary, value: float) -> None:
    def broken(feeds: Arrays) -> dict[str, np.ndarray]:
        embedding = encoder(feeds)["image_embeddings"].copy()
        embedding[0, 7] = value
        return {"image_embeddings": embedding}

    def broken_decoder(feeds: Arrays) -> dict[str, np.ndarray]:
        return {"low_res_masks": decoder(feeds)["low_res_masks"] * value}

    with pytest.raises(BundleError, match="of image_embeddings are NaN or infinite"):
        check(canary, broken)
    with pytest.raises(BundleError, match="of low_res_masks are NaN or infinite"):
        check(canary, two=broken_decoder)


def test_swapped_channels_are_found(canary: Canary) -> None:
    with pytest.raises(BundleError, match=r"image_embeddings of canary picture 0.*cosine"):
        check(canary, lambda feeds: encoder({"image": feeds["image"][..., ::-1]}))


def test_wrong_masks_are_found(canary: Canary) -> None:
    def shifted(feeds: Arrays) -> dict[str, np.ndarray]:
        return {"low_res_masks": np.roll(decoder(feeds)["low_res_masks"], 5, axis=-1)}

    with pytest.raises(BundleError, match=r"low_res_masks of canary picture 0"):
        check(canary, two=shifted)


def test_other_shapes_are_found(canary: Canary) -> None:
    answers = {
        "encoder": {"image_embeddings": canary.answers["encoder"]["image_embeddings"][:, :100]},
        "decoder": canary.answers["decoder"],
    }
    fewer = dataclasses.replace(canary, answers=answers)
    with pytest.raises(BundleError, match=r"\(100, 4, 4\)|shape"):
        check(fewer)


def test_every_tensor_of_the_encoder_is_compared() -> None:
    def two_maps(feeds: Arrays) -> dict[str, np.ndarray]:
        coarse = blocks(feeds["image"])
        return {"image_embeddings": coarse, "fine": np.repeat(coarse, 2, axis=-1)}

    def other_map(feeds: Arrays) -> dict[str, np.ndarray]:
        return {**two_maps(feeds), "fine": two_maps(feeds)["fine"][..., ::-1]}

    canary = Canary.from_bytes(record_canary(Pair(two_maps), FRAME).to_bytes())
    check(canary, two_maps)
    with pytest.raises(BundleError, match="fine of canary picture 0"):
        check(canary, other_map)
    with pytest.raises(BundleError, match="expects fine of the encoder"):
        check(canary)


def test_a_graph_is_held_to_the_limit_of_its_own_precision(canary: Canary) -> None:
    """Of a bundle whose encoder alone is INT8, what computes in float stays as near as that."""

    def bent(feeds: Arrays) -> dict[str, np.ndarray]:
        found = blocks(feeds["image"])
        return {"image_embeddings": found + 0.1 * found.std() * np.sign(found[..., ::-1])}

    loose = dataclasses.replace(canary, min_cosine=0.9)
    check(loose, bent)
    strict = dataclasses.replace(loose, limits={"encoder": 0.9999})
    stored = Canary.from_bytes(strict.to_bytes())
    assert stored.limits == {"encoder": 0.9999}
    assert (stored.limit("encoder"), stored.limit("decoder")) == (0.9999, 0.9)
    with pytest.raises(BundleError, match=r"cosine 0\.99\d\d, limit 0\.9999"):
        check(stored, bent)
    check(stored.loosened(0.95), bent)
    assert stored.loosened(0.95).limit("decoder") == 0.9


def test_pictures_are_padded_as_the_frame_says() -> None:
    """A canary that was recorded with another padding than the bundle's is found out."""
    black = Frame(target_length=SIDE, pad_value=(0, 0, 0))
    canary = record_canary(Pair(), black)
    check_canary(canary, Pair(), frame=black, where="here")
    with pytest.raises(BundleError, match="image_embeddings of canary picture"):
        check(canary)


def test_answers_past_the_end_of_half_precision_are_kept() -> None:
    """Stored as infinity, they would have no cosine, and any answer would pass."""

    def large(feeds: Arrays) -> dict[str, np.ndarray]:
        return {"low_res_masks": decoder(feeds)["low_res_masks"] * np.float32(1e5)}

    def opposite(feeds: Arrays) -> dict[str, np.ndarray]:
        return {"low_res_masks": -large(feeds)["low_res_masks"]}

    stored = Canary.from_bytes(record_canary(Pair(two=large), FRAME).to_bytes())
    check(stored, two=large)
    with pytest.raises(BundleError, match="low_res_masks of canary picture 0"):
        check(stored, two=opposite)


def test_an_answer_without_a_number_passes_nothing(canary: Canary) -> None:
    endless = {name: array * np.inf for name, array in canary.answers["decoder"].items()}
    answers = {**canary.answers, "decoder": endless}
    with (
        np.errstate(invalid="ignore"),
        pytest.raises(BundleError, match="low_res_masks of canary picture 0"),
    ):
        check(dataclasses.replace(canary, answers=answers))


@pytest.mark.parametrize("data", [b"", b"no archive"])
def test_unreadable_file(data: bytes) -> None:
    with pytest.raises(BundleError, match=r"canary\.npz cannot be read"):
        Canary.from_bytes(data)


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    np.savez(tmp_path / "canary.npz", images=np.array([{}], dtype=object))
    with pytest.raises(BundleError, match="cannot be read"):
        Canary.from_bytes((tmp_path / "canary.npz").read_bytes())


def test_one_picture_is_not_enough(canary: Canary) -> None:
    alone = dataclasses.replace(canary, images=canary.images[:1])
    with pytest.raises(BundleError, match="two images"):
        Canary.from_bytes(alone.to_bytes())


# ---- at load


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Where the canary ran; with a cache that no other test has filled."""
    monkeypatch.setenv("SAMEDGE_CACHE", str(tmp_path / "cache"))
    places: list[str] = []
    real = canaries.check_canary

    def check_and_note(*arguments: Any, **options: Any) -> None:
        places.append(options["where"])
        real(*arguments, **options)

    monkeypatch.setattr(canaries, "check_canary", check_and_note)
    return places


def test_canary_runs_once_a_place(toy_bundle: Path, watched: list[str]) -> None:
    Predictor.from_bundle(toy_bundle).close()
    assert len(watched) == 1
    assert watched[0].startswith("onnxruntime ")
    Predictor.from_bundle(toy_bundle).close()
    assert len(watched) == 1
    Predictor.from_bundle(toy_bundle, threads=1).close()
    assert len(watched) == 2
    if "openvino" in runtimes.available("onnx"):
        Predictor.from_bundle(toy_bundle, backend="openvino").close()
        assert len(watched) == 3
    Predictor.from_bundle(toy_bundle, verify=False).close()
    assert len(watched) <= 3


@pytest.mark.parametrize("changed", ["machine", "system", "processor", "drivers"])
def test_canary_runs_again_on_what_is_another_machine(
    toy_bundle: Path, watched: list[str], monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    Predictor.from_bundle(toy_bundle).close()
    other = {**machine_identity(), changed: "after an update"}
    monkeypatch.setattr(trust, "machine_identity", lambda: other)
    Predictor.from_bundle(toy_bundle).close()
    assert len(watched) == 2
    Predictor.from_bundle(toy_bundle).close()
    assert len(watched) == 2


def test_canary_runs_again_with_another_build_of_the_library(
    toy_bundle: Path, watched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Predictor.from_bundle(toy_bundle, backend="onnxruntime").close()
    backend = type(runtimes.get("onnxruntime"))
    monkeypatch.setattr(backend, "build", lambda *_: ("another build",))
    Predictor.from_bundle(toy_bundle, backend="onnxruntime").close()
    assert len(watched) == 2


def test_cache_that_cannot_be_written_lasts_for_the_process(
    toy_bundle: Path, watched: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("SAMEDGE_CACHE", str(tmp_path / "file"))
    for _ in range(2):
        Predictor.from_bundle(toy_bundle).close()
    assert len(watched) == 1


def test_wrong_arithmetic_is_an_error_every_time(
    toy_bundle: Path, watched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = type(runtimes.get("onnxruntime")).open(
        runtimes.get("onnxruntime"), toy_bundle / "encoder.onnx"
    )
    real = type(session)._run

    def constant(self: Any, feeds: Arrays) -> dict[str, np.ndarray]:
        return {name: np.ones_like(array) for name, array in real(self, feeds).items()}

    monkeypatch.setattr(type(session), "_run", constant)
    for _ in range(2):
        with pytest.raises(BundleError, match="the same embedding"):
            Predictor.from_bundle(toy_bundle)
    assert len(watched) == 2


def test_bundle_without_canary_is_opened(tmp_path: Path, watched: list[str]) -> None:
    write_bundle(tmp_path / "b")
    Predictor.from_bundle(tmp_path / "b").close()
    assert watched == []
