"""Several predictors behind one: threads that want masks at once, and a queue that has an end."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence

from samedge.errors import InferenceError, OptionError
from samedge.formats.results import Masks
from samedge.predict.embedding import ImageEmbedding
from samedge.predict.predictor import Predictor
from samedge.runtimes.deadline import remaining_s
from samedge.runtimes.sharing import Closable, tell_of_forks
from samedge.types import Array, Prompt, Region


class PredictorPool(Closable):
    """So many predictors of one bundle; a call takes one that is free, or waits for it.

        with PredictorPool(lambda: Predictor.from_bundle(path, threads=1), size=4) as pool:
            pool.predict(image, prompt)  # from any number of threads

    More calls than may wait are refused at once, so that a queue never grows without an end.
    Waiting counts in :func:`samedge.time_limit`.

    Args:
        open_predictor: opens one, such as ``Predictor.from_bundle`` or ``Predictor.isolated``.
        size: how many.
        waiting: how many calls may wait; ``None``: four for each predictor.

    Raises:
        OptionError: ``size`` below 1 or ``waiting`` below 0.
        SamedgeError: whatever ``open_predictor`` raises.
    """

    _closed_words = "The pool is closed: open another."

    def __init__(
        self, open_predictor: Callable[[], Predictor], *, size: int, waiting: int | None = None
    ) -> None:
        counts = (size, 0 if waiting is None else waiting)
        if not all(isinstance(count, int) for count in counts) or size < 1 or counts[1] < 0:
            raise OptionError(
                f"The pool has size {size!r} and waiting {waiting!r}, expected whole numbers of at "
                "least 1 and 0."
            )
        self._most = 4 * size if waiting is None else waiting
        self._changed = threading.Condition()
        self._waiting, self._is_closed, self._size = 0, False, size
        self._released = 0
        self._free: list[Predictor] = []
        try:
            for _ in range(size):
                self._free.append(open_predictor())
        except BaseException:
            for predictor in self._free:
                predictor.close()
            raise
        self._all = tuple(self._free)
        tell_of_forks(self)

    def encode(self, image: Array, *, region: Region | None = None) -> ImageEmbedding:
        """As of :meth:`Predictor.encode`; any predictor of the pool decodes the embedding."""
        with self.taken() as predictor:
            return predictor.encode(image, region=region)

    def decode(
        self, embedding: ImageEmbedding, prompt: Prompt, *, multimask: bool = False
    ) -> Masks:
        """As of :meth:`Predictor.decode`."""
        with self.taken() as predictor:
            return predictor.decode(embedding, prompt, multimask=multimask)

    def decode_batch(
        self, embedding: ImageEmbedding, prompts: Sequence[Prompt], *, multimask: bool = False
    ) -> list[Masks]:
        """As of :meth:`Predictor.decode_batch`."""
        with self.taken() as predictor:
            return predictor.decode_batch(embedding, prompts, multimask=multimask)

    def predict(self, image: Array, prompt: Prompt, *, multimask: bool = False) -> Masks:
        """As of :meth:`Predictor.predict`, on one predictor."""
        with self.taken() as predictor:
            return predictor.predict(image, prompt, multimask=multimask)

    @contextlib.contextmanager
    def taken(self) -> Iterator[Predictor]:
        """A predictor for this caller alone, as long as it is inside.

        Raises:
            InferenceError: too many wait already, the time limit is up, or the pool is closed.
        """
        predictor = self._wait()
        try:
            yield predictor
        finally:
            with self._changed:
                self._free.append(predictor)
                self._changed.notify_all()

    def _wait(self) -> Predictor:
        with self._changed:
            if not self._free and self._waiting >= self._most and not self._is_closed:
                raise InferenceError(
                    f"All {self._size} predictors are busy and {self._waiting} calls wait, limit "
                    f"{self._most}: try again later, or open a larger pool."
                )
            self._waiting += 1
            try:
                left_s = min(remaining_s(), threading.TIMEOUT_MAX)
                is_ready = self._changed.wait_for(lambda: self._free or self._is_closed, left_s)
            finally:
                self._waiting -= 1
            self.check_open()
            if not is_ready:
                raise InferenceError(
                    f"The time limit of the call is up, and all {self._size} predictors are busy: "
                    "try again later, or open a larger pool."
                )
            return self._free.pop()

    @property
    def is_closed(self) -> bool:
        """Whether no call is taken any more."""
        return self._is_closed

    def close(self) -> None:
        """Refuse new calls, wait for those that run, and release the predictors."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: len(self._free) + self._released == self._size)
            released, self._free = self._free, []
            self._released = self._size
        for predictor in released:
            predictor.close()

    def after_fork(self) -> None:
        """In a fork, nothing is taken: the threads that had something are the parent's."""
        self._changed, self._waiting = threading.Condition(), 0
        self._free = [] if self._is_closed else list(self._all)
        self._released = self._size if self._is_closed else 0
