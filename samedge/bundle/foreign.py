"""What a file is that was named as a bundle and is none, by its first bytes, and what to do."""

from __future__ import annotations

from pathlib import Path

from samedge.files import kinds
from samedge.files.kinds import Family

_EXPORT = "`samedge export --target cpu --checkpoint FILE -o out/cpu`"
_WEIGHTS = f"a bundle is exported from it by {_EXPORT}"
_GRAPH = (
    "a bundle is a folder with encoder, decoder and bundle.json; one is made from the weights that "
    f"this was exported from, by {_EXPORT}"
)
_AGAIN = "fetch or copy it again"
_PAGE = "open its address in a browser and save the file itself"

_REMEDIES: dict[Family, str] = {
    Family.NOTHING: _AGAIN,
    Family.ANSWER: _PAGE,
    Family.ARCHIVE: "unpack it, and name the folder",
}
_SEEN = (Family.PICTURE, Family.RAW, Family.VIDEO)
_PICTURE = "give the bundle by --bundle, and pictures alone"
_OTHERWISE = "name the bundle by --bundle: a folder with bundle.json in it, or a .samedge file"


def description(path: Path) -> tuple[str, str]:
    """What a file that cannot be opened as an archive is, and what to do.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(kinds.HEAD_BYTES)
    kind = kinds.kind_of(head)
    if kind is kinds.ZIP:
        return "is cut off: the end of the archive is missing", _AGAIN
    if kind is not None and kind.fetched_by:
        return f"is {kind.what}", f"run `{kind.fetched_by}` beside it"
    if kind is kinds.JSON:
        return "is JSON, and no bundle", "name the bundle's folder, in which bundle.json lies"
    if kind is not None and kind.is_of_transfer:
        return f"is {kind.what}", _REMEDIES[kind.family]
    if by_ending := _by_ending(path):
        return by_ending
    if kind is None:
        return "is no .samedge file", _AGAIN
    if kind.family is Family.WEIGHTS:
        return "is a checkpoint, and no bundle", _WEIGHTS
    remedy = _PICTURE if kind.family in _SEEN else _OTHERWISE
    return f"is {kind.what}, and no bundle", remedy


def of_archive(path: Path, members: list[str]) -> tuple[str, str] | None:
    """What a zip is that holds no manifest and is no bundle's; ``None`` where that is not known."""
    leaves = {member.rpartition("/")[2] for member in members}
    if "data.pkl" in leaves or "constants.pkl" in leaves:
        return "is a checkpoint, and no bundle", _WEIGHTS
    return _by_ending(path)


def in_folder(folder: Path) -> str | None:
    """What to do about a folder that holds graphs or weights without a manifest, if it does."""
    for file in sorted(folder.iterdir()):
        known = _by_ending(file)
        if known is not None:
            what, remedy = known
            return f"{file.name} in it {what.partition(',')[0]}; {remedy}"
    return None


def _by_ending(path: Path) -> tuple[str, str] | None:
    """What a graph or weights are by their name, which say little by their first bytes."""
    ending = path.suffix.lower()
    if ending in kinds.EXPORTED_ENDINGS:
        return f"is {kinds.EXPORTED_ENDINGS[ending]}, and no bundle", _GRAPH
    return ("is a checkpoint, and no bundle", _WEIGHTS) if ending in kinds.WEIGHTS_ENDINGS else None
