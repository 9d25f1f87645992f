"""The JSON of X-AnyLabeling's ``remote_server``; fields that are not known are passed over."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

UNNAMED = "AUTOLABEL_OBJECT"
"""The label of an object that the program asks its user to name."""

FINENESS = 0.001


class Widget(msgspec.Struct, frozen=True, kw_only=True):
    """A control that the program shows."""

    name: str
    value: float | bool | None = None


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a model can be asked for."""

    id: str
    name: str
    batch_processing_mode: str | None
    widgets: list[Widget]


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """What the program shows of a model."""

    model_id: str
    display_name: str
    batch_processing_mode: str
    classes: list[str]
    params: dict[str, str]
    widgets: list[Widget]
    available_tasks: list[Task]


class Models(msgspec.Struct, frozen=True, kw_only=True):
    """The models of this server."""

    success: bool = True
    data: dict[str, Model]


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One of them."""

    success: bool = True
    data: Model


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """A click or a box; ``data`` are two or four pixels, ``label`` 1 adds and 0 takes away."""

    type: str
    data: Annotated[list[float], Meta(min_length=2, max_length=4)]
    label: Literal[0, 1] = 1


class Params(msgspec.Struct, frozen=True, kw_only=True):
    """What the program's controls say.

    Attributes:
        marks: clicks and boxes; none asks for everything.
        conf_threshold: masks that the model rates lower are left out; 0 leaves it to the model.
        epsilon_factor: how far an outline may be off, as a share of its length.
        current_task: one of ``available_tasks``.
        text_prompt: is refused: `samedge` answers words through its own interface.
    """

    marks: list[Mark] = []
    conf_threshold: float = 0.0
    epsilon_factor: float = FINENESS
    current_task: str | None = None
    text_prompt: str | None = None


class PredictRequest(msgspec.Struct, frozen=True, kw_only=True):
    """An image with marks; fields that newer versions add are passed over."""

    model: str
    image: str
    params: Params = Params()


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """An outline; its last point is its first."""

    label: str = UNNAMED
    shape_type: str = "polygon"
    points: list[tuple[float, float]]
    score: float | None = None
    group_id: int | None = None


class Shapes(msgspec.Struct, frozen=True, kw_only=True):
    """The outlines of an image; ``replace`` says whether they take the place of older ones."""

    shapes: list[Shape]
    description: str = ""
    replace: bool = False


class PredictAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer about an image."""

    success: bool = True
    data: Shapes


class InitRequest(msgspec.Struct, frozen=True, kw_only=True):
    """All frames of a video, each a picture in a data URI."""

    model: str
    frames: Annotated[list[str], Meta(min_length=1)]
    start_frame_index: int = 0


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A video that is kept."""

    session_id: str
    total_frames: int


class InitAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to its frames."""

    success: bool = True
    data: Session


class VideoPromptRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Clicks on one frame, as shares of its width and height."""

    model: str
    session_id: str
    frame_index: Annotated[int, Meta(ge=0)]
    points: list[tuple[float, float]] = []
    point_labels: list[Literal[0, 1]] = []
    obj_id: int = 1
    text_prompt: str | None = None
    params: Params = Params()


class FrameMasks(msgspec.Struct, frozen=True, kw_only=True):
    """The outlines of one frame."""

    masks: list[Shape]
    frame_index: int


class VideoPromptAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to clicks on a frame."""

    success: bool = True
    data: FrameMasks


class PropagateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """From which frame on to follow, and to which."""

    model: str
    session_id: str
    start_frame: Annotated[int, Meta(ge=0)] | None = None
    end_frame: Annotated[int, Meta(ge=0)] | None = None


class FollowStarted(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="started"):
    """The first event."""

    total_frames: int
    start_frame_index: int


class FollowProgress(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="progress"):
    """A frame is done."""

    current_frame: int


class FollowCompleted(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="completed"):
    """The last event: the outlines of all frames, by their number."""

    results: dict[str, FrameMasks]


class FollowFailed(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="error"):
    """The last event of a run that broke off."""

    message: str


FollowEvent = FollowStarted | FollowProgress | FollowCompleted | FollowFailed


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """An answer without anything in it."""

    success: bool = True
    data: dict[str, str] = {}
