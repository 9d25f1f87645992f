"""What every image encoder promises, as functions that raise where one does not keep it.

``test_encoders.py`` runs them over every encoder that discovery finds, and over a broken one each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from torch import Tensor, nn

from samedge.errors import CheckpointError, UnknownNameError
from samedge.export.graphs import EncoderGraph
from samedge.models.base import Encoder
from samedge.models.promptable import PromptableModel
from samedge.types import IMAGE_EMBEDDINGS
from tests.contract.graph_watch import assert_close, assert_deployable, in_onnx_runtime
from tests.models.conftest import fill

SIZE, CHANNELS = 64, 32
MOST_AXES = 5


class EncodingOnly(PromptableModel):
    """As much of a model as exporting its encoder takes."""

    def decode(self, *_: Tensor) -> tuple[Tensor, Tensor]:
        raise AssertionError("nothing is decoded here")


def config_of(encoder: Encoder[Any]) -> Any:
    return encoder.tiny(image_size=SIZE, embed_dim=CHANNELS)


def built(encoder: Encoder[Any]) -> nn.Module:
    """A tiny encoder with weights that make every layer count."""
    return fill(encoder.build(config_of(encoder)))


def images(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def maps_of(module: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    with torch.no_grad():
        made = module(x)
    return made if isinstance(made, tuple) else (made,)


# ---- the checks


def declares_itself(encoder: Encoder[Any], folder: Path) -> None:
    assert encoder.name.isidentifier()
    config = config_of(encoder)
    assert type(config) is encoder.config_type
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.image_size = 1
    assert (config.image_size, config.embed_dim) == (SIZE, CHANNELS)


def its_options_travel_in_a_checkpoint(encoder: Encoder[Any], folder: Path) -> None:
    config = config_of(encoder)
    text = msgspec.json.encode(dataclasses.asdict(config))
    assert encoder.config_from_mapping(msgspec.json.decode(text)) == config


def refuses_options_that_it_does_not_have(encoder: Encoder[Any], folder: Path) -> None:
    options = dataclasses.asdict(config_of(encoder))
    with pytest.raises(UnknownNameError, match=f"{encoder.name}.*'embed_dims'"):
        encoder.config_from_mapping({**options, "embed_dims": 1})
    with pytest.raises(CheckpointError, match="image_size"):
        encoder.config_from_mapping({**options, "image_size": "large"})


def gives_the_maps_that_it_declares(encoder: Encoder[Any], folder: Path) -> None:
    declared = encoder.maps(config_of(encoder))
    assert (declared[0].name, declared[0].channels, declared[0].stride) == (
        IMAGE_EMBEDDINGS,
        CHANNELS,
        16,
    )
    assert len({m.name for m in declared}) == len(declared)
    made = maps_of(built(encoder), images(2))
    assert [tuple(tensor.shape) for tensor in made] == [(2, *m.shape(SIZE)[1:]) for m in declared]
    assert {tensor.dtype for tensor in made} == {torch.float32}
    assert all(bool(torch.isfinite(tensor).all()) for tensor in made)


def sees_images_one_by_one(encoder: Encoder[Any], folder: Path) -> None:
    """What else is in a batch changes nothing, nor does what was seen before."""
    module = built(encoder)
    together = maps_of(module, images(2))
    for row in range(2):
        for one, both in zip(maps_of(module, images(2)[row : row + 1]), together, strict=True):
            assert_close(one, both[row : row + 1])
    assert float((together[0][0] - together[0][1]).abs().max()) > 1e-3


def has_few_axes_and_no_flow_by_data(encoder: Encoder[Any], folder: Path) -> None:
    module = built(encoder)
    assert_deployable(module, (images(1),), (100 * images(1, seed=1) - 7,), axes=MOST_AXES)


def is_the_same_in_onnx_runtime(encoder: Encoder[Any], folder: Path) -> None:
    model = EncodingOnly(built(encoder), SIZE, maps=encoder.maps(config_of(encoder))).eval()
    graph = EncoderGraph(model)
    feeds = graph.example()
    generator = torch.Generator().manual_seed(2)
    shape = feeds["image"].shape
    feeds["image"] = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    with torch.no_grad():
        wanted = maps_of(model.image_encoder, model.normalize(feeds["image"]))
    found = in_onnx_runtime(graph, model, folder)(feeds)
    assert list(found) == list(graph.output_names)
    for array, tensor in zip(found.values(), wanted, strict=True):
        assert_close(array, tensor)


CHECKS: tuple[Callable[[Encoder[Any], Path], None], ...] = (
    declares_itself,
    its_options_travel_in_a_checkpoint,
    refuses_options_that_it_does_not_have,
    gives_the_maps_that_it_declares,
    sees_images_one_by_one,
    has_few_axes_and_no_flow_by_data,
    is_the_same_in_onnx_runtime,
)
