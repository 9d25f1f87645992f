"""Two graphs that are one: the first makes some of what the second takes."""

from __future__ import annotations

from collections.abc import Mapping

from samedge.runtimes.base import Array, Session


class ChainedSession(Session):
    """Runs ``first``, and ``second`` on its results and on the feeds that it did not use up.

    It owns both sessions.

    Args:
        first: each of its outputs is an input of ``second``.
        second: gives the outputs.
    """

    def __init__(self, first: Session, second: Session) -> None:
        self._first, self._second = first, second
        made = {spec.name for spec in first.outputs}
        rest = tuple(spec for spec in second.inputs if spec.name not in made)
        self._rest = tuple(spec.name for spec in rest)
        self.inputs, self.outputs = (*first.inputs, *rest), second.outputs
        self.device = second.device

    def _run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        made = self._first.run({spec.name: feeds[spec.name] for spec in self._first.inputs})
        return self._second.run({**made, **{name: feeds[name] for name in self._rest}})

    def residency(self) -> dict[str, float]:
        """Of the second, which is where the work is."""
        return self._second.residency()

    def close(self) -> None:
        """Close both. Calling it again does nothing."""
        self._first.close()
        self._second.close()
