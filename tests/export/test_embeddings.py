"""A model whose encoder gives several tensors: exported, proved and run without further word."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from samedge import runtimes
from samedge.bundle.bundle import Bundle
from samedge.errors import ExportError
from samedge.export import export
from samedge.models.promptable import EmbeddingMap, PromptableModel, image_embeddings
from samedge.predict.predictor import Predictor
from samedge.types import Prompt
from tests.toys.models import PatchEncoder

SIDE = 64


class DetailedModel(PromptableModel):
    """The smallest model that looks at fine detail: blurred pictures go to the decoder as well."""

    encoder_parts = ("normalize", "image_encoder", "narrow")

    def __init__(self) -> None:
        fine = (EmbeddingMap(f"high_res_features_{stride}", 4, stride) for stride in (4, 8))
        super().__init__(PatchEncoder(16), SIDE, maps=(image_embeddings(16), *fine))
        self.narrow = nn.Conv2d(3, 4, 1)
        self.mix = nn.Conv2d(16, 4, 1)
        self.quality = nn.Linear(4, 4)

    def embed(self, image: Tensor) -> dict[str, Tensor]:
        fine = self.narrow(nn.functional.avg_pool2d(self.normalize(image), 4))
        return {
            "image_embeddings": self.encode(image),
            "high_res_features_4": fine,
            "high_res_features_8": nn.functional.avg_pool2d(fine, 2),
        }

    def decode(self, *_: Tensor) -> tuple[Tensor, Tensor]:
        raise AssertionError("this model needs all of its tensors")

    def decode_embedded(
        self, tensors: Mapping[str, Tensor], *prompts: Tensor
    ) -> tuple[Tensor, Tensor]:
        coords, labels, mask, has = prompts
        real = (labels >= 0).float()  # padding changes nothing
        near = (coords.sum(dim=2) * real / SIDE + labels.clamp(0, 3)).sum(dim=1).view(-1, 1, 1, 1)
        size = (SIDE // 4, SIDE // 4)
        coarse, middle = (
            nn.functional.interpolate(tensors[name], size=size, mode="nearest")
            for name in ("image_embeddings", "high_res_features_8")
        )
        masks = self.mix(coarse) + middle + 2 * tensors["high_res_features_4"] - near
        masks = masks + mask * has.view(-1, 1, 1, 1)
        return masks, self.quality(masks.mean(dim=(2, 3)))


@pytest.fixture(scope="module")
def model() -> DetailedModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return DetailedModel().eval().requires_grad_(requires_grad=False)


@pytest.mark.parametrize(
    ("target", "backend"), [("cpu", "onnxruntime"), ("intel", "openvino"), ("torch", "torch")]
)
def test_every_tensor_crosses_the_files(
    model: DetailedModel, tmp_path: Path, target: str, backend: str
) -> None:
    if not runtimes.get(backend).probe().available:
        pytest.skip(runtimes.get(backend).probe().detail)
    result = export(model, target, output=tmp_path / "bundle", precision="fp32")
    assert result.parity is not None
    assert result.parity.passed
    assert result.parity.embedding_cosine_min > 0.9999
    encoder, decoder = (Bundle.open(tmp_path / "bundle").graph(r) for r in ("encoder", "decoder"))
    names = [tensor.name for tensor in encoder.outputs]
    assert names == list(model.embedding_names)
    assert [tensor.name for tensor in decoder.inputs][: len(names)] == names
    assert [tensor.shape for tensor in encoder.outputs] == [
        list(model.embedding_shapes()[name]) for name in names
    ]
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    with Predictor.from_bundle(tmp_path / "bundle", threads=1) as predictor:
        embedding = predictor.encode(image)
        logits, _ = predictor.decode_logits(embedding, [Prompt(points=[[20, 30]])])
    assert set(embedding.tensors) == set(names)
    pixels = torch.from_numpy(embedding.view.encoder_input(image))
    wanted = model.embed(pixels)
    for name in names:
        np.testing.assert_allclose(embedding.tensors[name], wanted[name], atol=1e-4)
    coords = torch.from_numpy(embedding.view.input_coords(np.array([[20, 30], [0, 0]])))
    coords[1] = 0.0
    masks, _ = model.decode_embedded(
        wanted,
        coords[None],
        torch.tensor([[1.0, -1.0]]),
        torch.zeros(1, 1, SIDE // 4, SIDE // 4),
        torch.zeros(1),
    )
    np.testing.assert_allclose(logits, masks, atol=1e-3)


def test_other_projects_tensors_have_one_embedding(model: DetailedModel, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"dialect meta: its encoder gives .*high_res_features_4"):
        export(model, "cpu", output=tmp_path / "bundle", dialects=["meta"])
