"""A bundle's graphs by role on one backend: opened when they are needed, closed together.

What goes from one graph to another goes by name: an output of one that is an input of another is
handed on, and may stay on the device. A decoder whose arithmetic on points lies in a graph of its
own runs as one with it.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from samedge.bundle.bundle import Bundle
from samedge.bundle.canary import drift_remedy
from samedge.errors import InferenceError, NotPicklableError
from samedge.predict.alive import Liveness
from samedge.predict.graph_opening import GraphOpening
from samedge.runtimes.base import Backend, Probe, Session
from samedge.runtimes.deadline import check_time
from samedge.runtimes.options import found_device, required_probe
from samedge.runtimes.sharing import Closable, InUse, never_released, tell_of_forks
from samedge.types import IMAGE_ROLES, ActiveBackend, Array, Role

logger = logging.getLogger(__name__)


class Graphs(Closable):
    """The graphs of a bundle on one backend and device. May be shared between threads and forks.

    Args:
        bundle: where they lie.
        backend: what opens them.
        device: the backend's own string; a graph that names its own device keeps to that.
        options: for the backend, beside each graph's own.
        probe: what the backend found here, where that is known already.

    Attributes:
        bundle, probe: as given, or found.
        frame: the bundle's: how images get into the encoder.
        load_ms: what opening has cost so far.

    Raises:
        BackendUnavailableError: the backend is not here.
    """

    def __init__(
        self,
        bundle: Bundle,
        backend: Backend,
        *,
        device: str | None = None,
        options: Mapping[str, Any] | None = None,
        probe: Probe | None = None,
    ) -> None:
        self.bundle, self.frame, self.load_ms = bundle, bundle.manifest.frame, 0.0
        self.probe = required_probe(backend) if probe is None else probe
        self._opening = GraphOpening(bundle, backend, self.probe, device, dict(options or {}))
        self._sessions: dict[str, Session] = {}
        self._lock = threading.RLock()
        self._use, self._liveness = InUse(), Liveness()
        tell_of_forks(self)

    @property
    def backend(self) -> Backend:
        """What opens the graphs; in a fork it may be another than was given."""
        return self._opening.backend

    @property
    def opened(self) -> tuple[str, ...]:
        """Roles of the graphs that are open now."""
        return tuple(self._sessions)

    @property
    def computes_as_exported(self) -> bool:
        """Whether no option of the caller's asks for other arithmetic than the bundle's."""
        options, known = self._opening.options, self.bundle.manifest.options
        asked = self.backend.arithmetic & options.keys()
        return all(known.get(name) == options[name] for name in asked)

    @property
    def facts(self) -> Mapping[str, object]:
        """What may change the answers here: the library's build, device, options, what it kept."""
        device = self.device or self.probe.devices[0]
        return {
            "backend": [self.backend.name, self.probe.version, *self.backend.build(device)],
            "device": device,
            "options": self._opening.options,
            "compiled": self._opening.seals(),
        }

    @property
    def device(self) -> str | None:
        """The device that was asked for; ``None``: the backend's first."""
        return self._opening.device

    def options_for(self, callers: int) -> Mapping[str, Any] | None:
        """Options to open the graphs with for so many callers at a time; ``None``: as they are."""
        options = self._opening.options
        device = found_device(self.backend, self.probe, device=self.device)
        shared = self.backend.shared_options(callers, device=device, options=options)
        return {**options, **shared} if shared else None

    @property
    def is_closed(self) -> bool:
        """Whether everything was closed."""
        return self._use.is_closed

    def load(self, roles: Iterable[str] = IMAGE_ROLES) -> None:
        """Open graphs now instead of when they are first needed, at the same time where that pays.

        Raises:
            BundleError: the bundle has none of such a role.
            InferenceError: the backend cannot open one.
        """
        with self._lock:
            missing = [role for role in roles if role not in self._sessions]
            if len(missing) > 1 and self.backend.opens_together and not self._use.is_closed:
                self._open_together(missing)
                return
        for role in missing:
            self.session(role)

    def _open_together(self, roles: Sequence[str]) -> None:
        from concurrent.futures import ThreadPoolExecutor

        start = time.perf_counter()
        with ThreadPoolExecutor(len(roles)) as pool:
            opening = {role: pool.submit(self._opening.opened, role) for role in roles}
        errors = [error for call in opening.values() if (error := call.exception()) is not None]
        done = {role: call.result() for role, call in opening.items() if call.exception() is None}
        if errors:
            for session in done.values():
                session.close()
            raise errors[0]
        self._sessions.update(done)
        self.load_ms += (time.perf_counter() - start) * 1e3

    def prepare(self) -> None:
        """Compile every graph ahead of time, where the device compiles.

        Raises:
            InferenceError: the backend cannot.
        """
        self._opening.prepare()

    def session(self, role: str) -> Session:
        """The graph with a role; opens it if need be.

        Raises:
            BundleError: the bundle has none, or its files changed.
            BackendUnavailableError: the device is not here.
            InferenceError: the backend cannot open it, or everything was closed.
        """
        with self._lock:
            self.check_open()
            if role not in self._sessions:
                start = time.perf_counter()
                self._sessions[role] = self._opening.opened(role)
                self.load_ms += (time.perf_counter() - start) * 1e3
            return self._sessions[role]

    def run(self, role: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Execute the graph with a role once.

        Args:
            role: of the graph.
            feeds: one array an input by name; what the graph does not take is left out.

        Returns:
            One array an output by name.

        Raises:
            TensorMismatchError: a feed is missing, or of another dtype or shape.
            InferenceError: the backend failed, the time limit is up, or everything was closed.
        """
        check_time(f"the {role} runs")
        with self._use.entered():
            session = self.session(role)
            wanted = [spec.name for spec in session.inputs]
            return session.run({name: feeds[name] for name in wanted if name in feeds})

    def active(self, role: str) -> ActiveBackend:
        """What really executes a graph; opens it if need be."""
        return ActiveBackend(self.backend.name, self.probe.version, self.session(role).device)

    def check_finite(self, role: str, tensors: Mapping[str, Array]) -> None:
        """Refuse results that are no numbers.

        Raises:
            InferenceError: NaN or infinity; names the tensor and the place.
        """
        for name, array in tensors.items():
            if not np.isfinite(array).all():
                where, precision = self.active(role), self.bundle.manifest.precision
                raise InferenceError(
                    f"The {role} gave NaN or infinity in {name} on {where.name} {where.device!r}. "
                    f"{drift_remedy(precision)}"
                )

    def check_alive(self, pixels: Array, tensors: Mapping[str, Array]) -> None:
        """Refuse an embedding that says nothing of its image.

        Args:
            pixels: what the encoder was given.
            tensors: what it gave.

        Raises:
            InferenceError: constant, or that of another image before.
        """
        if not self.backend.computes:
            return
        complaint = self._liveness.complaint(pixels, tensors)
        if complaint is not None:
            where = self.active(Role.ENCODER)
            raise InferenceError(
                f"The encoder is dead on {where.name} {where.device!r}: {complaint}. Open the "
                "bundle again; if that does not help, use another backend or device, and see what "
                f"`samedge verify {self.bundle.path}` says."
            )

    def residency(self) -> dict[str, dict[str, float]]:
        """Where the library plans to execute each graph, by role; empty where it does not say."""
        found = {}
        for role in IMAGE_ROLES:
            try:
                shares = self.session(role).residency()
            except InferenceError as error:
                logger.warning("Where the %s runs is not known: %s", role, error)
                continue
            if shares:
                found[str(role)] = shares
        return found

    def close(self) -> None:
        """Release every graph, once the calls that run have ended. Again, it does nothing."""
        self._use.close()
        with self._lock:
            while self._sessions:
                self._sessions.popitem()[1].close()
        self.backend.end()

    def after_fork(self) -> None:
        """In a fork, forget what is open in the parent; it is opened again when it is needed.

        What a fork leaves of a library that has been used may hang it, so that most run in a
        process of their own then.
        """
        never_released(self._sessions)
        devices = {session.device.lower() for session in self._sessions.values()} - {"cpu"}
        if devices or not self.backend.survives_fork:
            from samedge.runtimes.isolated.backend import IsolatedBackend

            isolated = IsolatedBackend(self.backend)
            self._opening = dataclasses.replace(self._opening, backend=isolated)
        was_closed = self._use.is_closed
        self._sessions, self._lock = {}, threading.RLock()
        self._use, self._liveness = InUse(), Liveness()
        if was_closed:
            self._use.close()

    def __reduce__(self) -> NoReturn:
        raise NotPicklableError(
            "A predictor holds native sessions, which cannot be pickled or copied: send the path "
            f"of its bundle, {str(self.bundle.path)!r}, and open it there with "
            "Predictor.from_bundle, such as in the initializer of a pool. Embeddings, prompts and "
            "masks can be pickled."
        )
