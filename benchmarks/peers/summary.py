"""From the turns to one document: medians, ratios with their intervals, and the bars."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from subjects import SUBJECTS, PeerSubject

from samedge.pixels.metrics import bootstrap_ratio

LISTS = (
    "photo_to_mask_ms",
    "encoder_ms",
    "decode_ms",
    "decode_graph_ms",
    "decode16_ms",
    "decode16_graph_ms",
    "everything_ms",
)
SINGLE = (
    "first_mask_ms",
    "first_mask_cold_ms",
    "import_ms",
    "open_ms",
    "peak_rss_bytes",
    "peak_rss_cold_bytes",
)
FAMILY_BARS = (
    ("encoder_ms", 3.0),
    ("decode_ms", 4.0),
    ("first_mask_ms", 3.0),
)
Turns = Sequence[Mapping[str, Any]]


def rows(turns: Turns) -> list[dict[str, Any]]:
    """One row a subject that had a turn, in the table's order."""
    found = []
    for subject in SUBJECTS:
        own = [turn for turn in turns if turn["name"] == subject.name]
        if not own:
            continue
        errors = sorted({turn["error"] for turn in own if "error" in turn})
        row: dict[str, Any] = {"name": subject.name, "family": subject.family}
        row |= {"turns": len(own), "errors": errors}
        for name in (*SINGLE, *LISTS):
            row[name] = spread(values_of(own, name))
        found.append(row)
    return found


def values_of(turns: Iterable[Mapping[str, Any]], name: str) -> list[float]:
    found: list[float] = []
    for turn in turns:
        value = turn.get(name)
        if value is not None:
            found += value if isinstance(value, list) else [value]
    return found


def spread(values: Sequence[float]) -> dict[str, Any] | None:
    """Median with quartiles where there are enough; ``None`` for nothing."""
    if not values:
        return None
    found = {"n": len(values), "p50": _short(statistics.median(values)), "min": _short(min(values))}
    if len(values) >= 4:
        quartiles = statistics.quantiles(values, n=4, method="inclusive")
        found |= {"p25": _short(quartiles[0]), "p75": _short(quartiles[2])}
    return found


def bars(turns: Turns, sizes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every bar, who was compared, and whether it holds; ``None`` where nothing was measured."""
    found = [_nano(turns)]
    for family in ("mobile-sam", "vit-b"):
        peers = _names(family, ours=False)
        ours = [name for name in _names(family, ours=True) if " intel " in name]
        for stage, bar in FAMILY_BARS:
            title = f"{family}: {stage.removesuffix('_ms')}, intel against the fastest peer"
            found.append(_ratio(turns, title, stage, ours=ours, peers=peers, bar=bar))
        found.append(_memory(turns, family))
    size = (sizes.get("samedge[onnxruntime]") or {}).get("bytes")
    found.append(
        {
            "bar": "samedge[onnxruntime] takes less than 150 MB",
            "bytes": size,
            "held": None if size is None else size < 150e6,
        }
    )
    return found


def _names(family: str, *, ours: bool) -> list[str]:
    return [row.name for row in SUBJECTS if row.family == family and row.is_ours is ours]


def _nano(turns: Turns) -> dict[str, Any]:
    peer = ["mobile-sam samexporter onnxruntime fp32"]
    title = "1080p photo to mask, nano against MobileSAM through samexporter"
    return _ratio(
        turns, title, "photo_to_mask_ms", ours=_names("nano", ours=True), peers=peer, bar=10.0
    )


def _ratio(
    turns: Turns,
    title: str,
    stage: str,
    *,
    ours: Sequence[str],
    peers: Sequence[str],
    bar: float,
) -> dict[str, Any]:
    """The fastest of ours against the fastest of theirs, by medians over the rounds they share.

    With fewer than five rounds there is no interval, and no verdict either.
    """
    medians = {name: _by_round(turns, name, stage) for name in (*ours, *peers)}
    best = _fastest(ours, medians)
    rival = _fastest(peers, medians)
    row: dict[str, Any] = {"bar": f"{title}: at least {bar:g}x", "ours": best, "peer": rival}
    shared = sorted(medians[best].keys() & medians[rival].keys()) if best and rival else []
    if best is None or rival is None or not shared:
        return {**row, "ratio": None, "ci95": None, "held": None}
    theirs = [medians[rival][key] for key in shared]
    own = [medians[best][key] for key in shared]
    interval = bootstrap_ratio(theirs, own)
    ratio = interval[0] if interval else statistics.median(theirs) / statistics.median(own)
    return {
        **row,
        "ours_ms": _short(statistics.median(own)),
        "peer_ms": _short(statistics.median(theirs)),
        "rounds": len(shared),
        "ratio": round(ratio, 2),
        "ci95": [round(interval[1], 2), round(interval[2], 2)] if interval else None,
        "held": ratio >= bar and interval[1] > 1 if interval else None,
    }


def _memory(turns: Turns, family: str) -> dict[str, Any]:
    """Peak of a whole predict; the leanest of ours against the leanest of theirs."""
    stage = "peak_rss_bytes"
    medians = {
        row.name: statistics.median(values)
        for row in SUBJECTS
        if row.family == family and (values := values_of(_turns_of(turns, row), stage))
    }
    ours = {k: v for k, v in medians.items() if k in _names(family, ours=True)}
    theirs = {k: v for k, v in medians.items() if k not in ours}
    row: dict[str, Any] = {"bar": f"{family}: peak memory below 60% of the leanest peer's"}
    if not ours or not theirs:
        return {**row, "share": None, "held": None}
    best, rival = min(ours, key=ours.__getitem__), min(theirs, key=theirs.__getitem__)
    share = ours[best] / theirs[rival]
    names = {"ours": best, "ours_bytes": ours[best], "peer": rival, "peer_bytes": theirs[rival]}
    return {**row, **names, "share": round(share, 3), "held": share < 0.6}


def _turns_of(turns: Turns, subject: PeerSubject) -> list[Mapping[str, Any]]:
    return [turn for turn in turns if turn["name"] == subject.name]


def _by_round(turns: Turns, name: str, stage: str) -> dict[str, float]:
    """Median of a stage in every round."""
    return {
        turn["round"]: statistics.median(values)
        for turn in turns
        if turn["name"] == name and (values := values_of([turn], stage))
    }


def _fastest(names: Sequence[str], medians: Mapping[str, Mapping[str, float]]) -> str | None:
    measured = [name for name in names if medians[name]]
    return min(measured, key=lambda name: statistics.median(medians[name].values()), default=None)


def _short(value: float) -> float | int:
    return round(value) if value >= 1e6 else round(value, 2)
