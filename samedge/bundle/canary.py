"""Two pictures with known answers that every bundle carries and runs once on each device.

A graph can open, run, and return one and the same embedding for every image, or NaN, without any
error (OpenVINO f16 and TensorRT fp16 have both done so). Two different pictures tell.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from samedge import _cache
from samedge.errors import BundleError
from samedge.pixels.frames import Frame
from samedge.pixels.prompts import Bucket, feeds_of
from samedge.types import IMAGE, IMAGE_EMBEDDINGS, LOW_RES_MASKS, Array, Precision, Prompt, Role

Answers = Mapping[str, Mapping[str, Array]]
"""Tensors by role and name."""

Feeds = Mapping[str, Mapping[str, Array]]
"""Inputs by role and name, (2, ...): two of each, for graphs that read neither image nor prompt."""


class Graphs(Protocol):
    """Graphs that are asked by role, opened files or a reference."""

    def run(self, role: str, feeds: Mapping[str, Array], /) -> Mapping[str, Array]:
        """Every output of a graph by name; feeds that it does not take are left out."""
        ...


FILE_NAME = "canary.npz"
MIN_COSINE = 0.98
"""Default limit. An export sets that of its precision (:mod:`samedge.proof.decision`)."""

_SIZE = (48, 64)
_MAX_SIDE = 32  # embeddings and logits are stored thinned out to at most so many rows and columns
_MIN_CONTRAST = 0.2  # of the expected difference between the two embeddings

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class Canary:
    """Inputs and expected outputs.

    Attributes:
        images: (2, h, w, 3) uint8 RGB.
        points: (2, 2) float32, one xy pixel in each image.
        answers: by role and tensor, (2, ...) float32: what is expected for each image, every k-th
            row and column of it. Of the encoder each of its outputs, of the decoder the masks.
        min_cosine: lowest cosine similarity of any of them that still counts as the same.
        feeds: what the other graphs are run with, where the bundle has such.
        limits: by role, where a graph is to be closer than that: it computes in more digits than
            another of the bundle.
    """

    images: Array
    points: Array
    answers: Answers
    min_cosine: float = MIN_COSINE
    feeds: Feeds = dataclasses.field(default_factory=dict)
    limits: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def limit(self, role: str) -> float:
        """Lowest cosine similarity of a graph's answers."""
        return self.limits.get(role, self.min_cosine)

    def loosened(self, limit: float) -> Canary:
        """With no limit above this one."""
        lower = {role: min(own, limit) for role, own in self.limits.items()}
        return dataclasses.replace(self, min_cosine=min(self.min_cosine, limit), limits=lower)

    def to_bytes(self) -> bytes:
        """The content of ``canary.npz``; expectations in half precision, where they fit it."""
        stream = io.BytesIO()
        arrays: dict[str, Array] = {
            "images": self.images,
            "points": self.points,
            "min_cosine": np.asarray(self.min_cosine, np.float64),
        }
        for role, limit in self.limits.items():
            arrays[f"{_LIMIT}{role}"] = np.asarray(limit, np.float64)
        for role, tensors in self.answers.items():
            for name, array in tensors.items():
                arrays[f"{role}{_SEPARATOR}{name}"] = _stored(array)
        for role, tensors in self.feeds.items():
            for name, array in tensors.items():
                arrays[f"{_FED}{role}{_SEPARATOR}{name}"] = array
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
        return stream.getvalue()

    @staticmethod
    def from_bytes(data: bytes) -> Canary:
        """Read ``canary.npz``.

        Raises:
            BundleError: it is not one.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as content:
                arrays = {_MODERN.get(name, name): content[name] for name in content.files}
            canary = Canary(
                images=arrays["images"],
                points=arrays["points"].astype(np.float32),
                answers=_answers_from_arrays(arrays),
                min_cosine=float(arrays["min_cosine"]),
                feeds=_feeds_from_arrays(arrays),
                limits=_limits_from_arrays(arrays),
            )
        except Exception as error:
            raise BundleError(
                f"{FILE_NAME} cannot be read ({error}): export the bundle again."
            ) from error
        if canary.images.ndim != 4 or len(canary.images) != 2 or canary.points.shape != (2, 2):
            raise BundleError(f"{FILE_NAME} does not hold two images: export the bundle again.")
        return canary


def _stored(array: Array) -> Array:
    """In half precision, unless a number is past its end: infinity is like nothing."""
    fits = np.abs(array).max(initial=0.0) <= float(np.finfo(np.float16).max)
    return array.astype(np.float16 if fits else np.float32)


_SEPARATOR = ":"
_FED = "feed:"
_LIMIT = "min_cosine."
_MODERN = {  # names in bundles of schema 1
    "embeddings": f"{Role.ENCODER}{_SEPARATOR}{IMAGE_EMBEDDINGS}",
    "low_res_logits": f"{Role.DECODER}{_SEPARATOR}{LOW_RES_MASKS}",
}


def _answers_from_arrays(arrays: Mapping[str, Array]) -> Answers:
    answers: dict[str, dict[str, Array]] = {str(Role.ENCODER): {}, str(Role.DECODER): {}}
    for name, array in arrays.items():
        role, separator, tensor = name.partition(_SEPARATOR)
        if separator and not name.startswith(_FED):
            answers.setdefault(role, {})[tensor] = array.astype(np.float32)
    if not all(answers.values()):
        raise ValueError("it lacks the answers of a graph")
    return answers


def _feeds_from_arrays(arrays: Mapping[str, Array]) -> Feeds:
    feeds: dict[str, dict[str, Array]] = {}
    for name, array in arrays.items():
        if name.startswith(_FED):
            role, _, tensor = name.removeprefix(_FED).partition(_SEPARATOR)
            feeds.setdefault(role, {})[tensor] = array
    return feeds


def _limits_from_arrays(arrays: Mapping[str, Array]) -> dict[str, float]:
    return {
        name.removeprefix(_LIMIT): float(array)
        for name, array in arrays.items()
        if name.startswith(_LIMIT)
    }


def canary_images() -> tuple[Array, Array]:
    """The two pictures: a disc on a slope and a square on stripes, with a point inside each.

    Returns:
        (2, h, w, 3) uint8 RGB and (2, 2) float32 xy pixels.
    """
    rows, columns = np.mgrid[: _SIZE[0], : _SIZE[1]]
    images = np.empty((2, *_SIZE, 3), np.uint8)
    images[0] = (columns * 3)[..., None] + np.array([10, 30, 60])
    images[0][(rows - 20) ** 2 + (columns - 24) ** 2 < 12**2] = (220, 60, 40)
    images[1] = np.where((rows // 6 % 2)[..., None], [200, 190, 90], [40, 80, 120])
    images[1][18:40, 30:54] = (30, 200, 60)
    return images, np.array([[24, 20], [42, 29]], np.float32)


def record_canary(
    graphs: Graphs,
    frame: Frame,
    *,
    bucket: Bucket | None = None,
    min_cosine: float = MIN_COSINE,
    feeds: Feeds | None = None,
    limits: Mapping[str, float] | None = None,
) -> Canary:
    """Run the two pictures through a reference and keep the answers.

    Args:
        graphs: answers by role; best the torch reference.
        frame: how images get into the model.
        bucket: fixed shapes of the decoder, where it has them.
        min_cosine: limit for the check on the device.
        feeds: of the bundle's other graphs.
        limits: by role, where they are tighter.

    Raises:
        BundleError: the reference itself is broken: NaN, or blind to its input.
    """
    images, points = canary_images()
    blank = Canary(images, points, {}, min_cosine, feeds or {}, limits or {})
    answers = _answers(blank, graphs, frame, bucket)
    _check_alive(answers, "the reference")
    thinned = {
        role: {name: _thinned(array) for name, array in tensors.items()}
        for role, tensors in answers.items()
    }
    return dataclasses.replace(blank, answers=thinned)


def check_canary(
    canary: Canary, graphs: Graphs, *, frame: Frame, where: str, bucket: Bucket | None = None
) -> None:
    """Run the two pictures here and compare.

    Args:
        canary: inputs and expected outputs.
        graphs: a bundle's graphs, opened.
        frame: the bundle's: how images get into the model.
        where: backend and device, for the message.
        bucket: fixed shapes of the decoder, where it has them.

    Raises:
        BundleError: NaN, infinity, one embedding for both pictures, or other answers than expected.
    """
    for role, name, cosines in compared(canary, graphs, frame=frame, where=where, bucket=bucket):
        for index, cosine in enumerate(cosines):
            if not cosine >= canary.limit(role):  # what is not a number is never the same
                raise BundleError(
                    f"On {where} {name} of canary picture {index} differ from the export: cosine "
                    f"{cosine:.4f}, limit {canary.limit(role):.4f}: {_ADVICE}"
                )


def compared(
    canary: Canary, graphs: Graphs, *, frame: Frame, where: str, bucket: Bucket | None = None
) -> Iterator[tuple[str, str, list[float]]]:
    """How near the answers here are to those expected, whatever the limits say.

    Args:
        canary: inputs and expected outputs.
        graphs: a bundle's graphs, opened.
        frame: the bundle's: how images get into the model.
        where: backend and device, for the message.
        bucket: fixed shapes of the decoder, where it has them.

    Yields:
        Role, tensor, and the cosine similarity of each picture's.

    Raises:
        BundleError: NaN, infinity, one embedding for both pictures, or answers of another shape.
    """
    answers = _answers(canary, graphs, frame, bucket)
    _check_alive(answers, where)
    for role, expected in canary.answers.items():
        for name, wanted in expected.items():
            if name not in answers[role]:
                raise BundleError(
                    f"The canary expects {name} of the {role}, and {where} gives "
                    f"{', '.join(answers[role])}: the bundle's parts do not belong together; "
                    "export it again."
                )
            measured = _thinned(answers[role][name])
            if role != Role.DECODER:
                _check_contrast(measured, wanted, f"{role}'s {name}", where)
            yield role, name, _cosines(measured, wanted, name, where)


def _check_contrast(measured: Array, expected: Array, name: str, where: str) -> None:
    wanted = np.linalg.norm(expected[0] - expected[1])
    contrast = np.linalg.norm(measured[0] - measured[1])
    if not contrast >= _MIN_CONTRAST * wanted:
        raise BundleError(
            f"On {where} two different pictures or texts have nearly the same embedding "
            f"({name}: difference {contrast:.3g}, expected {wanted:.3g}): {_ADVICE}"
        )


_ADVICE = (
    "its arithmetic cannot be trusted here. Use another backend or device, or export with a higher "
    "precision, where there is one."
)


def _answers(canary: Canary, graphs: Graphs, frame: Frame, bucket: Bucket | None) -> Answers:
    """(2, ...) float32 of every output of the encoder, and of the decoder's masks."""
    encoded, decoded = [], []
    for image, point in zip(canary.images, canary.points, strict=True):
        view = frame.view_of(image)
        tensors = graphs.run(Role.ENCODER, {IMAGE: view.encoder_input(image)})
        feeds = feeds_of([Prompt(points=[point])], view, bucket=bucket)
        results = graphs.run(Role.DECODER, {**feeds, **tensors})
        encoded.append(tensors)
        decoded.append({LOW_RES_MASKS: results[LOW_RES_MASKS]})
    answers = {str(Role.ENCODER): _stacked(encoded), str(Role.DECODER): _stacked(decoded)}
    for role, tensors in canary.feeds.items():
        runs = [
            graphs.run(role, {name: array[index] for name, array in tensors.items()})
            for index in range(len(canary.points))
        ]
        answers[role] = _stacked(runs)
    return answers


