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
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from samedge._cache import cache_folder
from samedge.errors import BundleError
from samedge.pixels.frames import encoder_input_from_image
from samedge.pixels.prompts import Bucket, decoder_feeds
from samedge.types import Prompt

Array = npt.NDArray[Any]
Run = Callable[[Mapping[str, Array]], Mapping[str, Array]]
"""What ``Session.run`` is: feeds by name to results by name."""

FILE_NAME = "canary.npz"
MIN_COSINE = 0.98
"""Default limit. Sound fp16 and bf16 graphs stay above it, wrong ones fall far below."""

MIN_COSINE_QUANTIZED = 0.9
"""The same where weights or activations have few bits, fitted to photos and not to drawings."""

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
        embeddings: (2, 256, g, g) float32, every k-th row and column of the expected embeddings.
        low_res_logits: (2, 4, g, g) float32, every k-th row and column of the expected logits.
        min_cosine: lowest cosine similarity of either that still counts as the same.
    """

    images: Array
    points: Array
    embeddings: Array
    low_res_logits: Array
    min_cosine: float = MIN_COSINE

    def to_bytes(self) -> bytes:
        """The content of ``canary.npz``; expectations are stored in half precision."""
        stream = io.BytesIO()
        np.savez_compressed(
            stream,
            images=self.images,
            points=self.points,
            embeddings=self.embeddings.astype(np.float16),
            low_res_logits=self.low_res_logits.astype(np.float16),
            min_cosine=np.float64(self.min_cosine),
        )
        return stream.getvalue()

    @staticmethod
    def from_bytes(data: bytes) -> Canary:
        """Read ``canary.npz``.

        Raises:
            BundleError: it is not one.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as content:
                arrays = {name: content[name] for name in content.files}
            canary = Canary(
                images=arrays["images"],
                points=arrays["points"].astype(np.float32),
                embeddings=arrays["embeddings"].astype(np.float32),
                low_res_logits=arrays["low_res_logits"].astype(np.float32),
                min_cosine=float(arrays["min_cosine"]),
            )
        except Exception as error:
            raise BundleError(
                f"{FILE_NAME} cannot be read ({error}): export the bundle again."
            ) from error
        if canary.images.ndim != 4 or len(canary.images) != 2 or canary.points.shape != (2, 2):
            raise BundleError(f"{FILE_NAME} does not hold two images: export the bundle again.")
        return canary


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
    encoder: Run,
    decoder: Run,
    *,
    input_size: int,
    bucket: Bucket | None = None,
    min_cosine: float = MIN_COSINE,
) -> Canary:
    """Run the two pictures through a reference and keep the answers.

    Args:
        encoder: takes ``image``, gives ``image_embeddings``; best the torch reference.
        decoder: takes the decoder graph's inputs, gives ``low_res_masks``.
        input_size: S, pixels.
        bucket: fixed shapes of the decoder, where it has them.
        min_cosine: limit for the check on the device.

    Raises:
        BundleError: the reference itself is broken: NaN, or blind to its input.
    """
    images, points = canary_images()
    blank = Canary(images, points, np.zeros(0), np.zeros(0), min_cosine)
    embeddings, logits = _answers(blank, encoder, decoder, input_size, bucket)
    canary = dataclasses.replace(
        blank, embeddings=_thinned(embeddings), low_res_logits=_thinned(logits)
    )
    _check_alive(embeddings, logits, "the reference")
    return canary


