"""The same random weights give the same numbers as the two published implementations."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from samedge.models.checkpoints import load_checkpoint
from samedge.models.promptable import PromptableModel

TOLERANCE = 2e-5  # fp32 rounding is about 2e-6 here
SIZE = 128


@dataclasses.dataclass(frozen=True)
class Case:
    """One prompt as a user means it: points with labels, a box, a mask."""

    name: str
    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    box: tuple[float, float, float, float] | None = None
    mask: bool = False


CASES = (
    Case("nothing"),
    Case("one foreground point", ((40.5, 70.25),), (1,)),
    Case("one background point", ((40.5, 70.25),), (0,)),
    Case("many points", ((3, 4), (90, 20), (64, 64), (0, 127), (120.5, 99)), (1, 0, 1, 1, 0)),
    Case("box", box=(10, 20, 90.5, 100)),
    Case("box and points", ((40, 40), (80, 90)), (1, 0), (10, 20, 90, 100)),
    Case("mask", mask=True),
    Case("mask and point", ((40, 70),), (1,), mask=True),
    Case("mask, box and point", ((40, 70),), (1,), (5, 6, 70, 80), mask=True),
)

CASE = {case.name: case for case in CASES}


def mask_prompt(case: Case) -> Tensor:
    generator = torch.Generator().manual_seed(len(case.name))
    return 4 * torch.randn(1, 1, SIZE // 4, SIZE // 4, generator=generator)


def feeds(case: Case, *, extra: int = 0) -> dict[str, Tensor]:
    """What samedge's host code would feed the decoder, padded with ``extra`` more -1 points."""
    points = [*case.points]
    labels: list[int] = [*case.labels]
    if case.box is not None:
        points += [case.box[:2], case.box[2:]]
        labels += [2, 3]
    elif case.points:
        points, labels = [*points, (0.0, 0.0)], [*labels, -1]
    else:
        points, labels = [(0.0, 0.0)], [-2]
    points += [(17.0, 3.0)] * extra  # what stands there must not matter
    labels += [-1] * extra
    return {
        "point_coords": torch.tensor([points], dtype=torch.float32),
        "point_labels": torch.tensor([labels], dtype=torch.float32),
        "mask_input": mask_prompt(case) if case.mask else torch.full((1, 1, 32, 32), 7.0),
        "has_mask_input": torch.tensor([float(case.mask)]),
    }


@pytest.fixture(scope="session")
def image() -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (2, SIZE, SIZE, 3), dtype=torch.uint8, generator=generator)


@pytest.fixture(scope="session")
def from_meta(meta_file: Path) -> PromptableModel:
    return load_checkpoint(meta_file)


@pytest.fixture(scope="session")
def from_hugging_face(hugging_face_folder: Path) -> PromptableModel:
    return load_checkpoint(hugging_face_folder)


def close(what: str, got: Tensor, expected: Tensor, tolerance: float = TOLERANCE) -> None:
    assert got.shape == expected.shape
    difference = float((got - expected).abs().max())
    print(f"{what}: {difference:.1e} of {float(expected.std()):.2f}")
    assert float(expected.std()) > 1e-2, "a constant reference proves nothing"
    assert difference < tolerance


def meta_decode(meta: Any, embedding: Tensor, case: Case) -> tuple[Tensor, Tensor]:
    """segment-anything's own low-level calls, all four masks."""
    points = None
    if case.points:
        labels = torch.tensor([case.labels], dtype=torch.int)
        points = (torch.tensor([case.points], dtype=torch.float32), labels)
    box = None if case.box is None else torch.tensor([case.box], dtype=torch.float32)
    mask = mask_prompt(case) if case.mask else None
    sparse, dense = meta.prompt_encoder(points=points, boxes=box, masks=mask)
    masks, ious = meta.mask_decoder.predict_masks(
        image_embeddings=embedding,
        image_pe=meta.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
    )
    return masks, ious


def test_image_embeddings_of_segment_anything(
    from_meta: PromptableModel, meta_sam: Any, image: Tensor
) -> None:
    expected = meta_sam.image_encoder(meta_sam.preprocess(image.permute(0, 3, 1, 2).float()))
    close("embedding", from_meta.encode(image), expected)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_decoder_of_segment_anything(
    from_meta: PromptableModel, meta_sam: Any, image: Tensor, case: Case
) -> None:
    embedding = from_meta.encode(image[:1])
    expected_masks, expected_ious = meta_decode(meta_sam, embedding, case)
    masks, ious = from_meta.decode(embedding, **feeds(case))
    close("logits", masks, expected_masks)
    close("iou", ious, expected_ious)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("extra", [1, 7])
