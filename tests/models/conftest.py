"""The references that samedge's model is tested against, small and with random weights."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

IMAGE_SIZE = 128
WIDTH, HEADS, DEPTH, WINDOW, GLOBAL = 64, 4, 3, 3, (1,)
EMBED_DIM, DECODER_MLP = 32, 48


def fill(model: nn.Module, seed: int = 0) -> nn.Module:
    """Fill every parameter, also those that start at 0 or 1, so that none can be forgotten."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            is_scale = parameter.ndim == 1 and name.endswith("weight")
            is_token = "embed" in name or "token.w" in name or "tokens.w" in name
            fan_in = parameter[0].numel() if parameter.ndim > 1 and not is_token else 1
            parameter.copy_(1 + 0.2 * noise if is_scale else noise * (0.8 / fan_in**0.5))
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(0.1 * torch.randn(buffer.shape, generator=generator))
            elif name.endswith("running_var"):
                buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
            elif name.endswith(("gaussian", "gaussian_matrix")):  # of positions: drawn, not zero
                buffer.copy_(torch.randn(buffer.shape, generator=generator))
    return model.eval().requires_grad_(False)


def build_meta_sam(image_size: int = IMAGE_SIZE) -> Any:
    """PyPI's segment-anything, tiny."""
    from segment_anything.modeling import (
        ImageEncoderViT,
        MaskDecoder,
        PromptEncoder,
        Sam,
        TwoWayTransformer,
    )

    grid = image_size // 16
    encoder = ImageEncoderViT(
        img_size=image_size,
        embed_dim=WIDTH,
        depth=DEPTH,
        num_heads=HEADS,
        mlp_ratio=2,
        out_chans=EMBED_DIM,
        norm_layer=functools.partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=WINDOW,
        global_attn_indexes=GLOBAL,
    )
    prompt = PromptEncoder(EMBED_DIM, (grid, grid), (image_size, image_size), 16)
    transformer = TwoWayTransformer(
        depth=2, embedding_dim=EMBED_DIM, num_heads=8, mlp_dim=DECODER_MLP
    )
    decoder = MaskDecoder(
        transformer_dim=EMBED_DIM,
        transformer=transformer,
        num_multimask_outputs=3,
        iou_head_depth=3,
        iou_head_hidden_dim=EMBED_DIM,
    )
    return fill(Sam(encoder, prompt, decoder))


def build_hugging_face_sam() -> Any:
    """transformers' SamModel, tiny."""
    from transformers import SamConfig, SamModel

    config = SamConfig(
        vision_config={
            "hidden_size": WIDTH,
            "num_hidden_layers": DEPTH,
            "num_attention_heads": HEADS,
            "image_size": IMAGE_SIZE,
            "global_attn_indexes": list(GLOBAL),
            "window_size": WINDOW,
            "output_channels": EMBED_DIM,
            "mlp_dim": 2 * WIDTH,
            "num_pos_feats": EMBED_DIM // 2,
        },
        prompt_encoder_config={"hidden_size": EMBED_DIM, "image_size": IMAGE_SIZE},
        mask_decoder_config={
            "hidden_size": EMBED_DIM,
            "mlp_dim": DECODER_MLP,
            "iou_head_hidden_dim": EMBED_DIM,
        },
    )
    config._attn_implementation = "eager"
    model: Any = fill(SamModel(config), seed=1)
    with torch.no_grad():  # one encoding under two names, as in the published checkpoints
        shared = model.shared_image_embedding.positional_embedding
        model.prompt_encoder.shared_embedding.positional_embedding.copy_(shared)
    return model


@pytest.fixture(scope="session")
def randomise() -> Callable[[nn.Module], nn.Module]:
    """Fills a module with random weights in place."""
    return fill


@pytest.fixture(scope="session")
def meta_sam() -> Any:
    return build_meta_sam()


@pytest.fixture(scope="session")
def hugging_face_sam() -> Any:
    return build_hugging_face_sam()


@pytest.fixture(scope="session")
def meta_file(meta_sam: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny segment-anything model as a ``.pth`` file."""
    path = tmp_path_factory.mktemp("meta") / "sam_tiny.pth"
    torch.save(meta_sam.state_dict(), path)
    return path


@pytest.fixture(scope="session")
def hugging_face_folder(hugging_face_sam: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny transformers model as ``save_pretrained`` writes it."""
    path = tmp_path_factory.mktemp("hf")
    hugging_face_sam.save_pretrained(path, safe_serialization=True)
    return path


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Reductions in one order, whatever the machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
