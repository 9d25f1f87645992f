"""Which sample comes when: a pure function of the seed, the step and the rank.

Sample ``k`` of a run is drawn from a generator seeded by the run's seed and ``k``, and step ``t``
of ``world`` processes takes the samples from ``t * world * batch_size`` on. Nothing about the
order has to be saved, so a resumed run sees exactly what it would have seen.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Dataset, Sampler


class StepSampler(Sampler[list[int]]):
    """Sample numbers of one process, one list a step.

    Args:
        steps: the steps still to be done.
        batch_size: samples a step on one process.
        rank: of this process.
        world: number of processes.
    """

    def __init__(self, steps: range, *, batch_size: int, rank: int, world: int) -> None:
        self.steps, self.batch_size, self.rank, self.world = steps, batch_size, rank, world

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the sample numbers of each step."""
        for step in self.steps:
            first = (step * self.world + self.rank) * self.batch_size
            yield list(range(first, first + self.batch_size))

    def __len__(self) -> int:
        """Number of steps."""
        return len(self.steps)


def _prepare_worker(worker: int) -> None:  # noqa: ARG001 - DataLoader's signature
    """One thread for arrays that one core handles, and no end before the trainer's own.

    Ctrl-C and job schedulers signal the whole process group, but the trainer still finishes its
    step; the loader ends its workers, and they end by themselves when the trainer is gone.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    torch.set_num_threads(1)
    cv2.setNumThreads(0)


def step_loader(
    dataset: Dataset[Any],
    sampler: StepSampler,
    *,
    collate: Callable[[list[Any]], Any],
    workers: int,
    pin_memory: bool,
) -> DataLoader[Any]:
    """A loader of one batch a step, in the sampler's order whatever the number of workers."""
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=workers,
        persistent_workers=workers > 0,
        prefetch_factor=3 if workers else None,
        worker_init_fn=_prepare_worker if workers else None,
        pin_memory=pin_memory,
    )