def test_padding_a_prompt_changes_nothing(
    from_meta: PromptableModel, image: Tensor, case: Case, extra: int
) -> None:
    embedding = from_meta.encode(image[:1])
    masks, ious = from_meta.decode(embedding, **feeds(case))
    padded_masks, padded_ious = from_meta.decode(embedding, **feeds(case, extra=extra))
    # Masked terms are exactly zero; what is left is the rounding of longer sums.
    assert float((masks - padded_masks).abs().max()) < 1e-5
    assert float((ious - padded_ious).abs().max()) < 1e-5


def test_padding_points_of_segment_anything_are_not_ignored(
    from_meta: PromptableModel, image: Tensor
) -> None:
    """SAM's own padding point takes part in the attention; only the surplus ones must not."""
    embedding = from_meta.encode(image[:1])
    case = CASE["one foreground point"]
    with_padding = feeds(case)
    without = {**with_padding}
    without["point_coords"] = with_padding["point_coords"][:, :1]
    without["point_labels"] = with_padding["point_labels"][:, :1]
    masks, _ = from_meta.decode(embedding, **with_padding)
    bare, _ = from_meta.decode(embedding, **without)
    assert float((masks - bare).abs().max()) > 50 * TOLERANCE


@pytest.mark.parametrize("changed", ["label", "corner order", "point", "mask"])
def test_these_weights_would_show_a_mistake(
    from_meta: PromptableModel, image: Tensor, changed: str
) -> None:
    """Parity proves something only if each part of a prompt moves the result past the tolerance."""
    embedding = from_meta.encode(image[:1])
    right = feeds(CASE["mask, box and point"])
    wrong = {key: value.clone() for key, value in right.items()}
    if changed == "label":
        wrong["point_labels"][0, 0] = 0
    elif changed == "corner order":
        wrong["point_labels"][0, 1:] = torch.tensor([3.0, 2.0])
    elif changed == "point":
        wrong["point_coords"][0, 0] += 2
    else:
        wrong["has_mask_input"][:] = 0
    masks, _ = from_meta.decode(embedding, **right)
    moved, _ = from_meta.decode(embedding, **wrong)
    difference = float((masks - moved).abs().max())
    print(f"{changed}: {difference:.1e}")
    assert difference > 10 * TOLERANCE


def test_a_batch_gives_what_its_prompts_give_alone(
    from_meta: PromptableModel, meta_sam: Any, image: Tensor
) -> None:
    """Prompts of every kind in one call, padded to the longest, on one image."""
    embedding = from_meta.encode(image[:1])
    longest = max(feeds(case)["point_labels"].shape[1] for case in CASES)
    padded = [feeds(case, extra=longest - feeds(case)["point_labels"].shape[1]) for case in CASES]
    batch = {key: torch.cat([feed[key] for feed in padded]) for key in padded[0]}
    masks, ious = from_meta.decode(embedding, **batch)
    for index, case in enumerate(CASES):
        expected_masks, expected_ious = meta_decode(meta_sam, embedding, case)
        close(case.name, masks[index : index + 1], expected_masks)
        close(case.name, ious[index : index + 1], expected_ious)


def test_a_batch_of_segment_anything(
    from_meta: PromptableModel, meta_sam: Any, image: Tensor
) -> None:
    """Their own batch of points with boxes and masks, in one call on either side."""
    embedding = from_meta.encode(image[:1])
    points = torch.tensor([[[40.0, 40], [80, 90]], [[3, 4], [90, 20]], [[64, 64], [0, 127]]])
    labels = torch.tensor([[1, 0], [1, 1], [0, 1]])
    boxes = torch.tensor([[10.0, 20, 90, 100], [0, 0, 99, 30], [50, 40, 70.5, 127]])
    masks = torch.cat([mask_prompt(case) for case in (CASES[0], CASES[3], CASES[5])])
    sparse, dense = meta_sam.prompt_encoder(points=(points, labels), boxes=boxes, masks=masks)
    expected = meta_sam.mask_decoder.predict_masks(
        image_embeddings=embedding,
        image_pe=meta_sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
    )
    corners = torch.tensor([[2.0, 3.0]]).expand(3, -1)
    given = from_meta.decode(
        embedding,
        torch.cat([points, boxes.view(3, 2, 2)], dim=1),
        torch.cat([labels.float(), corners], dim=1),
        masks,
        torch.ones(3),
    )
    close("logits", given[0], expected[0])
    close("iou", given[1], expected[1])


def test_one_image_a_prompt(from_meta: PromptableModel, image: Tensor) -> None:
    embeddings = from_meta.encode(image)
    one = feeds(CASE["many points"])
    both = {key: torch.cat([value, value]) for key, value in one.items()}
    masks, ious = from_meta.decode(embeddings, **both)
    for index in range(2):
        alone, iou = from_meta.decode(embeddings[index : index + 1], **one)
        assert torch.allclose(masks[index : index + 1], alone, atol=1e-5)
        assert torch.allclose(ious[index : index + 1], iou, atol=1e-5)
    assert not torch.allclose(masks[0], masks[1], atol=1e-2)


