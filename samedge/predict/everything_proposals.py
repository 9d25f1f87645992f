"""Masks as clicks drew them, of which those that matter are drawn again when they are asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import overload

import numpy as np

from samedge.predict.everything_masks import AutomaticMask, Drawn
from samedge.predict.everything_redrawn import Part

Again = Callable[[Sequence[Part]], Iterator[tuple[Part, list[Drawn]]]]
"""Draws the candidates of parts again: gives parts with origins and their masks."""

Closer = Callable[[Sequence[AutomaticMask]], list[AutomaticMask]]
"""Draws small masks from a closer look."""


class Proposals(Sequence[AutomaticMask]):
    """Masks of distinct things, the best ranked first; none says what it is a part of.

    Args:
        parts: of the image, with their candidates.
        found: the masks, ranked.
        again: draws candidates again; ``None`` where the settings leave masks as they are.
        closer: looks closer; ``None`` where the predictor does not.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        found: Sequence[Drawn],
        *,
        again: Again | None,
        closer: Closer | None,
    ) -> None:
        self._parts, self._found, self._again, self._closer = parts, found, again, closer

    def best(self, count: int) -> Proposals:
        """The best ranked of them, so many at most."""
        return Proposals(self._parts, self._found[:count], again=self._again, closer=self._closer)

    @overload
    def __getitem__(self, place: int) -> AutomaticMask: ...

    @overload
    def __getitem__(self, place: slice) -> list[AutomaticMask]: ...

    def __getitem__(self, place: int | slice) -> AutomaticMask | list[AutomaticMask]:
        if isinstance(place, slice):
            return [one.mask for one in self._found[place]]
        return self._found[place].mask

    def __len__(self) -> int:
        return len(self._found)

    def drawn_again(self, places: Iterable[int]) -> dict[int, AutomaticMask]:
        """Masks asked for again as everything mode does it, where the settings say so.

        Args:
            places: of the masks.

        Returns:
            The masks by their places, without those that came back as another thing.

        Raises:
            InferenceError: the backend failed.
        """
        if self._again is None:
            return {place: self[place] for place in places}
        chosen = {self._found[place].origin: place for place in places}
        rows: list[list[int]] = [[] for _ in self._parts]
        for number, row in chosen:
            rows[number].append(row)
        asked = [
            dataclasses.replace(part, found=part.found[np.array(own, np.intp)])
            for part, own in zip(self._parts, rows, strict=True)
        ]
        made = {}
        for part, masks in self._again(asked) if chosen else ():
            for one in masks:
                number, row = part.origins[one.origin[1]]
                made[chosen[number, rows[number][row]]] = one.mask
        return made

    def looked_closer(self, masks: Sequence[AutomaticMask]) -> list[AutomaticMask]:
        """Some of the masks, the small ones from a closer look where the predictor takes one.

        Args:
            masks: of these, drawn again or not.

        Raises:
            InferenceError: the backend failed.
        """
        return list(masks) if self._closer is None else self._closer(masks)
