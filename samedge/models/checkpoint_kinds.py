"""Checkpoints that look like SAM's and are not: what they are, and what to do."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection

_TAKE_SAM = (
    "samedge builds the first Segment Anything, MobileSAM and their fine-tuned relatives: give one "
    "of those, or a name of 'samedge models'."
)
_MERGE = (
    "Merge them where it was trained (peft: model.merge_and_unload()), and save the state_dict()."
)
_LORA = r"(?i)\blora_|\bw_[ab]_\d|\blinear_[ab]_[qkv]\b"
_ENCODERS = r"(image|vision)_encoder\."


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of checkpoint that cannot be loaded.

    Attributes:
        what: it is, in words.
        remedy: a sentence.
        has: a pattern that one of its names contains.
        lacks: a pattern that none of its names contains; empty asks for nothing.
    """

    what: str
    remedy: str
    has: str
    lacks: str = ""

    def matches(self, names: Collection[str]) -> bool:
        """Whether a checkpoint with such names is of this kind."""
        return _found(self.has, names) and not (self.lacks and _found(self.lacks, names))


def _found(pattern: str, names: Collection[str]) -> bool:
    return any(re.search(pattern, name) for name in names)


KINDS: tuple[Kind, ...] = (
    Kind("a SAM 3 checkpoint", _TAKE_SAM, r"^detector\.(backbone|transformer|geometry_encoder)\."),
    Kind(
        "a SAM 2 checkpoint, which is another architecture",
        _TAKE_SAM,
        r"\b(memory_attention|memory_encoder|sam_mask_decoder)\.|image_encoder\.trunk\.",
    ),
    Kind(
        "a SAM-HQ checkpoint, whose decoder has a high-quality token that samedge cannot build",
        "All other weights in it are those of the SAM that it was trained on: give that file.",
        r"\bmask_decoder\.(hf_token|hf_mlp|compress_vit_feat|embedding_maskfeature)\b",
    ),
    Kind(
        "LoRA weights without the model that they change",
        f"Load them over the model that they were trained on. {_MERGE}",
        _LORA,
        lacks=r"\bpatch_embed\.",
    ),
    Kind("SAM with LoRA weights that are not merged", _MERGE, _LORA),
    Kind(
        "SAM with adapters between its layers, such as Medical SAM Adapter or SAM-Med2D",
        f"samedge has no encoder with adapters, and they cannot be merged. {_TAKE_SAM}",
        r"(?i)adapter",
    ),
    Kind(
        "an EdgeSAM or RepViT-SAM checkpoint, whose image encoder samedge does not have",
        _TAKE_SAM,
        r"\bimage_encoder\.features\.\d+\.",
    ),
    Kind(
        "an EfficientViT-SAM checkpoint, whose image encoder samedge does not have",
        _TAKE_SAM,
        r"\bimage_encoder\.backbone\.(input_stem|stages)\.",
    ),
    Kind(
        "an EfficientSAM checkpoint, whose image encoder samedge does not have",
        _TAKE_SAM,
        r"\bimage_encoder\.blocks\.\d+\.mlp\.fc1\.",
    ),
    Kind(
        "a YOLO checkpoint, such as FastSAM",
        _TAKE_SAM,
        r"^(model\.)*\d+\.(cv\d|conv|m\.\d+)\.",
        lacks=r"_(en|de)coder\.",
    ),
    Kind(
        "a mask decoder without its image encoder, as trainers save it that train only that",
        "Put it into the model that it was trained from: state = model.state_dict(); "
        "state.update(these); torch.save(state, 'weights.pth').",
        r"\bmask_decoder\.",
        lacks=_ENCODERS,
    ),
    Kind(
        "an image encoder without its mask decoder",
        "Put it into a whole model: state = model.state_dict(); state.update(these); "
        "torch.save(state, 'weights.pth').",
        _ENCODERS,
        lacks=r"\b(mask_decoder|decoder)\.",
    ),
)


def recognised(names: Collection[str]) -> Kind | None:
    """The kind that a checkpoint with such names is of, if it is one that cannot be loaded."""
    return next((kind for kind in KINDS if kind.matches(names)), None)
