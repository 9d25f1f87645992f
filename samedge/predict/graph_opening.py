"""Opens a graph of a bundle on one backend, by what is known of it: device, shapes, hand-overs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from samedge import _cache
from samedge.bundle.bundle import Bundle
from samedge.bundle.manifest import GraphRecord
from samedge.errors import BundleError
from samedge.pixels.prompts import usual_shapes
from samedge.predict.tensor_names import named_alike
from samedge.runtimes.base import Backend, FoundDevice, Probe, Session, Shapes
from samedge.runtimes.chained import ChainedSession
from samedge.runtimes.options import found_device
from samedge.types import Role

_BEFORE: Mapping[str, Role] = {Role.DECODER: Role.PROMPTS}
"""Graphs that make some of another's inputs; the two run as one."""


@dataclasses.dataclass(frozen=True)
class GraphOpening:
    """How the graphs of a bundle are opened.

    Attributes:
        bundle: where they lie.
        backend: what opens them.
        probe: what that found here.
        device: the backend's own string; a graph that names its own device keeps to that.
        options: for the backend, beside each graph's own.
    """

    bundle: Bundle
    backend: Backend
    probe: Probe
    device: str | None
    options: Mapping[str, Any]

    def opened(self, role: str) -> Session:
        """The graph with a role, with the one before it where there is one.

        Raises:
            BundleError: the bundle has none, or its files changed.
            IncompatibleArtifactError: the library calls its tensors otherwise than the bundle.
            BackendUnavailableError: the device is not here.
            InferenceError: the backend cannot open it.
        """
        session = self._open(self.bundle.graph(role))
        before = self.bundle.manifest.graph(_BEFORE[role]) if role in _BEFORE else None
        if before is None:
            return session
        try:
            return ChainedSession(self._open(before), session)
        except BaseException:
            session.close()
            raise

    def prepare(self) -> None:
        """Compile every graph ahead of time, where the device compiles.

        Raises:
            InferenceError: the backend cannot.
        """
        for graph in self.bundle.manifest.own_graphs:
            self.backend.prepare(
                self._path(graph),
                device=self._found(graph),
                options=self._options(graph),
                shapes=self._shapes(graph),
            )

    def seals(self) -> list[list[str]]:
        """Hashes of what the backend has compiled and kept, a list a graph."""
        return [
            [_cache.seal(file) for file in self._compiled_files(graph)]
            for graph in self.bundle.manifest.own_graphs
        ]

    def _compiled_files(self, graph: GraphRecord) -> list[Path]:
        path = self.bundle.artifact_path(graph.role)
        device, options = self._found(graph), self._options(graph)
        return list(self.backend.compiled_files(path, device=device, options=options))

    def _open(self, graph: GraphRecord) -> Session:
        session = self.backend.open(
            self._path(graph),
            device=self._found(graph),
            options=self._options(graph),
            shapes=self._shapes(graph),
            keep=self._handed_on(graph),
        )
        try:
            self.bundle.artifact_path(graph.role)  # what was opened is what was verified
        except BundleError:
            session.close()
            raise
        return named_alike(session, graph, backend=self.backend.name)

    def _options(self, graph: GraphRecord) -> Mapping[str, Any]:
        return {**self.options, **graph.options}

    def _path(self, graph: GraphRecord) -> Path:
        """Where a graph lies; the manifest names every file that opening it reads."""
        path = self.bundle.artifact_path(graph.role)
        self.bundle.check_named(graph.role, self.backend.reads(path))
        return path

    def _found(self, graph: GraphRecord) -> FoundDevice:
        return found_device(self.backend, self.probe, device=graph.device or self.device)

    def _shapes(self, graph: GraphRecord) -> tuple[Shapes, ...]:
        """The fixed shapes of a graph, or those that a decoder will mostly be run with."""
        if graph.shapes:
            return tuple({name: tuple(s) for name, s in one.items()} for one in graph.shapes)
        if graph.role == Role.DECODER and self.backend.takes_other_shapes:
            return usual_shapes(self.bundle.manifest.frame)
        return ()

    def _handed_on(self, graph: GraphRecord) -> tuple[str, ...]:
        """Outputs of a graph that another one takes."""
        others = (other for other in self.bundle.manifest.own_graphs if other.role != graph.role)
        taken = {tensor.name for other in others for tensor in other.inputs}
        return tuple(tensor.name for tensor in graph.outputs if tensor.name in taken)
