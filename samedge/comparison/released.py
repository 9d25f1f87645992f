"""Bundles that need too much memory, once more with memory given back after each run.

Some libraries can give back what lies between a graph's layers, for some time a run. Such a bundle
is the same files under a manifest with that option, so that it runs so wherever it is opened; its
masks are the same, and it is measured like every other.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec

from samedge import runtimes
from samedge.bundle.bundle import Bundle
from samedge.bundle.manifest import Manifest, bundle_id
from samedge.bundle.writer import BundleWriter
from samedge.comparison.exporting import ComparedSubject
from samedge.errors import BundleError
from samedge.records import BenchRecord

_NOTE = "Memory between the layers is given back after each run, which takes time at the next."


def released(
    subjects: Sequence[ComparedSubject], record: BenchRecord, *, limit_bytes: int, folder: Path
) -> list[ComparedSubject]:
    """The subjects over a limit of memory, as bundles that give memory back.

    Args:
        subjects: with bundles.
        record: a round with all of them.
        limit_bytes: most resident memory of the process.
        folder: where the bundles go.

    Returns:
        None for a subject within the limit, and where the library has no such option.
    """
    peaks = {row.bundle: row.peak_rss_bytes or 0 for row in record.results}
    over = [subject for subject in subjects if peaks.get(str(subject.path), 0) > limit_bytes]
    found = []
    for subject in over:
        bundle = Bundle.open(subject.path, verify=False)
        options = runtimes.get(bundle.manifest.backend).releasing_options
        if options and not options.items() <= bundle.manifest.options.items():
            path = folder / f"{subject.key}-released"
            manifest = msgspec.structs.replace(
                bundle.manifest,
                options={**bundle.manifest.options, **options},
                notes=[*bundle.manifest.notes, _NOTE],
            )
            _write(bundle, manifest, path)
            found.append(_subject(subject, path))
    return found


def _subject(subject: ComparedSubject, path: Path) -> ComparedSubject:
    name = f"{subject.name}, memory released"
    return ComparedSubject(
        name,
        subject.target,
        subject.precision,
        path,
        losses=list(subject.losses),  # the masks are the same
        released=True,
    )


def _write(bundle: Bundle, manifest: Manifest, path: Path) -> None:
    """The bundle's files with another manifest, unless they lie there already."""
    try:
        if Bundle.open(path).id == bundle_id(manifest):
            return
    except BundleError:  # none yet, or half of one
        pass
    with BundleWriter(path) as writer:
        for artifact in manifest.artifacts:
            for name in artifact.files:
                target = writer.folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(bundle.folder / name, target)
        writer.commit(manifest, canary=bundle.canary())
