"""A second look at what is small, with graphs whose masks are known in advance."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samedge import runtimes
from samedge.bundle.thresholds import Thresholds
from samedge.errors import OptionError, PromptError, UnknownNameError
from samedge.pixels import rle
from samedge.pixels.frames import LOW_RES_STRIDE, View
from samedge.pixels.metrics import mask_iou
from samedge.pixels.regridding import regridded
from samedge.predict import focus
from samedge.predict.everything import AutomaticMask, EverythingConfig, segment_everything
from samedge.predict.everything_focus import refocused
from samedge.predict.everything_masks import Drawn
from samedge.predict.focus import FocusSettings, SecondLook
from samedge.predict.graphs import Graphs
from samedge.predict.predictor import Predictor
from samedge.predict.segmentation import segment_image
from samedge.types import Prompt, Role
from tests.toys.bundle import write_bundle

pytest.importorskip("onnx")

SIZE = (240, 320)
SMALL = (100.0, 80.0, 130.0, 104.0)


@pytest.fixture(scope="module")
def backend() -> str:
    probe = runtimes.get("onnxruntime").probe()
    if not probe.available:
        pytest.skip(probe.detail)
    return "onnxruntime"


@pytest.fixture
def encodes(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Grows by one for each image or part of one that is encoded."""
    seen: list[Any] = []
    real = Predictor._encoded

    def counted(self: Predictor, image: Any, region: Any) -> Any:
        seen.append(region)
        return real(self, image, region)

    monkeypatch.setattr(Predictor, "_encoded", counted)
    return seen


@pytest.fixture
def auto(toy_bundle: Path, backend: str, encodes: list[Any]) -> Iterator[Predictor]:
    with Predictor.from_bundle(toy_bundle, backend=backend, focus="auto") as opened:
        yield opened


@pytest.fixture
def plain(toy_bundle: Path, backend: str) -> Iterator[Predictor]:
    with Predictor.from_bundle(toy_bundle, backend=backend) as opened:
        yield opened


