"""PyTorch programs: the third backend opens what samedge exports."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import samedge
from samedge.export.pipeline import export
from samedge.models.sam import Sam
from samedge.predict.predictor import Predictor
from samedge.types import Prompt


@pytest.mark.slow
def test_a_bundle_for_torch(sam: Sam, tmp_path: Path) -> None:
    result = export(sam, "torch", output=tmp_path / "bundle")
    assert result.parity is not None
    assert result.parity.mask_iou_mean > 0.9999
    image = np.full((90, 60, 3), 200, np.uint8)
    prompts = [Prompt(points=[[30, 45]]), Prompt(box=[5, 5, 50, 80]), Prompt(points=[[1, 2]] * 3)]
    with Predictor.from_bundle(tmp_path / "bundle", threads=1) as predictor:
        embedding = predictor.encode(image)
        together = predictor.decode_batch(embedding, prompts)
        for prompt, masks in zip(prompts, together, strict=True):
            alone = predictor.decode(embedding, prompt)
            assert np.abs(alone.low_res_logits - masks.low_res_logits).max() < 1e-5
    assert torch.is_grad_enabled()
    package = Path(samedge.__file__).parent
    for program in (tmp_path / "bundle").glob("*.pt2"):
        assert str(package).encode() not in program.read_bytes(), "it names the exporter's folders"
