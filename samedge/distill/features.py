"""A teacher's embeddings, computed once and kept on disk in half precision.

An embedding lies in a file named by the hash of the very pixels that the teacher saw, in a folder
named by the teacher's own hash and its input's size. Each file is written atomically, so that an
interrupted computation goes on where it stopped, and a cache never mixes teachers, sizes or
pictures. Only what can be cached is varied: a picture is whole, and perhaps mirrored.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from samedge.distill.augment import PLAIN, choose_window, image_in_window, padded
from samedge.distill.data import Mixture, Part, Source
from samedge.distill.losses import features_loss
from samedge.distill.recipe import FeaturesStage
from samedge.distill.stages import Metrics, autocast
from samedge.distill.teacher import pooled_to_grid, weights_hash
from samedge.errors import DatasetError
from samedge.files.writing import replacing
from samedge.models.promptable import PromptableModel
from samedge.types import Steps


@dataclasses.dataclass(frozen=True)
class FeatureCache:
    """Embeddings on disk.

    Attributes:
        folder: of one teacher at one size.
    """

    folder: Path

    @classmethod
    def for_teacher(cls, root: Path, teacher: PromptableModel) -> FeatureCache:
        """The cache of a teacher below ``root``; its folder is made where it is missing."""
        folder = root / f"{weights_hash(teacher)}-{teacher.image_size}"
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder)

    def path(self, image: Tensor) -> Path:
        """File of the embedding of an (S, S, 3) uint8 input."""
        name = hashlib.sha256(image.numpy().tobytes()).hexdigest()[:32]
        return self.folder / name[:2] / f"{name}.npy"

    def read(self, path: Path) -> Tensor:
        """The embedding in a file, (C, s, s) float16.

        Raises:
            DatasetError: the file is missing or damaged.
        """
        try:
            return torch.from_numpy(np.load(path, allow_pickle=False))
        except (OSError, ValueError) as error:
            raise DatasetError(
                f"The cached embedding {path} cannot be read ({error}): delete it and resume."
            ) from error

    def write(self, path: Path, embedding: Tensor) -> None:
        """Keep a (C, s, s) embedding, rounded to float16.

        Raises:
            DatasetError: a value is too large for float16, or not finite.
        """
        half = embedding.to(torch.float16).cpu()
        if not bool(torch.isfinite(half).all()):
            raise DatasetError(
                f"The teacher's embedding has values up to {float(embedding.abs().max()):.3g}, "
                "which float16 cannot hold: this teacher cannot be cached."
            )
        with replacing(path) as temporary:
            np.save(temporary, half.numpy())


def _inputs(
    source: Source, index: int, *, sizes: Sequence[int], flipped: bool
) -> list[tuple[Tensor, tuple[int, int]]]:
    """One picture at several input sizes: (S, S, 3) uint8 and its height and width in it."""
    rng = np.random.default_rng(0)
    scene = source.scene(index, rng)
    config = dataclasses.replace(PLAIN, flip=float(flipped))
    inputs = []
    for size in sizes:
        window = choose_window(scene, rng, image_size=size, config=config)
        inputs.append((padded(image_in_window(scene, window), size), window.output))
    return inputs


class EmbeddedSample(TypedDict):
    """One picture and its teacher's embedding; a batch has a leading axis B before each shape.

    Attributes:
        image: (S, S, 3) uint8 RGB, padded.
        valid_size: (2,) int64, height and width without the padding, px.
        embedding: (C, s, s) float16.
    """

    image: Tensor
    valid_size: Tensor
    embedding: Tensor


class FeatureSamples(Dataset[EmbeddedSample]):
    """Pictures with their cached embeddings, in the order of a ``Mixture``.

    Args:
        parts: the sources; sources that invent pictures cannot be cached.
        stage: the recipe's section.
        cache: the teacher's embeddings; ``fill`` computes them.
        image_size: side of the student's input.
        teacher_size: side of the teacher's input.
        seed: of the order and of the flips.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        stage: FeaturesStage,
        *,
        cache: FeatureCache,
        image_size: int,
        teacher_size: int,
        seed: int,
    ) -> None:
        self.parts, self.cache = tuple(parts), cache
        self.flips = (False, True) if stage.flip else (False,)
        self.sizes = (image_size, teacher_size)
        self.seed = seed
        self._order = Mixture(parts, image_size=image_size, seed=seed)

    def __getitem__(self, index: int) -> EmbeddedSample:
        part, item = self._order.origin(index)
        draw = np.random.default_rng((self.seed, index))
        flipped = self.flips[int(draw.integers(len(self.flips)))]
        source = self.parts[part].source
        student, teacher = _inputs(source, item, sizes=self.sizes, flipped=flipped)
        return EmbeddedSample(
            image=student[0],
            valid_size=torch.tensor(student[1]),
            embedding=self.cache.read(self.cache.path(teacher[0])),
        )

    def missing(self, *, rank: int = 0, world: int = 1) -> Iterator[tuple[Path, Tensor]]:
        """File and teacher's input of each embedding that is not cached; one process's share."""
        for number, (source, index, flipped) in enumerate(self._all()):
            if number % world == rank:
                ((image, _),) = _inputs(source, index, sizes=self.sizes[1:], flipped=flipped)
                path = self.cache.path(image)
                if not path.exists():
                    yield path, image

    def _all(self) -> Iterator[tuple[Source, int, bool]]:
        for part in self.parts:
            for index in range(len(part.source)):
                for flipped in self.flips:
                    yield part.source, index, flipped

    @property
    def count(self) -> int:
        """Number of embeddings in all."""
        return sum(len(part.source) for part in self.parts) * len(self.flips)


