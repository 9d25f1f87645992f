"""How well objects are followed, and how old their masks are."""

from __future__ import annotations

from samedge.records.subjects import Subject


class VideoRow(Subject, frozen=True, kw_only=True):
    """How well one subject follows objects, by the protocol of DAVIS 2017.

    Attributes:
        prompt: what the first frame gave: ``mask``, ``box`` or ``click``.
        strategy: of the tracker, or the baseline.
        n: objects.
        videos: that they are in.
        frames: of all videos, the first and the last of each included.
        jf: mean of ``j`` and ``f``.
        j: region similarity (IoU), mean over objects of the mean over frames.
        f: contour accuracy, the same.
        j_recall: share of the frames above one half.
        j_decay: mean of the first quarter of the frames minus that of the last.
        jf_by_video: of each video.
        seconds: for all of it, the reading of files and the scoring included.
    """

    prompt: str
    strategy: str
    n: int
    videos: int
    frames: int
    jf: float
    j: float
    j_recall: float
    j_decay: float
    f: float
    f_recall: float
    f_decay: float
    jf_by_video: dict[str, float] = {}
    seconds: float | None = None


class StreamRow(Subject, frozen=True, kw_only=True):
    """One subject that followed an object in a recording played at its own pace.

    The frames add up: ``captured`` is ``processed`` and ``dropped``.

    Attributes:
        source: the recording.
        size: ``[height, width]``, pixels.
        seconds: from the first result to the last.
        age_p50_ms: from the capture of a frame to its masks.
        age_p95_ms: the same; ``None`` with fewer than 130 results.
        frames_per_s: results a second, the encoder included.
        captured_per_s: frames a second that the source gave.
        dropped_share: frames without a result, of all.
        rss_growth_bytes: memory at the end beyond that after the first tenth of the results;
            ``None`` where the system does not say.
        ask_every: the model was asked in one followed frame of so many.
    """

    source: str
    size: list[int]
    seconds: float
    n: int
    age_p50_ms: float | None
    age_p95_ms: float | None
    frames_per_s: float | None
    captured_per_s: float | None
    captured: int
    processed: int
    dropped: int
    dropped_share: float | None
    rss_growth_bytes: int | None = None
    ask_every: int = 1
