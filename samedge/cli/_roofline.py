"""``samedge roofline``: the shortest time that a bundle's graphs can take on each Jetson."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from samedge.cli import output

if TYPE_CHECKING:
    from samedge.inspection.roofline import GraphCost

EPILOG = """\b
Examples:
  samedge roofline out/jetson
  samedge roofline out/jetson --json | jq '.graphs[0].bounds'
"""


@click.command("roofline", epilog=EPILOG)
@click.argument("bundle", type=click.Path(path_type=Path))
@output.standard_options
def roofline(out: output.Output, *, bundle: Path) -> None:
    """Show the roofline bound of BUNDLE's graphs on every Jetson, beside published latencies.

    A bound is arithmetic over each module's published dense peaks; how much slower a real engine
    is, only `samedge bench` on the device can tell.
    """
    from samedge.bundle.bundle import Bundle, bundle_path
    from samedge.errors import IncompatibleArtifactError
    from samedge.inspection.roofline import PEERS, bounds, graph_cost
    from samedge.machine.hardware import HARDWARE

    opened = Bundle.open(bundle_path(str(bundle)))
    costs: dict[str, GraphCost] = {}
    for graph in opened.manifest.own_graphs:
        if graph.format != "onnx":
            raise IncompatibleArtifactError(
                f"The {graph.role} of {bundle} is {graph.format}, and bounds are counted in ONNX "
                "files: export the bundle with `samedge export --target jetson`."
            )
        costs[graph.role] = graph_cost(opened.artifact_path(graph.role))
    table = output.table("Module", *(f"{role}, bound in ms" for role in costs))
    for name, hardware in HARDWARE.items():
        found = [next(b for b in bounds(cost) if b.target == name) for cost in costs.values()]
        figures = ["no peak" if b.bound_ms is None else f"{b.bound_ms:.2f}" for b in found]
        table.add_row(hardware.name, *figures)
    peers = output.table("Published by others, measured", "Module", "ms")
    for system, module, latency_ms in PEERS:
        peers.add_row(system, module, f"{latency_ms:.1f}")
    document = {
        "bundle": {"path": str(bundle), "id": opened.id},
        "graphs": [
            {
                "role": role,
                "operations": {p.value: count for p, count in cost.operations.items()},
                "bytes_moved": cost.bytes_moved,
                "bounds": [
                    {
                        "target": b.target,
                        "compute_ms": b.compute_ms,
                        "memory_ms": b.memory_ms,
                        "bound_ms": b.bound_ms,
                    }
                    for b in bounds(cost)
                ],
            }
            for role, cost in costs.items()
        ],
        "peers": [
            {"system": system, "module": module, "latency_ms": latency_ms}
            for system, module, latency_ms in PEERS
        ],
    }
    note = (
        "A bound, not a measurement: one prompt of up to 4 points, nothing but products and bytes "
        "over each module's published dense peaks."
    )
    out.result(document, table, note, "", peers)


COMMAND = roofline
