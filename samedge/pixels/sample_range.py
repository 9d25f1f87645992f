"""Samples of more than eight bits to eight: which values become black and white.

Cameras store 10, 12 or 14 bits in files of 16, microscopes and thermal cameras a narrow window
anywhere in them, and scientific tools floating-point numbers. What is black and what is white is
the *range*:

* ``(low, high)``: these two become 0 and 255; what is beyond is cut. Eight-bit samples obey, too.
* ``"full"``: the whole range of the sample's type. 16 bits keep their high byte, as OpenCV does.
  Floating-point samples have no such range and are refused.
* ``"auto"``, the default, looks at the samples of all channels together, but for the lowest and
  the highest ten-thousandth, so that a dead pixel decides nothing, and without a mark for "no
  data", such as -9999, 0 or 65535: one value at an end, beside which all others fill less than a
  quarter of the range.

  1. Integers from 0 on have the smallest depth that holds them: 8 to 16, 24 or 32 bits.
     Floating-point samples from 0 to 1, or from 0 to 255, have that range.
  2. Where they fill less than a quarter of it, or begin below 0, or are other floating-point
     samples, the range is from the lowest to the highest. Samples that are all one are not
     stretched.
  3. A range that is not the type's own is logged as a warning, with its figures.

  The measured range may differ between the frames of one camera: give ``(low, high)`` there.

NaN becomes black; infinities are cut like other values. Of a TIFF whose lowest sample is white by
its own word (WhiteIsZero) white and black are exchanged after all that.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from samedge.errors import ImageError, OptionError

Array = npt.NDArray[Any]
SampleRange = Literal["auto", "full"] | tuple[float, float]

logger = logging.getLogger(__name__)

_DEPTHS = (*range(8, 17), 24, 32)
_NARROW = 0.25
_PICTURE_LEVELS = 16  # a picture has at least as many; two levels are no mark beside a picture
_OUTLIERS = 1e-4
_MEASURED_SAMPLES = 1 << 20
_STEP_SAMPLES = 1 << 20


@dataclasses.dataclass(frozen=True)
class _Measured:
    """Lowest and highest sample, and the same without outliers."""

    minimum: float
    maximum: float
    low: float
    high: float


def check_range(value: object) -> SampleRange:
    """Return a range that is one.

    Raises:
        OptionError: it is neither ``"auto"``, ``"full"`` nor two finite numbers, low below high.
    """
    if isinstance(value, str) and value in ("auto", "full"):
        return "auto" if value == "auto" else "full"
    try:
        low, high = (float(number) for number in value)  # type: ignore[attr-defined]
    except (TypeError, ValueError, OverflowError):
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise OptionError(
            f"The range is {value!r}, expected 'auto', 'full' or two numbers LOW,HIGH with LOW "
            "below HIGH: what becomes black and what white."
        )
    return low, high


def eight_bits(
    samples: Array, *, sample_range: SampleRange, name: str, white_is_zero: bool = False
) -> Array:
    """Scale samples to uint8 by the rules of this module.

    Args:
        samples: integers or floating-point numbers of any shape.
        sample_range: as :func:`check_range` returns it.
        name: of the image, for the log and for errors.
        white_is_zero: the lowest sample is white.

    Raises:
        ImageError: no finite sample, or floating-point samples with ``"full"``.
    """
    meter = SampleMeter(samples.size, name, white_is_zero=white_is_zero)
    scaled = _eight_bits(samples, sample_range, meter)
    return 255 - scaled if white_is_zero else scaled


def _eight_bits(samples: Array, sample_range: SampleRange, meter: SampleMeter) -> Array:
    if isinstance(sample_range, tuple):
        return _scaled(samples, *sample_range)
    if sample_range == "full":
        return _scaled(samples, *_full(samples.dtype, meter.name))
    meter.add(samples)
    return _scaled(samples, *meter.range())


def _full(dtype: np.dtype[Any], name: str) -> tuple[float, float]:
    if dtype.kind not in "ui":
        raise ImageError(
            f"{name} has floating-point samples, which have no full range: give 'auto' or LOW,HIGH."
        )
    info = np.iinfo(dtype)
    return float(info.min), float(info.max)


class SampleMeter:
    """Measures samples that come in parts, one after the other, as if they came at once.

    Args:
        count: of all samples.
        name: of the image, for the log and for errors.
        white_is_zero: the lowest sample is white.
    """

    def __init__(self, count: int, name: str, *, white_is_zero: bool = False) -> None:
        self._step, self.name, self._seen = max(1, count // _MEASURED_SAMPLES), name, 0
        self._white_is_zero = white_is_zero
        self._some: list[Array] = []
        self.minimum, self.maximum = math.inf, -math.inf

    def add(self, samples: Array) -> None:
        """Take note of the next samples, in an array of any shape."""
        flat = samples.reshape(-1)
        some = flat[-self._seen % self._step :: self._step]
        self._seen += flat.size
        if samples.dtype.kind == "f":
            flat, some = flat[np.isfinite(flat)], some[np.isfinite(some)]
        if flat.size:
            self.minimum = min(self.minimum, float(flat.min()))
            self.maximum = max(self.maximum, float(flat.max()))
        self._some.append(some.copy())  # of a view the whole part would stay

    def range(self) -> tuple[float, float]:
        """Which samples become black and white, by the rules of ``"auto"``; says what is unusual.

        Raises:
            ImageError: no finite sample.
        """
        some = np.concatenate(self._some) if self._some else np.zeros(0)
        if not some.size:
            raise ImageError(f"{self.name} has no finite sample: save it again.")
        dtype, some = some.dtype, _without_marks(some)
        low, high = np.quantile(some, [_OUTLIERS, 1 - _OUTLIERS], method="nearest")
        measured = _Measured(self.minimum, self.maximum, float(low), float(high))
        chosen = _chosen(measured, whole=dtype.kind in "ui")
        ends = ("white", "black") if self._white_is_zero else ("black", "white")
        _say(self.name, dtype, measured, chosen, ends)
        return chosen


def _without_marks(samples: Array) -> Array:
    """The samples without one value at the lower, or the upper end, or both, that hide the rest."""
    low, high = samples.min(), samples.max()
    for marks in ((low,), (high,), (low, high)):
        rest = samples[~np.isin(samples, marks)]
        if rest.size and _span(rest) < _NARROW * _span(samples) and _is_picture(rest):
            return rest
    return samples


def _span(samples: Array) -> float:
    return float(samples.max()) - float(samples.min())


def _is_picture(samples: Array) -> bool:
    return len(np.unique(samples)) >= _PICTURE_LEVELS


def _chosen(measured: _Measured, *, whole: bool) -> tuple[float, float]:
    low, high = measured.low, measured.high
    full = _depth(high) if whole else next((top for top in (1.0, 255.0) if high <= top), None)
    if low < 0 or full is None or 0 < high - low < _NARROW * full:
        # One value alone is grey as deep as it is: stretching it would make it black.
        return (low, high) if high > low else (min(low, 0.0), max(high, 1.0))
    return 0.0, full


def _depth(high: float) -> float:
    bits = next((bits for bits in _DEPTHS if high < 2**bits), _DEPTHS[-1])
    return float(2**bits - 1)


def _say(
    name: str,
    dtype: np.dtype[Any],
    measured: _Measured,
    chosen: tuple[float, float],
    ends: tuple[str, str],
) -> None:
    top = "" if dtype.kind == "f" else f" of {np.iinfo(dtype).max}"
    if dtype.kind != "f" and chosen == (0.0, float(np.iinfo(dtype).max)):
        return
    logger.warning(
        "%s: samples reach from %g to %g%s; %g is read as %s and %g as %s. Give the range "
        "LOW,HIGH (or 'full') to read it otherwise.",
        name,
        measured.minimum,
        measured.maximum,
        top,
        chosen[0],
        ends[0],
        chosen[1],
        ends[1],
    )


def _scaled(samples: Array, low: float, high: float) -> Array:
    if samples.dtype == np.uint8 and (low, high) == (0.0, 255.0):
        return samples
    if samples.dtype.kind in "ui" and samples.dtype.itemsize <= 2:
        info = np.iinfo(samples.dtype)
        table = _linear(np.arange(info.min, info.max + 1), low, high)
        bits = 8 * samples.dtype.itemsize
        if high - low == 2**bits - 1 and bits > 8:  # the high byte, as OpenCV and Pillow keep it
            table = (np.arange(2**bits) >> (bits - 8)).astype(np.uint8)
        return _in_steps(samples, lambda part: table[part.astype(np.int64) - info.min])
    return _in_steps(samples, lambda part: _linear(part, low, high))


def _in_steps(samples: Array, scale: Callable[[Array], Array]) -> Array:
    """Scale a part at a time: a wider copy of a large picture takes gigabytes."""
    flat = np.ascontiguousarray(samples).reshape(-1)
    scaled = np.empty(flat.size, np.uint8)
    for start in range(0, flat.size, _STEP_SAMPLES):
        part = slice(start, start + _STEP_SAMPLES)
        scaled[part] = scale(flat[part])
    return scaled.reshape(samples.shape)


def _linear(values: Array, low: float, high: float) -> Array:
    wide = np.nan_to_num(values.astype(np.float64), nan=low, posinf=high, neginf=low)
    shares = (np.clip(wide, low, high) - low) / (high - low)
    return np.rint(shares * 255).astype(np.uint8)
