"""What a folder of annotations holds: the name of everything that is written into it."""

from __future__ import annotations

from pathlib import Path

from samedge.annotate.merging import is_named_for

LOCK = ".lock"
RUN_FILE, ROUNDS_FILE = "run.json", "rounds.json"
"""What a run was asked for, and what each run and session of people gave."""
RANK_FILE, DESK_FILE = "rank.json", "desk.json"
"""What is to be annotated first, and what the page was opened on."""
PARTS, PROPOSALS = "parts", "proposals"
"""The results of single images, of a run and of the page's model."""
REVIEWS, CLAIMS = "reviews", "claims"
"""People's decisions, and who is at which photo."""
MODELS = "models"
"""Bundles of models that training left."""
FRAMES = "frames"
"""Pictures of videos, which are annotated like photos, and so are no results."""
ANNOTATIONS, REVIEWED = "annotations", "reviewed"
"""What the files of the model's masks, and of people's decisions, are called."""

KEPT = frozenset(
    {LOCK, RUN_FILE, ROUNDS_FILE, RANK_FILE, DESK_FILE}
    | {PARTS, PROPOSALS, REVIEWS, CLAIMS, MODELS}
)
"""What is needed to go on; a folder of such a name may be somebody's, with photos in it."""


def is_annotations(name: str) -> bool:
    """Whether a file or folder of this name is one of annotations, whole or one of several."""
    return any(is_named_for(one, Path(name).stem) for one in (ANNOTATIONS, REVIEWED))
