"""Whether an opened graph calls its inputs and outputs what its bundle calls them.

Libraries rename: OpenVINO drops a cast beside an input and may then call the input what the cast
was called, onnxslim drops inputs that nothing reads. What goes from one graph to another goes by
name, so this is looked at once, when a graph is opened, at export as on the device.
"""

from __future__ import annotations

from collections.abc import Iterable

from samedge.bundle.manifest import GraphRecord
from samedge.errors import IncompatibleArtifactError
from samedge.runtimes.base import Session


def named_alike(session: Session, graph: GraphRecord, *, backend: str) -> Session:
    """A session that was just opened, or an error where its library has other names.

    Args:
        session: closed where it is refused.
        graph: what the manifest says of it.
        backend: name of the one that opened it.

    Raises:
        IncompatibleArtifactError: an input or an output is missing, extra or called otherwise.
    """
    pairs = (
        ("inputs", graph.inputs, session.inputs),
        ("outputs", graph.outputs, session.outputs),
    )
    for kind, records, specs in pairs:
        wanted, found = {record.name for record in records}, {spec.name for spec in specs}
        if wanted != found:
            session.close()
            raise IncompatibleArtifactError(
                f"Backend {backend!r} opens the {graph.role} ({graph.artifact}) with the {kind} "
                f"{_listed(found)}, expected {_listed(wanted)}: export the bundle again, or open "
                "it with another version of the library."
            )
    return session


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, sorted(names))) or "none"