@pytest.fixture
def image(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def filled(box: tuple[float, ...]) -> np.ndarray:
    mask = np.zeros(SIZE, np.bool_)
    x0, y0, x1, y1 = map(int, box)
    mask[y0:y1, x0:x1] = True
    return mask


def test_a_small_box_is_drawn_finer(
    auto: Predictor, plain: Predictor, image: np.ndarray, encodes: list[Any]
) -> None:
    encodes.clear()
    prompt = Prompt(box=SMALL)
    coarse = plain.predict(image, prompt)
    fine = auto.predict(image, prompt)
    assert len(encodes) == 4
    assert mask_iou(filled(SMALL), fine.masks[0]) > mask_iou(filled(SMALL), coarse.masks[0]) + 0.1
    assert coarse.focus is None
    assert fine.focus is not None
    x0, y0, x1, y1 = fine.focus.region
    assert x0 < SMALL[0] < SMALL[2] < x1
    assert y0 < SMALL[1] < SMALL[3] < y1
    assert fine.timing_ms["focus"] > 0


def test_low_res_logits_stay_those_of_the_image(
    auto: Predictor, plain: Predictor, image: np.ndarray
) -> None:
    """Scripts give them back as a mask prompt, and know nothing of regions."""
    box = (100.0, 80.0, 178.0, 140.0)
    fine = auto.predict(image, Prompt(box=box))
    assert fine.focus is not None
    embedding = plain.encode(image)
    again = embedding.view.masks(fine.low_res_logits)[0]
    assert mask_iou(again, filled(box)) > 0.6


def test_a_box_is_seen_mirrored_and_wider_too(
    auto: Predictor, image: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second part is the first one's in the mirrored picture, and its mask comes back."""
    seen: list[tuple[np.ndarray, Any]] = []
    real = Predictor._encoded

    def counted(self: Predictor, pixels: Any, region: Any) -> Any:
        seen.append((pixels, region))
        return real(self, pixels, region)

    monkeypatch.setattr(Predictor, "_encoded", counted)
    fine = auto.predict(image, Prompt(box=SMALL))
    (_, near), (pixels, wide) = seen[1:]
    assert np.array_equal(pixels, image[:, ::-1])
    assert (wide[0] + wide[2]) / 2 == pytest.approx(SIZE[1] - (near[0] + near[2]) / 2, abs=1)
    assert wide[2] - wide[0] == pytest.approx(1.2 * (near[2] - near[0]), abs=1)
    rows, columns = np.nonzero(fine.masks[0])
    assert columns.mean() == pytest.approx((SMALL[0] + SMALL[2]) / 2, abs=1)
    assert rows.mean() == pytest.approx((SMALL[1] + SMALL[3]) / 2, abs=1)
    assert mask_iou(filled(SMALL), fine.masks[0]) > 0.85


def test_the_whole_image_has_a_say_about_a_small_box(
    auto: Predictor, plain: Predictor, image: np.ndarray
) -> None:
    embedding, prompt = auto.encode(image), Prompt(box=SMALL)

    def logits(share: float) -> tuple[np.ndarray, Any]:
        look = SecondLook(
            "auto",
            auto._decoder,
            encode=auto._encoded,
            refine=auto.refine,
            settings=FocusSettings(whole=share),
        )
        (found,) = look.results(embedding, [prompt], multimask=False, skip=False)
        assert found is not None
        assert found.focus is not None
        return found.focus.low_res_logits, found.focus.region

    none, region = logits(0.0)
    whole = plain.decode(plain.encode(image), prompt).low_res_logits
    view = embedding.view
    near = view.frame.view(view.original_size, region=region)
    moved = regridded(whole, source=view, target=near)
    assert not np.allclose(none, moved, atol=0.5)
    np.testing.assert_allclose(logits(0.3)[0], 0.7 * none + 0.3 * moved, rtol=1e-4, atol=1e-4)
    fine = auto.decode(embedding, prompt).focus
    assert fine is not None
    np.testing.assert_allclose(
        fine.low_res_logits, logits(FocusSettings().whole)[0], rtol=1e-5, atol=1e-5
    )


def test_a_medium_box_is_seen_whole_and_mirrored(
    auto: Predictor, plain: Predictor, image: np.ndarray, encodes: list[Any]
) -> None:
    box = (60.0, 40.0, 190.0, 150.0)
    embedding = auto.encode(image)
    result = auto.decode(embedding, Prompt(box=box))
    assert len(encodes) == 2
    assert result.focus is not None
    assert result.focus.region[0] < box[0] < box[2] < result.focus.region[2]
    assert result.timing_ms["focus"] > 0
    assert mask_iou(filled(box), result.masks[0]) >= mask_iou(
        filled(box), plain.predict(image, Prompt(box=box)).masks[0]
    )
    assert auto.decode(embedding, Prompt(box=box), multimask=True).focus is None
    clicks = Prompt(points=[[120, 90]], box=box)
    assert auto.decode(embedding, clicks).focus is not None
    assert len(encodes) == 3  # another image by the plain one; the part is kept


def test_clicks_and_earlier_masks_get_one_look(
    auto: Predictor, image: np.ndarray, encodes: list[Any]
) -> None:
    auto.predict(image, Prompt(mask=filled(SMALL)))
    assert len(encodes) == 2


def test_a_large_box_costs_no_encode(
    auto: Predictor, image: np.ndarray, encodes: list[Any]
) -> None:
    embedding = auto.encode(image)
    result = auto.decode(embedding, Prompt(box=[20, 20, 300, 200]))
    assert result.focus is None
    assert len(encodes) == 1


def test_never_is_the_default_and_keeps_no_pixels(plain: Predictor, image: np.ndarray) -> None:
    assert plain.focus == "never"
    assert plain.encode(image).looks is None


def test_always_looks_again_at_larger_things(
    toy_bundle: Path, backend: str, auto: Predictor, image: np.ndarray
) -> None:
    prompt = Prompt(box=[100, 80, 200, 150], mask=filled((100, 80, 200, 150)))
    with Predictor.from_bundle(toy_bundle, backend=backend, focus="always") as predictor:
        assert predictor.predict(image, prompt).focus is not None
    assert auto.predict(image, prompt).focus is None


def test_neighbours_share_a_part_and_later_clicks_do_too(
    auto: Predictor, image: np.ndarray, encodes: list[Any]
) -> None:
    embedding = auto.encode(image)
    near = (114.0, 82.0, 144.0, 106.0)
    first, second = auto.decode_batch(embedding, [Prompt(box=SMALL), Prompt(box=near)])
    assert len(encodes) == 3  # the image, the part, and the mirrored one
    assert first.focus is not None
    assert second.focus is not None
    assert first.focus.region == second.focus.region
    again = auto.decode(embedding, first.refined([[110, 90], [128, 100]], [1, 0]))
    assert len(encodes) == 3
    assert again.focus is not None
    assert again.focus.region == first.focus.region


def test_the_number_of_parts_is_bounded(
    auto: Predictor, image: np.ndarray, encodes: list[Any]
) -> None:
    auto._second = SecondLook(
        "auto", auto._decoder, encode=auto._encoded, settings=FocusSettings(most_looks=2)
    )
    corners = [(10, 10), (200, 10), (10, 180), (280, 190)]
    boxes = [Prompt(box=[x, y, x + 20, y + 20]) for x, y in corners]
    embedding = auto.encode(image)
    results = auto.decode_batch(embedding, boxes)
    assert len(encodes) == 5  # the image, two parts, and each mirrored
    looked = [result.focus is not None for result in results]
    assert sum(looked) == 2
    for result, (x, y), closer in zip(results, corners, looked, strict=True):
        assert result.masks[0][y + 10, x + 10] or not closer


def test_mirrored_looks_are_bounded_too(
    auto: Predictor, image: np.ndarray, encodes: list[Any]
) -> None:
    settings = FocusSettings(most_looks=2)
    auto._second = SecondLook("auto", auto._decoder, encode=auto._encoded, settings=settings)
    boxes = [Prompt(box=[x, y, x + 20, y + 20]) for x, y in ((10, 10), (280, 190))]
    large = Prompt(box=[60, 40, 190, 150])
    embedding = auto.encode(image)
    results = auto.decode_batch(embedding, [*boxes, large])
    assert len(encodes) == 5
    assert [result.focus is not None for result in results] == [True, True, False]


def test_a_click_looks_again_around_its_first_mask(
    toy_bundle: Path, backend: str, plain: Predictor, image: np.ndarray
) -> None:
    prompt = Prompt(points=[[200, 120]])
    first = plain.predict(image, prompt)
    with Predictor.from_bundle(toy_bundle, backend=backend, focus="always") as predictor:
        again = predictor.predict(image, prompt)
    assert again.focus is not None
    assert again.masks[0][120, 200]
    assert again.masks.sum() < first.masks.sum()  # the toy's discs have a size in the input


def test_the_masks_of_a_box_are_drawn_once(
    auto: Predictor, image: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of its two looks, the answers that refine them, and the whole image only the mean is seen."""
    drawn: list[int] = []
    plain = View.masks

    def counted(view: View, low_res: np.ndarray, *, threshold: float = 0.0) -> np.ndarray:
        drawn.append(len(low_res))
        return plain(view, low_res, threshold=threshold)

    monkeypatch.setattr(View, "masks", counted)
    prompts = [Prompt(box=[190, 110, 210, 130]), Prompt(box=[20, 20, 300, 200])]
    results = auto.decode_batch(auto.encode(image), prompts)
    assert [result.masks.shape[1:] for result in results] == [image.shape[:2]] * 2
    assert drawn == [1, 1]


def test_a_look_that_loses_is_in_the_times(
    auto: Predictor, image: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    auto._second.mode = "always"
    prompt = Prompt(points=[[200, 120]])
    embedding = auto.encode(image)
    (found,) = auto._decoder.results(embedding, [prompt], multimask=False, skip=False)
    assert found is not None
    found = auto._decoder.drawn(found, embedding.view)
    monkeypatch.setattr(focus, "_quality", lambda answer: answer.focus is None)
    kept = auto.decode(embedding, prompt)
    assert kept.focus is None
    assert np.array_equal(kept.masks, found.masks)
    assert kept.timing_ms["focus"] > 0
    Image.fromarray(image).save(tmp_path / "image.png")
    segmented = segment_image(auto, tmp_path / "image.png", prompts=[prompt])
    assert segmented.timing_ms["focus"] > 0


def test_an_earlier_masks_logits_are_cut_where_the_bundle_says(
    tmp_path: Path, backend: str, image: np.ndarray
) -> None:
    write_bundle(tmp_path / "higher", thresholds=Thresholds(mask=2.0))
    with Predictor.from_bundle(tmp_path / "higher", backend=backend, focus="auto") as predictor:
        side = predictor.frame.low_res_side
        logits = np.full((side, side), 1.0, np.float32)  # above 0 everywhere
        low = predictor.frame.view_of(image).input_coords(np.array(SMALL).reshape(2, 2))
        (x0, y0), (x1, y1) = (low / LOW_RES_STRIDE).round().astype(int)
        logits[y0:y1, x0:x1] = 9.0
        assert predictor.predict(image, Prompt(mask=logits)).focus is not None


def _drawn(box: tuple[int, int, int, int]) -> Drawn:
    mask = filled(box)
    middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    area = int(mask.sum())
    made = AutomaticMask(rle.rle_from_mask(mask), box, area, 0.9, 0.9, middle, (0, 0, 320, 240))
    return Drawn(made, np.zeros(1, np.bool_), (0, 0))


def test_everything_takes_closer_looks_a_few_masks_at_a_time(
    auto: Predictor, image: np.ndarray, encodes: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the image were so large that no call may give more than two masks of it."""
    pixels = SIZE[0] * SIZE[1]
    monkeypatch.setenv("SAMEDGE_LIMITS", f"batch_pixels={2 * pixels}")
    monkeypatch.setattr(focus, "_PIXELS_AT_ONCE", 2 * pixels)
    small = [_drawn((x, y, x + 30, y + 24)) for x in (100, 114) for y in (80, 90)]
    found = [_drawn((20, 20, 300, 200)), *small]
    asked: list[int] = []
    real = auto._decoder.results

    def counted(embedding: Any, prompts: Any, **options: Any) -> Any:
        asked.append(len(prompts))
        return real(embedding, prompts, **options)

    monkeypatch.setattr(auto._decoder, "results", counted)
    masks = refocused(auto, auto.encode(image), found=found, min_area=0)
    assert masks[0] is found[0]
    assert all(one.mask.focus is not None for one in masks[1:])
    assert asked == [2] * 4  # nothing about what stays; of the part, and of the mirrored one
    assert len(encodes) == 3


def test_everything_has_a_bound_of_its_own(
    auto: Predictor, image: np.ndarray, encodes: list[Any]
) -> None:
    settings = FocusSettings(most_looks=4, most_unasked=1)
    auto._second = SecondLook("auto", auto._decoder, encode=auto._encoded, settings=settings)
    found = [_drawn((x, y, x + 20, y + 20)) for x, y in ((10, 10), (280, 190))]
    masks = refocused(auto, auto.encode(image), found=found, min_area=0)
    assert sum(one.mask.focus is not None for one in masks) == 1
    assert len(encodes) == 3  # the image, a part, and the mirrored one


def test_everything_encodes_the_whole_image_once(
    auto: Predictor, image: np.ndarray, encodes: list[Any]
) -> None:
    config = EverythingConfig(points_per_side=4, pred_iou_threshold=0.0, stability_threshold=0.0)
    masks = segment_everything(auto, image, config=config)
    assert any(mask.focus is not None for mask in masks)
    assert encodes.count(None) == 1


def test_background_clicks_elsewhere_do_not_matter(auto: Predictor, image: np.ndarray) -> None:
    prompt = Prompt(points=[[115, 92], [310, 230]], labels=[1, 0], box=SMALL)
    result = auto.predict(image, prompt)
    assert result.focus is not None
    assert result.masks[0][92, 115]


def test_background_clicks_alone_get_no_second_look(auto: Predictor, image: np.ndarray) -> None:
    prompt = Prompt(points=[[300, 200], [10, 10]], labels=[0, 0])
    assert auto.predict(image, prompt).focus is None


def test_a_click_on_the_thing_beside_its_box_is_shown(auto: Predictor, image: np.ndarray) -> None:
    result = auto.predict(image, Prompt(points=[[160, 92]], box=SMALL))
    assert result.focus is not None
    assert result.focus.region[2] > 160


def test_an_earlier_mask_is_enough(auto: Predictor, image: np.ndarray) -> None:
    result = auto.predict(image, Prompt(mask=filled(SMALL)))
    assert result.focus is not None
    assert result.focus.region == auto.predict(image, Prompt(box=SMALL)).focus.region  # type: ignore[union-attr]


def test_bad_prompts_are_told_by_their_index_or_skipped(auto: Predictor, image: np.ndarray) -> None:
    embedding = auto.encode(image)
    prompts = [Prompt(box=SMALL), Prompt(box=[900, 900, 910, 910]), Prompt(points=[[5, 5]])]
    with pytest.raises(PromptError, match="Prompt 1 of 3"):
        auto.decode_batch(embedding, prompts)
    found = auto.decode_batch(embedding, prompts, on_invalid="skip")
    assert [result is None for result in found] == [False, True, False]


def test_the_caller_may_reuse_its_buffer(auto: Predictor, image: np.ndarray) -> None:
    embedding = auto.encode(image)
    expected = auto.decode(embedding, Prompt(box=SMALL))
    embedding = auto.encode(image)
    image[:] = 0
    assert np.array_equal(
        auto.decode(embedding, Prompt(box=SMALL)).low_res_logits, expected.low_res_logits
    )


def test_an_embedding_can_be_sent(auto: Predictor, image: np.ndarray) -> None:
    embedding = auto.encode(image)
    here = auto.decode(embedding, Prompt(box=SMALL))
    sent = pickle.loads(pickle.dumps(embedding))
    there = auto.decode(sent, Prompt(box=SMALL))
    assert np.array_equal(here.masks, there.masks)


def test_a_part_given_by_the_caller_is_the_look(auto: Predictor, image: np.ndarray) -> None:
    embedding = auto.encode(image, region=(90, 70, 150, 130))
    assert embedding.looks is None
    assert auto.decode(embedding, Prompt(box=SMALL)).focus is None


def test_multimask_gives_three_of_one_look(auto: Predictor, image: np.ndarray) -> None:
    result = auto.decode(auto.encode(image), Prompt(box=SMALL), multimask=True)
    assert result.masks.shape == (3, *SIZE)
    assert result.focus is not None
    assert result.focus.low_res_logits.shape == result.low_res_logits.shape


def test_unknown_words_and_silly_settings_are_refused(toy_bundle: Path, backend: str) -> None:
    mode: Any = "sometimes"
    with pytest.raises(UnknownNameError, match="auto"):
        Predictor.from_bundle(toy_bundle, backend=backend, focus=mode)
    with pytest.raises(OptionError, match="most_looks"):
        FocusSettings(most_looks=0)
    with pytest.raises(OptionError, match="most_unasked"):
        FocusSettings(most_unasked=0)
    with pytest.raises(OptionError, match="wider"):
        FocusSettings(wider=0.5)


LARGE = Prompt(box=[20, 20, 300, 200])


@pytest.fixture
def decodes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by one for each call of a decoder."""
    calls: list[str] = []
    real = Graphs.run

    def counted(self: Graphs, role: str, feeds: Any) -> Any:
        if role == Role.DECODER:
            calls.append(role)
        return real(self, role, feeds)

    monkeypatch.setattr(Graphs, "run", counted)
    return calls


@pytest.mark.parametrize(
    ("mode", "rounds", "asked"),
    [("never", None, 1), ("never", 1, 2), ("never", 2, 3), ("auto", None, 2), ("auto", 0, 1)],
)
def test_a_box_is_asked_about_again(
    toy_bundle: Path,
    backend: str,
    image: np.ndarray,
    decodes: list[str],
    mode: Any,
    rounds: int | None,
    asked: int,
) -> None:
    with Predictor.from_bundle(
        toy_bundle, backend=backend, focus=mode, refine=rounds, verify=False
    ) as predictor:
        assert predictor.refine == asked - 1
        assert predictor.beside(2).refine == predictor.refine
        embedding = predictor.encode(image)
        predictor.decode(embedding, LARGE)
        assert len(decodes) == asked
        decodes.clear()
        mask = predictor.decode(embedding, LARGE, multimask=True).low_res_logits[0]
        predictor.decode(embedding, Prompt(box=LARGE.box, mask=mask))
        assert len(decodes) == 2  # candidates and earlier masks are not asked about again


def test_both_answers_count(toy_bundle: Path, backend: str, image: np.ndarray) -> None:
    with Predictor.from_bundle(toy_bundle, backend=backend, refine=1) as predictor:
        embedding = predictor.encode(image)
        prompts = [LARGE, Prompt(points=[[50, 50]]), Prompt(box=[-9, -9, -3, -3])]
        found, click, skipped = predictor.decode_batch(embedding, prompts, on_invalid="skip")
        logits, quality = predictor.decode_logits(embedding, [LARGE])
        again = Prompt(box=LARGE.box, mask=2 * logits[0, 0])
        second, rating = predictor.decode_logits(embedding, [again])
        assert found is not None
        assert np.allclose(found.low_res_logits[0], (logits[0, 0] + second[0, 0]) / 2, atol=1e-5)
        assert found.iou_predictions[0] == pytest.approx(rating[0, 0])
        assert not np.array_equal(second, logits), "the toy hears no masks"
        assert quality.shape == rating.shape
        assert click is not None
        assert click.focus is None
        assert skipped is None


def test_rounds_that_cannot_be_are_refused(toy_bundle: Path, backend: str, tmp_path: Path) -> None:
    for count in (9, -1, 1.5):
        rounds: Any = count
        with pytest.raises(OptionError, match=f"refine is {count}, expected"):
            Predictor.from_bundle(toy_bundle, backend=backend, refine=rounds)
    maskless = write_bundle(tmp_path / "maskless", prompts=["point", "box"])
    with pytest.raises(OptionError, match="takes no mask"):
        Predictor.from_bundle(maskless, backend=backend, refine=1)
    with Predictor.from_bundle(maskless, backend=backend, focus="auto") as predictor:
        assert predictor.refine == 0
