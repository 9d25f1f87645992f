"""What every mask decoder promises, as functions that raise where one does not keep it.

``test_decoders.py`` runs them over every decoder that discovery finds, and over a broken one each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from torch import Tensor, nn

from samedge.bundle.thresholds import Thresholds
from samedge.errors import CheckpointError, UnknownNameError
from samedge.export.graphs import DecoderGraph, folded
from samedge.models.decoders import Decoder
from samedge.models.promptable import PromptableModel
from samedge.types import IMAGE_EMBEDDINGS
from tests.contract.graph_watch import assert_close, assert_deployable, in_onnx_runtime
from tests.models.conftest import fill
from tests.toys.models import PatchEncoder

SIZE, CHANNELS = 64, 32
LOW_RES = SIZE // 4
MOST_AXES, MOST_PLANAR_AXES = 5, 4
PADDING_POINT = (33.0, 1.0)

POINT = ((20.0, 30.0), (0.0, 0.0)), (1.0, -1.0)
BOX = ((8.0, 12.0), (40.0, 52.0)), (2.0, 3.0)
PROMPTS = (
    POINT,
    (((20.0, 30.0), (50.0, 11.0)), (1.0, 0.0)),
    BOX,
    (((8.0, 12.0), (40.0, 52.0), (22.0, 40.0)), (2.0, 3.0, 1.0)),
    (((0.0, 0.0),), (-2.0,)),
)

Feeds = dict[str, Tensor]


def config_of(decoder: Decoder[Any, Any]) -> Any:
    return decoder.tiny(embed_dim=CHANNELS)


def built(decoder: Decoder[Any, Any]) -> PromptableModel:
    """A tiny model with weights that make every term count."""
    model = decoder.build(config_of(decoder), PatchEncoder(CHANNELS), image_size=SIZE)
    fill(model)
    assert isinstance(model, PromptableModel)
    return model


def feeds(
    model: PromptableModel,
    *prompts: tuple[Any, Any],
    images: int = 1,
    has_mask: float = 0.0,
    extra: float | None = None,
) -> Feeds:
    """Every map of a random embedding, and prompts of one length, a row each.

    Args:
        model: whose maps.
        prompts: points and labels.
        images: image embeddings.
        has_mask: whether the masks that come along count.
        extra: label of one more point that must not matter.
    """
    generator = torch.Generator().manual_seed(1)
    more = [] if extra is None else [PADDING_POINT]
    shapes = {name: shape[1:] for name, shape in model.embedding_shapes().items()}
    return {
        **{n: torch.randn(images, *shape, generator=generator) for n, shape in shapes.items()},
        "point_coords": torch.tensor([[*points, *more] for points, _ in prompts]),
        "point_labels": torch.tensor(
            [[*labels, *([] if extra is None else [extra])] for _, labels in prompts]
        ),
        "mask_input": 6 * torch.randn(len(prompts), 1, LOW_RES, LOW_RES, generator=generator),
        "has_mask_input": torch.full((len(prompts),), has_mask),
    }


def decoded(form: nn.Module, given: Feeds) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        masks, quality = form(*given.values())
    return masks, quality


def answers(model: PromptableModel, given: Feeds) -> tuple[Tensor, Tensor]:
    embedding = {name: given[name] for name in model.embedding_names}
    prompts = [tensor for name, tensor in given.items() if name not in embedding]
    with torch.no_grad():
        return model.decode_embedded(embedding, *prompts)


def kinds(model: PromptableModel) -> Iterator[Feeds]:
    """Every kind of prompt, with and without an earlier mask."""
    for prompt in PROMPTS:
        for has_mask in (0.0, 1.0):
            yield feeds(model, prompt, has_mask=has_mask)


def rows_of(model: PromptableModel, given: Feeds, rows: slice) -> Feeds:
    return {n: t if n in model.embedding_names else t[rows] for n, t in given.items()}


# ---- the checks


def declares_itself(decoder: Decoder[Any, Any], folder: Path) -> None:
    assert decoder.name.isidentifier()
    config = config_of(decoder)
    assert type(config) is decoder.config_type
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.embed_dim = 1
    model = built(decoder)
    assert model.decoder_name == decoder.name
    assert model.image_size == SIZE
    assert model.maps == decoder.maps(config)
    assert (model.maps[0].name, model.embed_dim, model.maps[0].stride) == (
        IMAGE_EMBEDDINGS,
        CHANNELS,
        16,
    )


def has_thresholds_that_a_manifest_takes(decoder: Decoder[Any, Any], folder: Path) -> None:
    text = msgspec.json.encode(decoder.thresholds)
    assert msgspec.json.decode(text, type=Thresholds) == decoder.thresholds


def its_options_travel_in_a_checkpoint(decoder: Decoder[Any, Any], folder: Path) -> None:
    config = config_of(decoder)
    text = msgspec.json.encode(dataclasses.asdict(config))
    assert decoder.config_from_mapping(msgspec.json.decode(text)) == config


def refuses_options_that_it_does_not_have(decoder: Decoder[Any, Any], folder: Path) -> None:
    with pytest.raises(UnknownNameError, match=f"{decoder.name}.*'embed_dims'"):
        decoder.config_from_mapping({"embed_dims": 1})
    width = dataclasses.fields(decoder.config_type)[0].name
    with pytest.raises(CheckpointError, match=width):
        decoder.config_from_mapping({width: "many"})


def has_sams_outputs(decoder: Decoder[Any, Any], folder: Path) -> None:
    model = built(decoder)
    for given in kinds(model):
        masks, quality = answers(model, given)
        assert tuple(masks.shape) == (1, 4, LOW_RES, LOW_RES)
        assert tuple(quality.shape) == (1, 4)
        for tensor in (masks, quality):
            assert tensor.dtype == torch.float32
            assert bool(torch.isfinite(tensor).all())


def padding_a_prompt_changes_nothing(decoder: Decoder[Any, Any], folder: Path) -> None:
    model = built(decoder)
    for prompt in (POINT, BOX):
        plain = answers(model, feeds(model, prompt))
        for label in (-1.0, -2.0):
            padded = answers(model, feeds(model, prompt, extra=label))
            for got, wanted in zip(padded, plain, strict=True):
                assert_close(got, wanted)


def prompts_are_decoded_one_by_one(decoder: Decoder[Any, Any], folder: Path) -> None:
    model = built(decoder)
    given = feeds(model, POINT, BOX, has_mask=1.0)
    masks, _ = answers(model, given)
    for row in range(2):
        alone, _ = answers(model, rows_of(model, given, slice(row, row + 1)))
        assert_close(masks[row : row + 1], alone)


def prompts_meet_their_own_image(decoder: Decoder[Any, Any], folder: Path) -> None:
    model = built(decoder)
    each = 2 if decoder.repeats_images else 1
    given = feeds(model, *[POINT] * each, *[BOX] * each, images=2)
    masks, _ = answers(model, given)
    for image, rows in enumerate((slice(0, each), slice(each, None))):
        embedding = {n: given[n][image : image + 1] for n in model.embedding_names}
        own = {**rows_of(model, given, rows), **embedding}
        assert_close(masks[rows], answers(model, own)[0])


def every_kind_of_prompt_counts(decoder: Decoder[Any, Any], folder: Path) -> None:
    model = built(decoder)
    plain, _ = answers(model, feeds(model, POINT))
    moved = ((44.0, 50.0), (0.0, 0.0))
    others = {
        "place": feeds(model, (moved, POINT[1])),
        "label": feeds(model, (POINT[0], (0.0, -1.0))),
        "box": feeds(model, BOX),
        "mask": feeds(model, POINT, has_mask=1.0),
    }
    for what, given in others.items():
        change = float((answers(model, given)[0] - plain).abs().max())
        assert change > 1e-3, f"the {what} of a prompt changes nothing"
    hidden = {**feeds(model, POINT), "mask_input": torch.full((1, 1, LOW_RES, LOW_RES), 9.0)}
    assert torch.equal(answers(model, hidden)[0], plain), "an absent mask counts"


def its_deployed_form_is_equal(decoder: Decoder[Any, Any], folder: Path) -> None:
    model = built(decoder)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for centred in (False, True):
        form = decoder.deployed(model, centred=centred).eval()
        for given in kinds(model):
            _assert_same(form, model, given)
        _assert_same(form, model, feeds(model, POINT, BOX, has_mask=1.0))
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())


def its_planar_form_is_equal(decoder: Decoder[Any, Any], folder: Path) -> None:
    model = built(decoder)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    form = decoder.planar(model)
    if form is None:
        return
    form.eval()
    for given in (*kinds(model), feeds(model, POINT, BOX, has_mask=1.0)):
        _assert_same(form, model, given)
    batch, count = given["point_labels"].shape
    points = form.prompts(given["point_coords"], given["point_labels"])
    assert tuple(tuple(t.shape) for t in points) == form.prompts.output_shapes(batch, count)
    assert len(set(form.prompts.output_names)) == len(points)
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())


def _assert_same(form: nn.Module, model: PromptableModel, given: Feeds) -> None:
    for got, wanted in zip(decoded(form, given), answers(model, given), strict=True):
        assert_close(got, wanted)


def its_forms_have_few_axes_and_no_flow_by_data(decoder: Decoder[Any, Any], folder: Path) -> None:
    model = built(decoder)
    given = [
        tuple(each.values()) for each in (feeds(model, POINT), feeds(model, BOX, has_mask=1.0))
    ]
    form = decoder.planar(model)
    with folded(model):
        assert_deployable(decoder.deployed(model).eval(), *given, axes=MOST_AXES)
        if form is not None:
            assert_deployable(form.eval(), *given, axes=MOST_PLANAR_AXES)


def is_the_same_in_onnx_runtime(decoder: Decoder[Any, Any], folder: Path) -> None:
    """Also for other numbers of prompts and points than the graph was traced with."""
    model = built(decoder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("samedge.models.decoders.decoder_of", lambda _: decoder)
        graph = DecoderGraph(model)
    run = in_onnx_runtime(graph, model, folder)
    for given in (
        feeds(model, BOX),
        feeds(model, POINT, BOX, POINT, has_mask=1.0),
        feeds(model, PROMPTS[3]),
    ):
        found = run(given)
        masks, quality = answers(model, given)
        assert list(found) == list(graph.output_names)
        assert_close(found["low_res_masks"], masks)
        assert_close(found["iou_predictions"], quality)


CHECKS: tuple[Callable[[Decoder[Any, Any], Path], None], ...] = (
    declares_itself,
    has_thresholds_that_a_manifest_takes,
    its_options_travel_in_a_checkpoint,
    refuses_options_that_it_does_not_have,
    has_sams_outputs,
    padding_a_prompt_changes_nothing,
    prompts_are_decoded_one_by_one,
    prompts_meet_their_own_image,
    every_kind_of_prompt_counts,
    its_deployed_form_is_equal,
    its_planar_form_is_equal,
    its_forms_have_few_axes_and_no_flow_by_data,
    is_the_same_in_onnx_runtime,
)
