"""A tiny random model, exported once for each target."""

from __future__ import annotations

import functools
import hashlib
import os
import pickle
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import torch

from samedge.bundle.manifest import ModelRecord
from samedge.export.base import ExportRequest, ExportResult
from samedge.export.pipeline import export
from samedge.models.checkpoints import load_checkpoint
from samedge.models.click_decoder import ClickSam
from samedge.models.decoders import decoder
from samedge.models.painted import PaintedDecoder, PaintedSam
from samedge.models.painted_trunk import PaintedConfig
from samedge.models.sam import Sam
from samedge.proof import decision
from samedge.proof.reference import TorchReference
from samedge.targets import target
from samedge.types import Array, Precision
from tests.models.conftest import build_meta_sam, fill
from tests.toys.models import PatchEncoder, tiny_sam
from tests.toys.remembered import Remembered, identity

SIDE, CHANNELS = 128, 32
SOURCE = ModelRecord(name="tiny", licence="Apache-2.0", origin="random numbers", encoder="patch")


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """Small tensors gain nothing from threads, and a busy machine takes much."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


LARGEST_ANSWER_BYTES = 1 << 18
_ANSWERS: dict[bytes, dict[str, Array]] = {}


@pytest.fixture(autouse=True, scope="module")
def _answered_once() -> Iterator[None]:
    """Let a tiny model in torch answer the same question once: parity asks it of every bundle."""
    run = TorchReference.run
    models = weakref.WeakKeyDictionary[TorchReference, bytes | None]()

    def remembered(self: TorchReference, role: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        if self not in models:
            models[self] = identity(self.model)
        model = models[self]
        if model is None:
            return run(self, role, feeds)
        content = pickle.dumps((role, sorted(feeds.items())))
        key = hashlib.sha256(model + content).digest()
        if key in _ANSWERS:
            return {name: array.copy() for name, array in _ANSWERS[key].items()}
        found = run(self, role, feeds)
        if sum(array.nbytes for array in found.values()) < LARGEST_ANSWER_BYTES:
            _ANSWERS[key] = {name: array.copy() for name, array in found.items()}
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TorchReference, "run", remembered)
        yield


@pytest.fixture(autouse=True)
def _little_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights lose nothing that could be proven: their masks are measured for a moment."""
    monkeypatch.setattr(decision, "SECONDS", 1.0)


@pytest.fixture(scope="session")
def sam() -> Sam:
    return tiny_sam(SIDE, embed_dim=CHANNELS)


@pytest.fixture(scope="session")
def painted() -> PaintedSam:
    return tiny_painted()


def tiny_painted() -> PaintedSam:
    """A click-map decoder, tiny, with weights that are not at their start."""
    config = PaintedConfig(
        embed_dim=CHANNELS, coarse=16, middle=8, fine=8, blocks=1, heads=2, head_dim=4
    )
    model = PaintedSam(PatchEncoder(CHANNELS), PaintedDecoder(SIDE, config))
    fill(model)
    return model


@pytest.fixture(scope="session")
def click() -> ClickSam:
    """The decoder that is embedded, tiny, under an encoder that is not its own."""
    kind = decoder("click")
    model = kind.build(kind.tiny(embed_dim=CHANNELS), PatchEncoder(CHANNELS), image_size=SIDE)
    fill(model)
    assert isinstance(model, ClickSam)
    return model


@pytest.fixture(scope="session")
def meta_sam() -> Any:
    """PyPI's segment-anything, tiny and random."""
    return build_meta_sam(SIDE)


@pytest.fixture(scope="session")
def same_as_meta(meta_sam: Any, tmp_path_factory: pytest.TempPathFactory) -> Sam:
    """Our model with the weights of ``meta_sam``."""
    path = tmp_path_factory.mktemp("meta") / "sam.pth"
    torch.save(meta_sam.state_dict(), path)
    model = load_checkpoint(path)
    assert isinstance(model, Sam)
    return model


@pytest.fixture(scope="session")
def request_for(sam: Sam) -> Callable[..., ExportRequest]:
    """A request to export the tiny model."""

    def make(name: str = "cpu", **changes: Any) -> ExportRequest:
        row = target(name)
        fields: dict[str, Any] = {
            "model": sam,
            "source": SOURCE,
            "target": row,
            "precision": Precision.FP32,
        }
        return ExportRequest(**{**fields, **changes})

    return make


@pytest.fixture(scope="session")
def exported(sam: Sam, remembered: Remembered) -> Callable[[str], ExportResult]:
    """The tiny model's fp32 bundle for a target, made when it is first asked for. Read only."""

    def make(name: str) -> bytes:
        remembered.folder.mkdir(exist_ok=True)
        output = remembered.folder / f"tiny-{name}-{os.getpid()}"
        return pickle.dumps(export(sam, name, precision="fp32", output=output, dialects=["meta"]))

    @functools.cache
    def made(name: str) -> ExportResult:
        result = pickle.loads(remembered(f"tiny for {name}".encode(), lambda: make(name)))
        assert isinstance(result, ExportResult)
        return result

    return made