def _stacked(found: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """The first row of each tensor of each picture."""
    return {
        name: np.stack([np.asarray(tensors[name][0], np.float32) for tensors in found])
        for name in found[0]
    }


def _check_alive(answers: Answers, where: str) -> None:
    for tensors in answers.values():
        for name, array in tensors.items():
            if not np.isfinite(array).all():
                share = 1 - np.isfinite(array).mean()
                raise BundleError(
                    f"On {where} {share:.1%} of {name} are NaN or infinite for the canary: "
                    f"{_ADVICE}"
                )
    if all(np.array_equal(a[0], a[1]) for a in answers[Role.ENCODER].values()):
        raise BundleError(
            f"On {where} the encoder gives the same embedding for two different pictures: {_ADVICE}"
        )


def _cosines(measured: Array, expected: Array, name: str, where: str) -> list[float]:
    if measured.shape != expected.shape:
        raise BundleError(
            f"The canary expects {name} of shape {expected.shape} and {where} gives "
            f"{measured.shape}: the bundle's parts do not belong together; export it again."
        )
    found = []
    for one, wanted in zip(measured, expected, strict=True):
        a, b = one.astype(np.float64), wanted.astype(np.float64)
        found.append(float((a * b).sum() / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-30)))
    return found


def _thinned(array: Array) -> Array:
    if array.ndim < 4:  # no map
        return array
    step = max(array.shape[-1] // _MAX_SIDE, 1)
    return np.ascontiguousarray(array[..., ::step, ::step])


def drift_remedy(precision: str) -> str:
    """What to do about a graph that computes too coarsely, or wrongly where it computes in fp32.

    Args:
        precision: that it was exported in.
    """
    if precision == Precision.FP32.value:
        return (
            "It is fp32 already: take another backend or device; if that fails as well, report a "
            "bug with what `samedge doctor --bundle-report FILE` writes."
        )
    return "Export with a higher precision, such as --precision fp32."


def remembered(facts: Mapping[str, Any]) -> bool:
    """Whether the canary passed before under the same facts.

    Args:
        facts: everything that may change the answers: bundle, backend, version, device, options.
    """
    return _cache.kept(_file(facts)) is not None


def remember(facts: Mapping[str, Any]) -> None:
    """Note in the user's cache that the canary passed; where that cannot be, it runs again."""
    _cache.keep(_file(facts), _text(facts))


def _file(facts: Mapping[str, Any]) -> Path:
    return _cache.cache_file("canary", f"{hashlib.sha256(_text(facts)).hexdigest()[:32]}.json")


def _text(facts: Mapping[str, Any]) -> bytes:
    return json.dumps(facts, sort_keys=True, default=str).encode()
