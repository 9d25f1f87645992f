"""Signs folded into queries and keys: the same scores, from activations with one peak."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from samedge.bundle.manifest import ModelRecord
from samedge.calibration.plan import PlanRow, PrecisionPlan
from samedge.export import base
from samedge.export.base import ExportRequest
from samedge.export.graphs import DecoderGraph, EncoderGraph
from samedge.export.quantization import feeds_of
from samedge.export.signs import fold_signs, looked_at, make_unimodal
from samedge.models.forms.absorbed import HeadProjections
from samedge.models.mask_decoder import Attention
from samedge.models.sam import Sam
from samedge.proof.photos import load_calibration
from samedge.targets import target
from samedge.types import Array, Precision
from tests.toys.models import tiny_sam

SOURCE = ModelRecord(name="tiny", licence="Apache-2.0", origin="random numbers")
ALL = PrecisionPlan(default="int8")
ATTENTIONS = (
    "layers.0.token_to_image",
    "layers.0.image_to_token",
    "layers.1.self_attn",
    "final_token_to_image",
)


@pytest.fixture(scope="module")
def bimodal() -> Sam:
    """A random SAM whose queries and keys have two peaks, at 6 and at -6."""
    sam = tiny_sam(128, embed_dim=32, seed=1)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in sam.mask_decoder.modules():
            if isinstance(module, Attention):
                for layer in (module.q_proj, module.k_proj):
                    signs = torch.randint(0, 2, layer.bias.shape, generator=generator) * 2 - 1
                    layer.bias.copy_(6.0 * signs)
                    layer.weight.mul_(0.5)
    return sam


def request(model: Sam, plan: PrecisionPlan = ALL, row: str = "cpu") -> ExportRequest:
    return ExportRequest(
        model=model,
        source=SOURCE,
        target=target(row),
        precision=Precision.INT8,
        calibration=load_calibration(limit=2),
        plan=plan,
    )


def feeds(model: Sam) -> list[dict[str, Array]]:
    graph = DecoderGraph(model)
    return [dict(feed) for feed in itertools.islice(feeds_of(graph, request(model)), 6)]


def decode(graph: DecoderGraph, feed: dict[str, Array]) -> Tensor:
    with torch.no_grad():
        masks: Tensor = graph(**{name: torch.from_numpy(array) for name, array in feed.items()})[0]
    return masks


def narrow_tensors(graph: DecoderGraph, given: list[dict[str, Array]]) -> Iterator[Tensor]:
    """What the absorbed projections multiply, of every attention in turn."""
    seen: dict[str, list[Tensor]] = {name: [] for name in ATTENTIONS}
    hooks = []
    for name, found in seen.items():
        module = graph.decoder.get_submodule(name)

        def note(module: Any, inputs: tuple[Tensor, ...], found: list[Tensor] = found) -> None:
            found.append(looked_at(module, inputs).flatten())

        hooks.append(module.register_forward_pre_hook(note))
    for feed in given:
        decode(graph, feed)
    for hook in hooks:
        hook.remove()
    yield from (torch.cat(found) for found in seen.values())


def int8_noise(values: Tensor) -> float:
    """Mean square that one asymmetric 8-bit range for the whole tensor loses."""
    step = (values.max() - values.min()) / 255.0
    rounded = torch.round((values - values.min()) / step) * step + values.min()
    return float((rounded - values).square().mean())


def test_the_decoder_computes_what_it_did(bimodal: Sam) -> None:
    given = feeds(bimodal)
    before = {name: tensor.clone() for name, tensor in bimodal.state_dict().items()}
    plain, folded = DecoderGraph(bimodal), DecoderGraph(bimodal)
    assert make_unimodal(folded, request(bimodal)) > 20
    for feed in given:
        torch.testing.assert_close(decode(folded, feed), decode(plain, feed), atol=1e-5, rtol=0)
    assert all(torch.equal(before[name], tensor) for name, tensor in bimodal.state_dict().items())


def test_half_of_the_signs_would_be_noticed(bimodal: Sam) -> None:
    """The control: keys turned around alone change the masks by far more than the tolerance."""
    feed = feeds(bimodal)[0]
    plain, broken = DecoderGraph(bimodal), DecoderGraph(bimodal)
    make_unimodal(broken, request(bimodal))
    for name in ATTENTIONS:
        found: Any = broken.decoder.get_submodule(name)
        whole: Any = plain.decoder.get_submodule(name)
        if isinstance(whole, Attention):
            found.q_proj = whole.q_proj
        else:
            found.q_weight, found.q_bias = whole.q_weight, whole.q_bias
    assert (decode(broken, feed) - decode(plain, feed)).abs().max() > 1e-3


def test_one_range_for_all_channels_loses_less(bimodal: Sam) -> None:
    given = feeds(bimodal)
    folded = DecoderGraph(bimodal)
    make_unimodal(folded, request(bimodal))
    pairs = zip(
        narrow_tensors(DecoderGraph(bimodal), given), narrow_tensors(folded, given), strict=True
    )
    for before, after in pairs:
        torch.testing.assert_close(after.abs(), before.abs())
        assert after.std() < 0.5 * before.std()
        assert int8_noise(after) < 0.5 * int8_noise(before)


def test_a_second_time_there_is_nothing_to_turn(bimodal: Sam) -> None:
    graph = DecoderGraph(bimodal)
    chosen = [module for module in graph.modules() if isinstance(module, HeadProjections)]
    assert fold_signs(graph, chosen, feeds=feeds(bimodal)) > 20
    assert fold_signs(graph, chosen, feeds=feeds(bimodal)) == 0


def test_what_stays_float_is_left_alone(bimodal: Sam) -> None:
    usual = PrecisionPlan(modules=[PlanRow(module="decoder", precision="fp32")])
    assert make_unimodal(DecoderGraph(bimodal), request(bimodal, usual)) == 0
    assert make_unimodal(EncoderGraph(bimodal), request(bimodal)) == 0
    one = PrecisionPlan(
        default="fp32", modules=[PlanRow(module="decoder.final_token_to_image", precision="int8")]
    )
    graph, plain = DecoderGraph(bimodal), DecoderGraph(bimodal)
    assert 0 < make_unimodal(graph, request(bimodal, one)) <= 16
    for name in ATTENTIONS:
        pair = [part.decoder.get_submodule(name).state_dict() for part in (graph, plain)]
        same = all(torch.equal(pair[0][key], pair[1][key]) for key in pair[0])
        assert same == (name != "final_token_to_image")


@pytest.mark.parametrize("row", ["cpu", "intel"])
@pytest.mark.slow
def test_int8_decoders_are_written_with_half_the_range(
    bimodal: Sam, row: str, tmp_path: Path
) -> None:
    pytest.importorskip("nncf" if row == "intel" else "onnxruntime")
    name = target(row).format
    only = PlanRow(module="decoder.final_token_to_image", precision="int8")
    asked = request(bimodal, PrecisionPlan(default="fp32", modules=[only]), row)
    widths = {}
    for folds in (True, False):
        path = tmp_path / str(folds)
        path.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            if not folds:
                patch.setattr(f"samedge.export._{name}.make_unimodal", lambda *_: 0)
            files = base.get(name).export(asked, path)
        widths[folds] = range_width(path / files[1].path)
    assert widths[True] < 0.6 * widths[False]


def range_width(path: Path) -> float:
    """Of the 8-bit range of the queries that the last attention's absorbed keys multiply.

    With SmoothQuant there is a positive factor a channel in between.
    """
    tensor = "/decoder/final_token_to_image/Add"
    if path.suffix == ".xml":
        import openvino

        for op in openvino.Core().read_model(path).get_ops():
            if op.get_type_name() == "FakeQuantize" and origin(op) == tensor:
                low, high = (op.input_value(i).get_node().data.item() for i in (1, 2))
                return float(high - low)
    else:
        import onnx

        graph = onnx.load(path).graph
        constants = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
        for node in graph.node:
            if node.op_type == "QuantizeLinear" and node.input[0] == f"{tensor}_output_0":
                return 255.0 * float(constants[node.input[1]])
    raise AssertionError(f"{path.name} does not quantize {tensor}")


def origin(op: Any) -> str:
    """Name of the operator whose result is quantized."""
    source = op.input_value(0).get_node()
    if "smooth_quant" in source.get_friendly_name():
        source = source.input_value(0).get_node()
    return str(source.get_friendly_name())
