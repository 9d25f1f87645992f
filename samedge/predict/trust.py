"""Whether a bundle computes here what its export did: its canary, run once on each device."""

from __future__ import annotations

import logging

from samedge.bundle import canary as canaries
from samedge.bundle.canary import Canary
from samedge.bundle.manifest import bundle_id
from samedge.machine.identity import machine_identity
from samedge.pixels.prompts import fitting_bucket
from samedge.predict.graphs import Graphs
from samedge.types import Role

logger = logging.getLogger(__name__)


def check_canary(graphs: Graphs) -> bool:
    """Run a bundle's canary now, whether or not it has passed here before.

    Returns:
        Whether there was one to run.

    Raises:
        BundleError: this backend and device compute something else than the export did.
    """
    bundle = graphs.bundle
    canary = bundle.canary()
    if canary is None:
        return False
    where = graphs.active(Role.DECODER)
    canaries.check_canary(
        _of_these_options(canary, graphs),
        graphs,
        frame=graphs.frame,
        where=f"{where.name} {where.version} device {where.device!r}",
        bucket=fitting_bucket(bundle.manifest.prompt_buckets, length=2),
    )
    logger.info("The canary of bundle %s passed on %s.", bundle.id, where)
    return True


def _of_these_options(canary: Canary, graphs: Graphs) -> Canary:
    """With the limit that holds for any precision where the caller asks for other arithmetic."""
    if graphs.computes_as_exported:
        return canary
    return canary.loosened(canaries.MIN_COSINE)


def check_canary_once(graphs: Graphs) -> None:
    """Run the canary, unless it has passed before with this very combination.

    Raises:
        BundleError: this backend and device compute something else than the export did.
    """
    manifest = graphs.bundle.manifest
    facts = {
        "bundle": bundle_id(manifest),
        "canary": manifest.canary_sha256,
        "machine": machine_identity(),
    }
    if manifest.canary_sha256 is None or canaries.remembered({**facts, **graphs.facts}):
        return
    graphs.load()
    check_canary(graphs)
    canaries.remember({**facts, **graphs.facts})  # what was compiled just now is among them
