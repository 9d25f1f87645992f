"""The embedded model, broken in every way that is known here: nothing of it may pass.

Faults of one layer hit other layers with other seeds; ``benchmarks/gates.py mutants`` runs more of
them, and docs/gates.md has the table.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest
import torch

from samedge.bundle.bundle import Bundle, embedded_path
from samedge.models import base, zoo
from samedge.models.decoders import decoder
from samedge.models.promptable import PromptableModel
from samedge.proof import parity
from samedge.proof.accuracy import compare
from samedge.proof.decision import Budget, graph_limits
from samedge.proof.photos import load_calibration
from samedge.proof.reference import TorchReference
from samedge.proof.scenes import Reference
from samedge.types import Precision
from tests.models.conftest import fill
from tests.proof import emulated, mutants

MODEL = "samedge-nano"
pytestmark = pytest.mark.skipif(
    not zoo.MODELS[MODEL].is_present, reason=f"this package carries no {MODEL}"
)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@functools.cache
def plain() -> PromptableModel:
    return zoo.load_model(MODEL).eval()


@functools.cache
def computed(precision: Precision) -> PromptableModel:
    """As a precision computes it; INT8 is the encoder's, with bf16 elsewhere."""
    if precision is not Precision.INT8:
        return emulated.rounded(plain(), precision)
    feeds = load_calibration().encoder_feeds(plain().frame)
    return emulated.rounded(emulated.quantized(plain(), feeds), Precision.BF16)


@pytest.fixture(scope="module")
def of_maps() -> PromptableModel:
    """The embedded kind, tiny: an encoder of three maps under the click decoder."""
    encoder, kind = base.encoder("pyramid"), decoder("click")
    trunk = encoder.build(encoder.tiny(image_size=64, embed_dim=32))
    model = kind.build(kind.tiny(embed_dim=32), trunk, image_size=64)
    fill(model)
    assert isinstance(model, PromptableModel)
    return model


@pytest.mark.parametrize("name", sorted(mutants.MUTATIONS))
def test_every_fault_is_one_of_a_model_of_several_maps_too(
    of_maps: PromptableModel, name: str
) -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (1, 64, 64, 3), generator=generator, dtype=torch.uint8)
    coords = torch.tensor([[[8.0, 12.0], [40.0, 52.0], [22.0, 40.0]]])
    mask = torch.randn(1, 1, 16, 16, generator=generator)
    inputs = (image, coords, torch.tensor([[2.0, 3.0, 1.0]]), mask, torch.ones(1))
    with torch.no_grad():
        expected = of_maps(*inputs)
        given = mutants.mutant(of_maps, name)(*inputs)
    assert any(not torch.allclose(a, b, atol=1e-4) for a, b in zip(expected, given, strict=True))


def measured(model: PromptableModel, precision: Precision) -> parity.Parity:
    photos = list(load_calibration().photos())[:2]
    limits = graph_limits(precision, Precision.BF16)
    with emulated.opened(Bundle.open(embedded_path(), verify=False), model) as subject:
        return parity.measure(TorchReference(plain()), subject, photos=photos, limits=limits)


@pytest.mark.slow
@pytest.mark.parametrize("precision", [Precision.BF16, Precision.INT8])
def test_rounding_alone_passes(precision: Precision) -> None:
    found = measured(computed(precision), precision)
    for name, figure, limit in found.figures():
        print(f"{precision.value} {name}: {figure:.4f}, limit {limit:.4f}")
    found.check()


@pytest.mark.slow
@pytest.mark.parametrize("precision", [Precision.INT8])
@pytest.mark.parametrize("name", sorted(mutants.OF_ONE_LAYER))
@pytest.mark.parametrize("seed", [0])
def test_a_fault_does_not_pass(name: str, precision: Precision, seed: int) -> None:
    """Refused by parity, or proven by accuracy to lose too much."""
    broken = mutants.mutant(computed(precision), name, seed=seed)
    if not measured(broken, precision).passed:
        return
    bundle = Bundle.open(embedded_path(), verify=False)
    with (
        emulated.opened(bundle, plain()) as reference,
        emulated.opened(bundle, broken) as subject,
    ):
        found = compare(
            Reference(reference, load_calibration()),
            subject,
            budget=Budget(seconds=120.0),
            timed=False,
        )
    print(name, found.summary)
    assert found.verdict == "refused"
