"""The tracker: prompt once, then follow, with any bundle."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from samedge import _discovery
from samedge.errors import OptionError, PromptError
from samedge.pixels.images import check_image
from samedge.pixels.prompts import check_prompts
from samedge.tracking.base import Segmenter, Stepped, Strategy, TrackedObject
from samedge.tracking.settings import TrackerSettings
from samedge.types import Array, Prompt

PACKAGE = "samedge.tracking"
Reader = Callable[[Array, Sequence[Prompt]], Sequence[Prompt]]
"""Takes an image and prompts about it, and gives them without words."""


def names() -> tuple[str, ...]:
    """Names of all strategies."""
    return _discovery.names(PACKAGE)


def get(name: str) -> Strategy[Any]:
    """A strategy by its name.

    Raises:
        UnknownNameError: there is none of this name.
    """
    strategy: Strategy[Any] = _discovery.load(PACKAGE, name, attribute="STRATEGY")
    return strategy


class Tracker:
    """Follows objects from frame to frame::

        tracker = samedge.Tracker(predictor)
        for objects in tracker.follow(images, [samedge.Prompt(box=[x0, y0, x1, y1])]):
            masks = [found.mask for found in objects]

    There is no hidden state: :meth:`begin` and :meth:`step` return it, and take it again.
    """

    def __init__(
        self,
        predictor: Segmenter,
        *,
        strategy: str = "propagation",
        settings: TrackerSettings | None = None,
        reader: Reader | None = None,
    ) -> None:
        """Choose how to follow.

        Args:
            predictor: the model; a ``samedge.Predictor``.
            strategy: one of :func:`names`.
            settings: every threshold.
            reader: turns prompts with words into masks of the image that they are about, such as
                ``samedge.predict.words.files.drawn_prompts`` of a predictor.

        Raises:
            UnknownNameError: there is no such strategy.
            OptionError: settings that are none.
        """
        if not isinstance(settings, TrackerSettings | None):
            raise OptionError(
                f"settings is a {type(settings).__name__}, expected a TrackerSettings."
            )
        self._predictor = predictor
        self._name, self._strategy = strategy, get(strategy)
        self.settings = settings or TrackerSettings()
        self._reader = reader

    def __repr__(self) -> str:
        return f"Tracker({self._predictor!r}, {self._name})"

    def begin(self, image: Array, prompts: Sequence[Prompt], *, state: Any = None) -> Stepped[Any]:
        """Take up one object a prompt.

        Args:
            image: (H, W, 3) uint8 RGB.
            prompts: in pixels of the image; a lone (H, W) bool mask is taken as it is.
            state: of objects that are followed already, stepped to this very image.

        Raises:
            ImageError: not such an image.
            PromptError: no prompt, or one that does not fit the image or shows nothing.
            OptionError: a state that is none.
        """
        check_image(image)
        if state is not None:
            _check_state(state)
        check_prompts(prompts)
        if not prompts:
            raise PromptError("There is nothing to follow: give at least one prompt.")
        if any(prompt.text is not None for prompt in prompts):
            prompts = self._read(image, prompts)
        return self._strategy.begin(
            self._predictor, image, prompts=prompts, state=state, settings=self.settings
        )

    def _read(self, image: Array, prompts: Sequence[Prompt]) -> Sequence[Prompt]:
        if self._reader is None:
            raise PromptError(
                "This tracker has no reader of words: give boxes, points or masks, or make it with "
                "one."
            )
        return self._reader(image, prompts)

    def step(self, state: Any, image: Array) -> Stepped[Any]:
        """Follow all objects into the next image.

        Args:
            state: of the step before; it is not changed.
            image: (H, W, 3) uint8 RGB.

        Raises:
            ImageError: not such an image, or one of another size.
            OptionError: a state that is none.
        """
        check_image(image)
        _check_state(state)
        return self._strategy.step(self._predictor, image, state=state, settings=self.settings)

    def without(self, state: Any, object_id: int) -> Any:
        """The state without an object.

        Raises:
            UnknownNameError: there is none of this id.
        """
        return self._strategy.without(state, object_id)

    def follow(
        self, images: Iterable[Array], prompts: Sequence[Prompt]
    ) -> Iterator[tuple[TrackedObject, ...]]:
        """Follow the objects of the first image through all others.

        Args:
            images: (H, W, 3) uint8 RGB each, of one size.
            prompts: about the first one.

        Raises:
            ImageError, PromptError: as :meth:`begin` and :meth:`step`.
        """
        state: Any = None
        for image in images:
            result = self.begin(image, prompts) if state is None else self.step(state, image)
            state = result.state
            yield result.objects


def _check_state(state: object) -> None:
    """Refuse what is easily taken for a state: nothing, and the answer that holds one."""
    if state is None or isinstance(state, Stepped):
        raise OptionError(
            f"The state is a {type(state).__name__}, expected result.state of what begin or step "
            "gave."
        )