def check_canary(
    canary: Canary,
    encoder: Run,
    decoder: Run,
    *,
    input_size: int,
    where: str,
    bucket: Bucket | None = None,
) -> None:
    """Run the two pictures here and compare.

    Args:
        canary: inputs and expected outputs.
        encoder: an opened encoder's ``run``.
        decoder: an opened decoder's ``run``.
        input_size: S, pixels.
        where: backend and device, for the message.
        bucket: fixed shapes of the decoder, where it has them.

    Raises:
        BundleError: NaN, infinity, one embedding for both pictures, or other answers than expected.
    """
    embeddings, logits = _answers(canary, encoder, decoder, input_size, bucket)
    _check_alive(embeddings, logits, where)
    measured = _thinned(embeddings)
    expected_contrast = np.linalg.norm(canary.embeddings[0] - canary.embeddings[1])
    contrast = np.linalg.norm(measured[0] - measured[1])
    if contrast < _MIN_CONTRAST * expected_contrast:
        raise BundleError(
            f"On {where} the encoder gives nearly the same embedding for two different pictures "
            f"(difference {contrast:.3g}, expected {expected_contrast:.3g}): {_ADVICE}"
        )
    _compare(measured, canary.embeddings, "image_embeddings", canary.min_cosine, where)
    _compare(_thinned(logits), canary.low_res_logits, "low_res_masks", canary.min_cosine, where)


_ADVICE = (
    "its arithmetic cannot be trusted here. Use another backend or device, or export with a higher "
    "precision, such as --precision fp32."
)


def _answers(
    canary: Canary, encoder: Run, decoder: Run, input_size: int, bucket: Bucket | None
) -> tuple[Array, Array]:
    """Embeddings (2, 256, S/16, S/16) and low-res logits (2, 4, S/4, S/4)."""
    embeddings, logits = [], []
    for image, point in zip(canary.images, canary.points, strict=True):
        pixels = encoder_input_from_image(image, input_size)
        embedding = encoder({"image": pixels})["image_embeddings"]
        feeds = decoder_feeds(
            [Prompt(points=[point])],
            original_size=(image.shape[0], image.shape[1]),
            target_length=input_size,
            bucket=bucket,
        )
        results = decoder({"image_embeddings": embedding, **feeds})
        embeddings.append(np.asarray(embedding[0], np.float32))
        logits.append(np.asarray(results["low_res_masks"][0], np.float32))
    return np.stack(embeddings), np.stack(logits)


def _check_alive(embeddings: Array, logits: Array, where: str) -> None:
    for name, array in (("image_embeddings", embeddings), ("low_res_masks", logits)):
        if not np.isfinite(array).all():
            share = 1 - np.isfinite(array).mean()
            raise BundleError(
                f"On {where} {share:.1%} of {name} are NaN or infinite for the canary: {_ADVICE}"
            )
    if np.array_equal(embeddings[0], embeddings[1]):
        raise BundleError(
            f"On {where} the encoder gives the same embedding for two different pictures: {_ADVICE}"
        )


def _compare(measured: Array, expected: Array, name: str, limit: float, where: str) -> None:
    if measured.shape != expected.shape:
        raise BundleError(
            f"The canary expects {name} of shape {expected.shape} and {where} gives "
            f"{measured.shape}: the bundle's parts do not belong together; export it again."
        )
    for index in range(len(expected)):
        a, b = measured[index].astype(np.float64), expected[index].astype(np.float64)
        cosine = float((a * b).sum() / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-30))
        if cosine < limit:
            raise BundleError(
                f"On {where} {name} of canary picture {index} differ from the export: cosine "
                f"{cosine:.4f}, limit {limit:.4f}: {_ADVICE}"
            )


def _thinned(array: Array) -> Array:
    step = max(array.shape[-1] // _MAX_SIDE, 1)
    return np.ascontiguousarray(array[..., ::step, ::step])


def remembered(facts: Mapping[str, Any]) -> bool:
    """Whether the canary passed before under the same facts.

    Args:
        facts: everything that may change the answers: bundle, backend, version, device, options.
    """
    return (cache_folder("canary") / _key(facts)).is_file()


def remember(facts: Mapping[str, Any]) -> None:
    """Note in the user's cache that the canary passed; where that cannot be, it runs again."""
    path = cache_folder("canary") / _key(facts)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(facts, sort_keys=True, default=str))
    except OSError as error:
        logger.info("The canary's result cannot be remembered: %s", error)


def _key(facts: Mapping[str, Any]) -> str:
    text = json.dumps(facts, sort_keys=True, default=str)
    return f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"
