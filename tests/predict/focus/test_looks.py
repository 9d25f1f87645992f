"""A second look at what is small, with graphs whose masks are known in advance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samedge.bundle.thresholds import Thresholds
from samedge.pixels.frames import LOW_RES_STRIDE, View
from samedge.pixels.metrics import mask_iou
from samedge.pixels.regridding import regridded
from samedge.predict import focus
from samedge.predict.focus import FocusSettings, SecondLook
from samedge.predict.predictor import Predictor
from samedge.predict.segmentation import segment_image
from samedge.types import Prompt
from tests.predict.focus.scene import SIZE, SMALL, filled
from tests.toys.bundle import write_bundle

pytest.importorskip("onnx")


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
