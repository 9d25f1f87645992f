"""A teacher's embeddings: computed once, kept by what they depend on, learned from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from samedge.distill.coco import CocoFolder
from samedge.distill.data import Part
from samedge.distill.features import FeatureCache, FeatureSamples, FeaturesStep, fill
from samedge.distill.recipe import FeaturesStage
from samedge.distill.teacher import pooled_to_grid, weights_hash
from samedge.errors import DatasetError
from samedge.models.sam import Sam
from tests.distill.training import write_photos
from tests.toys.models import tiny_sam

CPU = torch.device("cpu")
COUNT = 6


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> CocoFolder:
    root = write_photos(tmp_path_factory.mktemp("data"), count=COUNT)
    return CocoFolder(root / "photos")


@pytest.fixture(scope="module")
def teacher() -> Sam:
    return tiny_sam(64, embed_dim=32)


def samples_of(
    photos: CocoFolder, cache: FeatureCache, *, flip: bool = False, teacher_size: int = 64
) -> FeatureSamples:
    return FeatureSamples(
        [Part(photos)],
        FeaturesStage(steps=1, teacher="unused", flip=flip),
        cache=cache,
        image_size=64,
        teacher_size=teacher_size,
        seed=0,
    )


def filled(samples: FeatureSamples, teacher: Sam) -> bool:
    return fill(samples, teacher, device=CPU, bf16=False, batch_size=2)


@pytest.mark.parametrize("flip", [False, True])
def test_samples_carry_the_teachers_embedding_of_their_own_picture(
    tmp_path: Path, photos: CocoFolder, teacher: Sam, flip: bool
) -> None:
    samples = samples_of(photos, FeatureCache.for_teacher(tmp_path, teacher), flip=flip)
    assert filled(samples, teacher)
    files = list(tmp_path.rglob("*.npy"))
    assert len(files) == samples.count == COUNT * (2 if flip else 1)
    for index in range(20):
        sample = samples[index]
        with torch.no_grad():
            expected = teacher.encode(sample["image"][None])[0]
        assert sample["embedding"].dtype == torch.float16
        assert torch.allclose(sample["embedding"].float(), expected, atol=2e-3)
    assert torch.equal(samples[7]["image"], samples[7]["image"])


def test_flips_are_drawn(tmp_path: Path, photos: CocoFolder, teacher: Sam) -> None:
    cache = FeatureCache.for_teacher(tmp_path, teacher)
    samples = samples_of(photos, cache, flip=True)
    filled(samples, teacher)
    pictures = {samples[index]["image"].numpy().tobytes() for index in range(80)}
    assert len(pictures) == 2 * COUNT


def test_an_interrupted_computation_goes_on_where_it_stopped(
    tmp_path: Path, photos: CocoFolder, teacher: Sam, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = samples_of(photos, FeatureCache.for_teacher(tmp_path, teacher))
    stopped = fill(samples, teacher, device=CPU, bf16=False, batch_size=2, must_stop=lambda: True)
    assert not stopped
    assert len(list(tmp_path.rglob("*.npy"))) == 2
    seen: list[int] = []
    encode = Sam.encode

    def counted(self: Sam, image: torch.Tensor) -> torch.Tensor:
        seen.append(len(image))
        return encode(self, image)

    monkeypatch.setattr(Sam, "encode", counted)
    assert filled(samples, teacher)
    assert sum(seen) == COUNT - 2
    assert filled(samples, teacher)
    assert sum(seen) == COUNT - 2


def test_processes_share_the_work(tmp_path: Path, photos: CocoFolder, teacher: Sam) -> None:
    samples = samples_of(photos, FeatureCache.for_teacher(tmp_path, teacher))
    shares = [{path for path, _ in samples.missing(rank=r, world=2)} for r in (0, 1)]
    assert len(shares[0] | shares[1]) == COUNT
    assert not shares[0] & shares[1]


def test_another_teacher_or_size_has_its_own_folder(tmp_path: Path, teacher: Sam) -> None:
    other = tiny_sam(64, embed_dim=32, seed=1)
    larger = tiny_sam(128, embed_dim=32)
    folders = {FeatureCache.for_teacher(tmp_path, t).folder for t in (teacher, other, larger)}
    assert len(folders) == 3
    assert weights_hash(teacher) == weights_hash(tiny_sam(64, embed_dim=32))


def test_the_hash_takes_every_kind_of_tensor() -> None:
    norm = torch.nn.BatchNorm2d(2)  # its counter is an integer without an axis
    before = weights_hash(norm)
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    assert weights_hash(norm) != before


def test_a_damaged_or_missing_file_is_named(
    tmp_path: Path, photos: CocoFolder, teacher: Sam
) -> None:
    samples = samples_of(photos, FeatureCache.for_teacher(tmp_path, teacher))
    with pytest.raises(DatasetError, match=r"\.npy cannot be read"):
        samples[0]
    filled(samples, teacher)
    for file in tmp_path.rglob("*.npy"):
        file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(DatasetError, match="delete it and resume"):
        samples[0]


def test_what_half_precision_cannot_hold_is_refused(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    with pytest.raises(DatasetError, match="which float16 cannot hold"):
        cache.write(tmp_path / "aa/x.npy", torch.full((1, 2, 2), 1e6))


def test_a_larger_teacher_is_averaged_onto_the_students_grid(
    tmp_path: Path, photos: CocoFolder
) -> None:
    teacher = tiny_sam(128, embed_dim=32)
    cache = FeatureCache.for_teacher(tmp_path, teacher)
    samples = samples_of(photos, cache, teacher_size=128)
    filled(samples, teacher)
    embedding = samples[0]["embedding"]
    assert embedding.shape == (32, 8, 8)
    pooled = pooled_to_grid(embedding[None].float(), 4)
    expected = embedding.float().numpy().reshape(32, 4, 2, 4, 2).mean((2, 4))
    assert np.allclose(pooled[0].numpy(), expected, atol=1e-6)


def test_the_student_learns_the_embeddings(
    tmp_path: Path, photos: CocoFolder, teacher: Sam
) -> None:
    samples = samples_of(photos, FeatureCache.for_teacher(tmp_path, teacher))
    filled(samples, teacher)
    student = tiny_sam(64, embed_dim=32, seed=9).requires_grad_(True).train()
    step = FeaturesStep(student, FeaturesStage(steps=1, teacher="unused"), bf16=False)
    batch = torch.utils.data.default_collate([samples[i] for i in range(COUNT)])
    optimizer = torch.optim.AdamW(step.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        loss, metrics = step(batch, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(metrics["loss"]))
    print(f"loss {losses[0]:.3f} -> {losses[-1]:.3f}")
    assert losses[-1] < 0.5 * losses[0]