@torch.no_grad()
def fill(
    samples: FeatureSamples,
    teacher: PromptableModel,
    *,
    device: torch.device,
    bf16: bool,
    batch_size: int,
    share: tuple[int, int] = (0, 1),
    must_stop: Callable[[], bool] = lambda: False,
    steps: Steps | None = None,
) -> bool:
    """Compute the embeddings that are not cached yet.

    Args:
        samples: whose embeddings.
        teacher: the model.
        device: where it is.
        bf16: whether to compute in bf16.
        batch_size: pictures at once.
        share: rank of this process and number of processes.
        must_stop: asked after each batch; what is done so far is kept.
        steps: told after each batch how many there are.

    Returns:
        Whether all are there now.
    """
    told = steps or Steps()
    missing, done = samples.missing(rank=share[0], world=share[1]), 0
    while items := list(itertools.islice(missing, batch_size)):
        _compute(samples.cache, teacher, items, device=device, bf16=bf16)
        done += len(items)
        told.say(f"the teacher's embeddings: {done} more of {samples.count // share[1]} computed")
        if must_stop():
            return False
    return True


def _compute(
    cache: FeatureCache,
    teacher: PromptableModel,
    items: list[tuple[Path, Tensor]],
    *,
    device: torch.device,
    bf16: bool,
) -> None:
    images = torch.stack([image for _, image in items]).to(device)
    with autocast(device, enabled=bf16):
        embeddings = teacher.encode(images).float()
    for (path, _), embedding in zip(items, embeddings, strict=True):
        cache.write(path, embedding)


class FeaturesStep(nn.Module):
    """The student's embedding to the teacher's, over what is not padding.

    Args:
        student: what is trained.
        stage: the recipe's section.
        bf16: whether to compute the network in bf16.
    """

    def __init__(self, student: PromptableModel, stage: FeaturesStage, *, bf16: bool) -> None:
        super().__init__()
        self.student, self.stage, self.bf16 = student, stage, bf16

    def forward(self, batch: EmbeddedSample, seed: int) -> tuple[Tensor, Metrics]:  # noqa: ARG002
        """Loss and metrics of one batch; nothing in it is random."""
        images = batch["image"]
        with autocast(images.device, enabled=self.bf16):
            student = self.student.encode(images)
        teacher = pooled_to_grid(batch["embedding"].float(), student.shape[-1])
        losses = features_loss(
            student,
            teacher,
            valid_size=batch["valid_size"],
            image_size=images.shape[1],
            kind=self.stage.loss,
        )
        total = losses.mean()
        return total, {"loss": total.detach()}
