"""Every threshold of a tracker, in one place."""

from __future__ import annotations

import dataclasses

from samedge.errors import OptionError
from samedge.tracking.motion import MotionSettings


@dataclasses.dataclass(frozen=True)
class TrackerSettings:
    """How objects are followed.

    Lengths in image pixels are given as shares of the object's longer side, so that they hold for
    every resolution. docs/live.md says on which videos the defaults were chosen.

    Attributes:
        grid_side: longest side of the grid on which masks are carried from frame to frame.
        motion_side: longer side of the patch around an object in which its motion is computed.
        motion_margin: how far that patch reaches beyond the object.
        search_side: longer side of the patch in which an object is searched for first.
        search_reach: how far it may have moved between two frames.
        search_stiffness: how much a move that differs from the last one costs.
        motion: of the dense motion.
        focus_margin: how far the part of the image that is encoded reaches beyond the objects.
        focus_most: encode the whole image when that part is larger than this share of it.
        box_margin: how far the box that prompts the model reaches beyond the carried mask.
        use_box: ask with the box alone.
        use_mask: ask with the box and the carried mask.
        use_click: ask with the box and a click at the most certain point.
        least_agreement: IoU with the carried mask below which the model's mask is not used.
        model_weight: weight of the model's logits against the carried ones, where it is used.
        least_quality: predicted IoU times stability below which the model's mask is not used.
        appearance_weight: what a mask that fits the object's colours counts beside its quality,
            where the model gives several.
        colour_weight: logits that a colour found only on the object adds near it.
        histogram_bins: colours a channel in the template of an object.
        template_share: how much of the template stays that of the first frame.
        template_rate: share of each well seen frame in the rest of the template.
        lost_similarity: similarity to the template below which an object may be lost.
        lost_frames: ... in so many frames in a row.
        found_similarity: similarity from which a lost object is found again.
        found_quality: predicted IoU times stability that it needs for that.
        search_every: a lost object is searched for in every such frame.
        ask_every: the model is asked about an object in every such frame, and whenever it does not
            look like itself; in between its mask is carried by the motion alone.

    Raises:
        OptionError: a count below 1, or another number that is negative or not finite.
    """

    grid_side: int = 256
    motion_side: int = 96
    motion_margin: float = 0.35
    search_side: int = 64
    search_reach: float = 1.2
    search_stiffness: float = 0.3
    motion: MotionSettings = dataclasses.field(default_factory=MotionSettings)
    focus_margin: float = 0.8
    focus_most: float = 0.7
    box_margin: float = 0.03
    use_box: bool = False
    use_mask: bool = True
    use_click: bool = False
    least_agreement: float = 0.6
    model_weight: float = 0.5
    least_quality: float = 0.3
    appearance_weight: float = 2.0
    colour_weight: float = 1.0
    histogram_bins: int = 10
    template_share: float = 0.6
    template_rate: float = 0.1
    lost_similarity: float = 0.45
    lost_frames: int = 3
    found_similarity: float = 0.7
    found_quality: float = 0.5
    search_every: int = 3
    ask_every: int = 1

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                least = 1 if field.type == "int" else 0
                if not least <= value < float("inf"):
                    raise OptionError(
                        f"{field.name} is {value}, expected a number of at least {least}."
                    )
