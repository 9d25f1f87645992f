"""Ranges of settings, checked when a configuration is made."""

from __future__ import annotations

from samedge.errors import RecipeError


def check_range(config: object, *names: str, low: float, high: float) -> None:
    """Refuse settings outside of ``low`` to ``high``; a pair must ascend too.

    Args:
        config: a configuration.
        names: attributes of ``config``; numbers or pairs ``(smallest, largest)``.
        low: smallest allowed value.
        high: largest allowed value.

    Raises:
        RecipeError: names the setting, its value and the range.
    """
    for name in names:
        value = getattr(config, name)
        values = value if isinstance(value, (tuple, list)) else (value,)
        if not all(low <= item <= high for item in values):
            raise RecipeError(f"{name} is {value}, expected {low:g} to {high:g}.")
        if list(values) != sorted(values):
            raise RecipeError(f"{name} is {value}, expected the smaller one first.")
