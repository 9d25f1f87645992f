"""Whose figures they are."""

from __future__ import annotations

from typing import Any

import msgspec

BASELINE_PREFIX = "baseline:"
"""What the names of pseudo-bundles begin with."""


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured: one bundle on one backend and device.

    Attributes:
        bundle: the bundle as the user named it, or a pseudo-bundle such as ``baseline:box``.
        backend: the library that executed the graphs.
        device: that library's own device string.
        bundle_id: identity of the bundle; figures with equal ids belong to the same files.
        preprocess: how large images were made smaller, ``exact`` or ``fast``; ``None`` in records
            from before there was a choice, which was ``exact``.
        artifact_sha256: of the artifact hashes of all graphs, in the manifest's order; it tells
            whether two rows ran the same files.
    """

    bundle: str
    backend: str
    device: str | None = None
    backend_version: str | None = None
    bundle_id: str | None = None
    model: str | None = None
    target: str | None = None
    precision: str | None = None
    input_size: int | None = None
    preprocess: str | None = None
    artifact_sha256: str | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """Tells subjects apart within one record."""
        return self.bundle, self.backend, self.device or ""

    @property
    def is_baseline(self) -> bool:
        """Whether it is a pseudo-bundle."""
        return self.bundle.startswith(BASELINE_PREFIX)


class OpenedSubject(msgspec.Struct, frozen=True, kw_only=True):
    """A subject that was opened, and what is known of it before anything is timed.

    Attributes:
        subject: its identity.
        artifact_bytes: size of the files that it opened; ``None`` for what is no bundle.
        residency: where the library plans to execute each graph, by role.
    """

    subject: Subject
    artifact_bytes: int | None = None
    residency: dict[str, dict[str, float]] = {}


def subject_fields(subject: Subject) -> dict[str, Any]:
    """A subject's identity as keyword arguments of a row."""
    return {name: getattr(subject, name) for name in Subject.__struct_fields__}
