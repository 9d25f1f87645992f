"""Where a model's figures are cut, and how everything mode goes with it: a part of the manifest."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UnsetType

from samedge.pixels.frames import STABILITY_OFFSET

Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Logit = Annotated[float, msgspec.Meta(ge=-100.0, le=100.0)]
Offset = Annotated[float, msgspec.Meta(gt=0.0, le=100.0)]


class EverythingRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How everything mode looks and chooses with this model; the defaults suit models unmeasured.

    Attributes:
        points_per_side: clicks along each side of the grid.
        suppression: of two masks whose boxes overlap more, the lower ranked one goes.
        stability_weight: masks rank by predicted IoU times stability to this power.
        crop_layers: layers of crops that are looked at, too.
        crops_by_rank: between crops, the higher ranked mask stays, not that of the smaller crop.
        crop_points_downscale: each layer's crops have so many times fewer clicks a side.
        coarse_to_fine: skip clicks that a good mask covers already.
        redrawn: every mask is asked for again by its own box; left out where not.
        closer_layers: further layers of crops in which small ones are redrawn; left out for none.
        crop_suppression: ``suppression`` where crops are looked at, in them and between them; left
            out where it is the same.
        soft_nms_sigma: masks rank the lower, the more their boxes overlap with better ones, by
            Soft-NMS with this width; left out for none.
    """

    points_per_side: Annotated[int, msgspec.Meta(ge=1, le=256)] = 32
    suppression: Share = 0.7
    stability_weight: Annotated[float, msgspec.Meta(ge=0.0, le=10.0)] = 0.0
    crop_layers: Annotated[int, msgspec.Meta(ge=0, le=4)] = 0
    crops_by_rank: bool = False
    crop_points_downscale: Annotated[int, msgspec.Meta(ge=1, le=8)] = 1
    coarse_to_fine: bool = True
    redrawn: bool | msgspec.UnsetType = msgspec.UNSET
    closer_layers: Annotated[int, msgspec.Meta(ge=0, le=2)] | msgspec.UnsetType = msgspec.UNSET
    crop_suppression: Share | msgspec.UnsetType = msgspec.UNSET
    soft_nms_sigma: Annotated[float, msgspec.Meta(ge=0, le=1e6)] | msgspec.UnsetType = msgspec.UNSET


class Thresholds(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the model's figures are cut.

    Attributes:
        mask: logits above it are in the mask.
        stability_offset: how far above and below 0 logits are cut for the stability score.
        predicted_iou: automatic masks that the model rates lower are dropped.
        stability: automatic masks less stable are dropped.
        everything: its other settings; left out of file and id where nobody measured them.
    """

    mask: Logit = 0.0
    stability_offset: Offset = STABILITY_OFFSET
    predicted_iou: Share = 0.88
    stability: Share = 0.95
    everything: EverythingRecord | msgspec.UnsetType = msgspec.UNSET

    @property
    def own_everything(self) -> EverythingRecord:
        """The settings of everything mode, or the usual ones."""
        return EverythingRecord() if isinstance(self.everything, UnsetType) else self.everything
