"""J, F and their means against hand-made cases, and against a second implementation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samedge.errors import DatasetError, ImageError, OptionError
from samedge.evaluation import video
from samedge.evaluation.video import VideoSubject, evaluate_video, load_sequences, score_sequence
from samedge.evaluation.video_metrics import (
    contour,
    contour_accuracy,
    dilated,
    region_similarity,
    statistics,
)
from samedge.records import Subject
from samedge.types import Prompt

SIZE = (60, 90)


def blob(rng: np.random.Generator, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A ragged mask, sometimes empty, sometimes at the border."""
    coarse = rng.random((size[0] // 6, size[1] // 6)) < rng.choice([0.0, 0.05, 0.3, 0.6, 1.0])
    mask = np.kron(coarse, np.ones((6, 6), bool))
    return np.asarray(np.roll(mask, rng.integers(-3, 4, 2), (0, 1)))


# ---- the second implementation: pixel by pixel, from the protocol's words


def second_contour(mask: np.ndarray) -> np.ndarray:
    height, width = mask.shape
    edge = np.zeros_like(mask)
    for y in range(height):
        for x in range(width):
            others = [
                mask[y + dy, x + dx]
                for dy, dx in ((0, 1), (1, 0), (1, 1))
                if y + dy < height and x + dx < width
            ]
            edge[y, x] = any(other != mask[y, x] for other in others)
    return edge


def second_f(truth: np.ndarray, predicted: np.ndarray) -> float:
    radius = int(np.ceil(0.008 * np.linalg.norm(truth.shape)))
    wanted, given = np.argwhere(second_contour(truth)), np.argwhere(second_contour(predicted))
    if not len(wanted) and not len(given):
        return 1.0
    if not len(wanted) or not len(given):
        return 0.0
    distance = ((wanted[:, None] - given[None]) ** 2).sum(-1)
    recall = (distance.min(1) <= radius**2).mean()
    precision = (distance.min(0) <= radius**2).mean()
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


def test_f_equals_the_second_implementation(rng: np.random.Generator) -> None:
    seen = set()
    for _ in range(40):
        truth, predicted = blob(rng), blob(rng)
        wanted = second_f(truth, predicted)
        assert contour_accuracy(truth, predicted) == pytest.approx(wanted, abs=1e-12)
        seen.add(round(wanted, 1))
    assert len(seen) > 3


@pytest.mark.parametrize("size", [(150, 260), (17, 23)])
def test_f_with_larger_and_smaller_tolerances(
    rng: np.random.Generator, size: tuple[int, int]
) -> None:
    for _ in range(4):
        truth = np.zeros(size, bool)
        predicted = np.zeros(size, bool)
        y, x = rng.integers(2, 9, 2)
        truth[y : y + size[0] // 2, x : x + size[1] // 2] = True
        predicted[y + 2 : y + 1 + size[0] // 2, x : x + 5 + size[1] // 2] = True
        wanted = second_f(truth, predicted)
        assert contour_accuracy(truth, predicted) == pytest.approx(wanted, abs=1e-12)


def test_dilation_is_a_disk(rng: np.random.Generator) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    for radius in (1, 2, 5, 8):
        y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
        disk = x**2 + y**2 <= radius**2
        mask = rng.random(SIZE) < 0.01
        np.testing.assert_array_equal(dilated(mask, radius), ndimage.binary_dilation(mask, disk))
    assert not dilated(np.zeros(SIZE, bool), 3).any()


def test_contours_at_the_border(rng: np.random.Generator) -> None:
    for mask in (blob(rng), np.ones(SIZE, bool), np.zeros(SIZE, bool), np.eye(*SIZE, dtype=bool)):
        np.testing.assert_array_equal(contour(mask), second_contour(mask))


def test_hand_made_cases() -> None:
    empty, full = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
    full[10:30, 20:60] = True
    shifted = np.roll(full, 1, 1)
    far = np.roll(full, 25, 0)
    assert region_similarity(empty, empty) == contour_accuracy(empty, empty) == 1
    assert region_similarity(empty, full) == contour_accuracy(empty, full) == 0
    assert region_similarity(full, empty) == contour_accuracy(full, empty) == 0
    assert region_similarity(full, full) == contour_accuracy(full, full) == 1
    assert region_similarity(full, shifted) == pytest.approx(39 / 41)
    assert contour_accuracy(full, shifted) == 1  # within ceil(0.008 * 108) = 1 pixel
    assert region_similarity(full, far) == 0
    assert contour_accuracy(full, far) < 0.1


def test_statistics_of_one_object() -> None:
    found = statistics([0.9, 0.9, 0.6, 0.6, 0.5, 0.4, 0.2, 0.1])
    assert found.mean == pytest.approx(0.525)
    assert found.recall == pytest.approx(0.5)  # above one half, not at it
    # borders at frames 0, 2, 4, 5, 7: the quarters share them
    assert found.decay == pytest.approx(np.mean([0.9, 0.9, 0.6]) - np.mean([0.4, 0.2, 0.1]))
    assert statistics([0.7]).decay == 0


# ---- whole folders


def write_video(folder: Path, name: str, masks: Sequence[np.ndarray], *, palette: bool) -> None:
    """Frames are the masks in grey, so that a follower can read the truth from the picture."""
    for part in ("JPEGImages", "Annotations"):
        (folder / part / "480p" / name).mkdir(parents=True)
    for index, mask in enumerate(masks):
        grey = np.repeat(mask.astype(np.uint8)[..., None] * 40, 3, axis=2)
        Image.fromarray(grey).save(folder / "JPEGImages/480p" / name / f"{index:05d}.png")
        picture = Image.fromarray(mask.astype(np.uint8), "P" if palette else "L")
        if palette:
            picture.putpalette([0, 0, 0, 128, 0, 0] * 128)
        picture.save(folder / "Annotations/480p" / name / f"{index:05d}.png")


def moving(count: int, *, value: int = 1, step: int = 2) -> list[np.ndarray]:
    frames = []
    for index in range(count):
        mask = np.zeros(SIZE, np.uint8)
        mask[20:40, 10 + step * index : 30 + step * index] = value
        frames.append(mask)
    return frames


class Still:
    """Holds the first masks."""

    def follow(
        self, images: Iterator[np.ndarray], prompts: Sequence[Prompt]
    ) -> Iterator[list[np.ndarray]]:
        first = [self.mask(prompt) for prompt in prompts]
        for _ in images:
            yield first

    @staticmethod
    def mask(prompt: Prompt) -> np.ndarray:
        if prompt.mask is not None:
            return np.asarray(prompt.mask)
        mask = np.zeros(SIZE, bool)
        if prompt.box is not None:
            x0, y0, x1, y1 = prompt.box.astype(int)
        else:
            (x0, y0), (x1, y1) = prompt.points[0].astype(int), prompt.points[0].astype(int) + 1
        mask[y0:y1, x0:x1] = True
        return mask


class Seer:
    """Reads the truth from the pictures, but for the first and the last frame."""

    def follow(
        self, images: Iterator[np.ndarray], prompts: Sequence[Prompt]
    ) -> Iterator[list[np.ndarray]]:
        for index, image in enumerate(images):
            found = [image[..., 0] == 40 * (number + 1) for number in range(len(prompts))]
            yield [np.zeros_like(mask) for mask in found] if index in (0, 9) else found


def subject(follower: video.Follower) -> VideoSubject:
    return VideoSubject(Subject(bundle="toy", backend="numpy"), follower, "toy")


def test_the_first_and_the_last_frame_do_not_count(tmp_path: Path) -> None:
    write_video(tmp_path, "a", moving(10), palette=True)
    rows, dataset = evaluate_video([subject(Seer())], load_sequences(tmp_path), prompts=["mask"])
    assert (rows[0].j, rows[0].f, rows[0].jf, rows[0].j_recall) == (1, 1, 1, 1)
    assert (rows[0].n, rows[0].videos, rows[0].frames) == (1, 1, 10)
    assert (dataset.images, dataset.instances) == (10, 1)


def test_a_gap_among_the_frames_is_said_and_recorded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_video(tmp_path, "a", moving(10), palette=True)
    write_video(tmp_path, "b", moving(10), palette=True)
    for path in tmp_path.rglob("a/0000[56].*"):
        path.unlink()
    _, dataset = evaluate_video([subject(Still())], load_sequences(tmp_path), prompts=["mask"])
    assert caplog.text.count("2 are missing (00005 to 00006)") == 1
    (warning,) = dataset.warnings
    assert warning.startswith("a: of its numbered pictures 2 are missing (00005 to 00006)")


def test_a_mask_held_still_by_hand(tmp_path: Path) -> None:
    write_video(tmp_path, "a", moving(6), palette=True)
    scores = score_sequence(Still(), load_sequences(tmp_path)[0], prompt="mask")
    # Twenty pixels wide, moved by 2, 4, 6 and 8: the overlap shrinks by as much.
    by_hand = [(20 - move) / (20 + move) for move in (2, 4, 6, 8)]
    assert scores[0].region.mean == pytest.approx(np.mean(by_hand))
    assert 0 < scores[0].contour.mean < 1


def test_objects_count_the_same_whatever_their_video(tmp_path: Path) -> None:
    still, moved = moving(6, step=0), moving(6, value=2)
    both = [np.where(second > 0, second, first) for first, second in zip(still, moved, strict=True)]
    for mask in both:
        mask[50:, 60:] = 1
    write_video(tmp_path, "two", both, palette=True)
    write_video(tmp_path, "one", moving(6, step=1), palette=True)
    sequences = load_sequences(tmp_path)
    rows, _ = evaluate_video([subject(Still())], sequences, prompts=["mask", "box", "click"])
    scores = [s for found in sequences for s in score_sequence(Still(), found, prompt="mask")]
    assert len(scores) == 3
    assert rows[0].j == pytest.approx(np.mean([score.region.mean for score in scores]))
    assert rows[0].jf == pytest.approx((rows[0].j + rows[0].f) / 2)
    assert set(rows[0].jf_by_video) == {"one", "two"}
    assert [row.prompt for row in rows] == ["mask", "box", "click"]
    assert rows[2].j < rows[0].j


def test_an_object_that_leaves_is_an_empty_mask(tmp_path: Path) -> None:
    masks = [*moving(3), *[np.zeros(SIZE, np.uint8)] * 3]
    write_video(tmp_path, "a", masks, palette=True)
    seer = score_sequence(Seer(), load_sequences(tmp_path)[0], prompt="box")
    assert seer[0].region.mean == seer[0].contour.mean == 1
    still = score_sequence(Still(), load_sequences(tmp_path)[0], prompt="box")
    assert still[0].region.mean < 0.5


def test_white_is_an_object_alone_and_void_beside_others(tmp_path: Path) -> None:
    write_video(tmp_path, "white", moving(3, value=255), palette=False)
    marked = moving(3)
    for mask in marked:
        mask[0, 0] = 255
    write_video(tmp_path, "void", marked, palette=True)
    found = {one.name: one.objects(0) for one in load_sequences(tmp_path)}
    assert list(found["white"]) == [1]
    assert found["white"][1].sum() == 400
    assert list(found["void"]) == [1]
    assert not found["void"][1][0, 0]


def test_folders_without_a_resolution(tmp_path: Path) -> None:
    write_video(tmp_path, "a", moving(3), palette=True)
    for part in ("JPEGImages", "Annotations"):
        (tmp_path / part / "480p" / "a").rename(tmp_path / part / "a")
        (tmp_path / part / "480p").rmdir()
    assert [one.name for one in load_sequences(tmp_path)] == ["a"]


def test_what_is_no_such_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="has no folder JPEGImages"):
        load_sequences(tmp_path)
    write_video(tmp_path, "a", moving(4), palette=True)
    lone = tmp_path / "Annotations/480p/a/00003.png"
    lone.unlink()
    with pytest.raises(DatasetError, match=r"4 pictures and .* 3 masks"):
        load_sequences(tmp_path)
    for path in sorted((tmp_path / "JPEGImages/480p/a").iterdir())[2:]:
        path.unlink()
    (tmp_path / "Annotations/480p/a/00002.png").unlink()
    with pytest.raises(DatasetError, match="holds 2 frames, expected 3"):
        load_sequences(tmp_path)


def test_a_mask_that_is_none_is_said(tmp_path: Path) -> None:
    write_video(tmp_path, "a", moving(4), palette=True)
    mask = tmp_path / "Annotations/480p/a/00000.png"
    whole = mask.read_bytes()
    for content in (b"no picture", whole[: len(whole) // 2]):
        mask.write_bytes(content)
        with pytest.raises(ImageError, match=r"00000\.png"):
            score_sequence(Still(), load_sequences(tmp_path)[0], prompt="mask")


def test_a_video_without_an_object_is_said(tmp_path: Path) -> None:
    write_video(tmp_path, "a", [np.zeros(SIZE, np.uint8)] * 3, palette=True)
    with pytest.raises(DatasetError, match="shows no object"):
        score_sequence(Still(), load_sequences(tmp_path)[0], prompt="mask")


def test_masks_of_another_resolution_than_the_pictures_are_said(tmp_path: Path) -> None:
    write_video(tmp_path, "a", moving(4), palette=False)
    for path in (tmp_path / "Annotations").rglob("*.png"):
        Image.open(path).resize((45, 30)).save(path)
    with pytest.raises(DatasetError, match="of one resolution belong together"):
        score_sequence(Still(), load_sequences(tmp_path)[0], prompt="box")


def test_a_video_that_cannot_be_used_is_named_and_the_others_count(tmp_path: Path) -> None:
    """One broken file ended hours of work."""
    for name in ("broken", "nothing", "sound", "small"):
        masks = [np.zeros(SIZE, np.uint8)] * 4 if name == "nothing" else moving(4)
        write_video(tmp_path, name, masks, palette=False)
    (tmp_path / "JPEGImages/480p/broken/00002.png").write_bytes(b"no picture")
    Image.new("L", (45, 30)).save(tmp_path / "Annotations/480p/small/00003.png")
    subject = VideoSubject(Subject(bundle="still", backend="none"), Still(), "none")
    rows, dataset = evaluate_video([subject], load_sequences(tmp_path), prompts=["mask"])
    assert (rows[0].videos, rows[0].n, dataset.images) == (1, 1, 4)
    assert list(rows[0].jf_by_video) == ["sound"]
    assert list(dataset.failed) == ["broken", "nothing", "small"]
    assert all(one.error.remedy for one in dataset.failures)
    others = [one for one in load_sequences(tmp_path) if one.name != "sound"]
    with pytest.raises(DatasetError, match=r"No video can be used: .*00002\.png"):
        evaluate_video([subject], others, prompts=["mask"])


def test_prompts_as_people_type_them() -> None:
    assert video.parse_prompts("box, mask,box") == ("box", "mask")
    with pytest.raises(OptionError, match="'boxes' is not a list"):
        video.parse_prompts("boxes")
