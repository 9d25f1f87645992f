"""What is kept for the next click, as many and as long as the settings say."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from samedge.predict.embedding import ImageEmbedding


@dataclasses.dataclass(frozen=True, eq=False)
class KeptImage:
    """An image that was encoded.

    Attributes:
        id: of its bytes and the bundle; the same image has the same.
        embedding: of it.
        picture: the file as it came, for what looks at the pixels again.
    """

    id: str
    embedding: ImageEmbedding
    picture: bytes

    @property
    def size_bytes(self) -> int:
        """What keeping it takes."""
        tensors = self.embedding.tensors.values()
        return len(self.picture) + sum(int(tensor.nbytes) for tensor in tensors)


class Kept(Protocol):
    """What can be kept."""

    @property
    def id(self) -> str:
        """Its name."""

    @property
    def size_bytes(self) -> int:
        """What keeping it takes."""


K = TypeVar("K", bound=Kept)


class Cache(Generic[K]):
    """The things that were asked about last. Safe to share between threads.

    Args:
        count: most of them.
        size_bytes: most bytes of all; the newest is kept even where it alone is larger.
        keep_s: time after which one is dropped that nobody asked about.
        clock: tells the time, monotonic, s.

    Attributes:
        hits, misses: how often an image that was asked for was there, and was not.
        evictions: how many were dropped for room or for their age.
    """

    def __init__(
        self,
        *,
        count: int,
        size_bytes: int,
        keep_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._count, self._size_bytes, self.keep_s = count, size_bytes, keep_s
        self._clock = clock
        self._kept: OrderedDict[str, tuple[K, float]] = OrderedDict()
        self._total = 0
        self._lock = threading.Lock()
        self.hits = self.misses = self.evictions = 0

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def size_bytes(self) -> int:
        """Of all that is kept."""
        return self._total

    def get(self, key: str) -> K | None:
        """A kept thing, which is then the newest; ``None`` where it is not kept."""
        with self._lock:
            self._drop_old()
            entry = self._kept.pop(key, None)
            if entry is None:
                self.misses += 1
                return None
            self.hits += 1
            self._kept[key] = (entry[0], self._clock())
            return entry[0]

    def put(self, made: K) -> None:
        """Keep a thing; older ones go where there is no room."""
        with self._lock:
            self._remove(made.id)
            self._kept[made.id] = (made, self._clock())
            self._total += made.size_bytes
            self._drop_old()
            while len(self._kept) > 1 and not self._fits():
                self._remove(next(iter(self._kept)))
                self.evictions += 1

    def drop(self, key: str) -> bool:
        """Forget a thing; whether it was there."""
        with self._lock:
            return self._remove(key)

    def sweep(self) -> None:
        """Forget what is too old."""
        with self._lock:
            self._drop_old()

    def _fits(self) -> bool:
        return len(self._kept) <= self._count and self._total <= self._size_bytes

    def _remove(self, key: str) -> bool:
        entry = self._kept.pop(key, None)
        if entry is not None:
            self._total -= entry[0].size_bytes
        return entry is not None

    def _drop_old(self) -> None:
        oldest = self._clock() - self.keep_s
        for key in [key for key, (_, used) in self._kept.items() if used < oldest]:
            self._remove(key)
            self.evictions += 1