def test_image_embeddings_of_transformers(
    from_hugging_face: PromptableModel, hugging_face_sam: Any, image: Tensor
) -> None:
    pixels = from_hugging_face.normalize(image)
    expected = hugging_face_sam.get_image_embeddings(pixels)
    close("embedding", from_hugging_face.encode(image), expected)


@pytest.mark.parametrize(
    "case",
    CASES,
    ids=lambda case: case.name,
)
def test_decoder_of_transformers(
    from_hugging_face: PromptableModel, hugging_face_sam: Any, image: Tensor, case: Case
) -> None:
    embedding = from_hugging_face.encode(image[:1])
    arguments: dict[str, Any] = {"image_embeddings": embedding}
    if case.points:
        arguments["input_points"] = torch.tensor([[case.points]], dtype=torch.float32)
        arguments["input_labels"] = torch.tensor([[case.labels]])
    if case.box is not None:
        arguments["input_boxes"] = torch.tensor([[case.box]], dtype=torch.float32)
    if case.mask:
        arguments["input_masks"] = mask_prompt(case)
    several = hugging_face_sam(**arguments, multimask_output=True)
    single = hugging_face_sam(**arguments, multimask_output=False)
    expected_masks = torch.cat([single.pred_masks, several.pred_masks], dim=2)[:, 0]
    expected_ious = torch.cat([single.iou_scores, several.iou_scores], dim=2)[:, 0]
    masks, ious = from_hugging_face.decode(embedding, **feeds(case))
    close("logits", masks, expected_masks)
    close("iou", ious, expected_ious)


def test_a_batch_of_transformers(
    from_hugging_face: PromptableModel, hugging_face_sam: Any, image: Tensor
) -> None:
    """Two images with three prompts of two points each: six prompts here."""
    embeddings = from_hugging_face.encode(image)
    generator = torch.Generator().manual_seed(9)
    points = SIZE * torch.rand(2, 3, 2, 2, generator=generator)
    labels = torch.tensor([[[1, 0], [1, 1], [0, 0]], [[0, 1], [1, 1], [1, 0]]])
    arguments = {
        "image_embeddings": embeddings,
        "input_points": points,
        "input_labels": labels,
    }
    several = hugging_face_sam(**arguments, multimask_output=True)
    single = hugging_face_sam(**arguments, multimask_output=False)
    padding = torch.zeros(3, 1)
    for index in range(2):
        masks, ious = from_hugging_face.decode(
            embeddings[index : index + 1],
            torch.cat([points[index], padding[..., None].expand(-1, -1, 2)], dim=1),
            torch.cat([labels[index].float(), padding - 1], dim=1),
            torch.zeros(3, 1, SIZE // 4, SIZE // 4),
            torch.zeros(3),
        )
        wanted = torch.cat([single.pred_masks[index], several.pred_masks[index]], dim=1)
        close("logits", masks, wanted)
        wanted = torch.cat([single.iou_scores[index], several.iou_scores[index]], dim=1)
        close("iou", ious, wanted)


@pytest.mark.slow
def test_full_size_blocks(tmp_path: Path, randomise: Callable[[nn.Module], nn.Module]) -> None:
    """ViT-B's widths, windows and 1024 px with a quarter of its blocks, and the full decoder."""
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam
    from segment_anything.modeling import TwoWayTransformer as Transformer

    vit = {"embed_dim": 768, "depth": 3, "num_heads": 12, "use_rel_pos": True}
    norm = functools.partial(nn.LayerNorm, eps=1e-6)
    reference = Sam(
        ImageEncoderViT(**vit, norm_layer=norm, window_size=14, global_attn_indexes=(2,)),
        PromptEncoder(256, (64, 64), (1024, 1024), 16),
        MaskDecoder(transformer_dim=256, transformer=Transformer(2, 256, 8, 2048)),
    )
    randomise(reference)
    torch.save(reference.state_dict(), tmp_path / "vit.pth")
    model = load_checkpoint(tmp_path / "vit.pth")
    pixels = torch.randint(0, 256, (1, 1024, 1024, 3), dtype=torch.uint8)
    embedding = model.encode(pixels)
    expected = reference.image_encoder(model.normalize(pixels))
    close("embedding", embedding, expected, 1e-4)
    case = Case("point and box", ((300, 400),), (1,), (100, 200, 600, 700))
    expected_masks, expected_ious = meta_decode(reference, embedding, case)
    wide = {**feeds(case), "mask_input": torch.zeros(1, 1, 256, 256)}
    masks, ious = model.decode(embedding, **wide)
    close("logits", masks, expected_masks, 1e-4)
    close("iou", ious, expected_ious, 1e-4)
