"""The field ``bundle`` of the documents of whatever a bundle made."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from samedge.bundle.manifest import Manifest


def bundle_field(manifest: Manifest) -> dict[str, object]:
    """Which bundle it was, and how it sees images.

    Args:
        manifest: of the bundle that ran.
    """
    return {
        "id": manifest.id,
        "model": manifest.model.name,
        "target": manifest.target,
        "precision": manifest.precision,
        "input_size": manifest.input_size,
        "preprocess": manifest.frame.rule,
    }
