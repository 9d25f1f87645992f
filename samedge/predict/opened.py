"""A bundle opened on one device: how it gets there, what it costs, and how it is closed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from samedge import runtimes
from samedge.bundle.bundle import Bundle
from samedge.predict import trust
from samedge.predict.focus import FocusMode, checked_mode, checked_rounds
from samedge.predict.graphs import Graphs
from samedge.predict.mapping import ManyFrames
from samedge.predict.opening import Preprocess, best_backend, frame_with, placement
from samedge.runtimes.base import Backend, Probe
from samedge.runtimes.deadline import OPEN_TIMEOUT_S, TIMEOUT_S
from samedge.runtimes.sharing import Closable
from samedge.types import ActiveBackend, Role

Opened = TypeVar("Opened", bound="OpenedBundle")


class OpenedBundle(ManyFrames, Closable):
    """A bundle opened on one device.

    The encoder and the decoder are opened when they are first needed, so that encode-only and
    decode-only uses hold one graph. It may be shared between threads: closing it waits for the
    calls that run. In a fork it opens its graphs anew, mostly in a process of their own.

    Args are those of :class:`~samedge.predict.graphs.Graphs`, and:

    Args:
        focus: when the part of the image around a prompt is encoded again, closer: ``auto`` where
            what the prompt is about is small, ``always``, or ``never``, which is the default, as a
            decode then never costs an encode. See :mod:`samedge.predict.focus`.
        refine: how many times a box is asked about again, with the logits of its answer, for one
            more decode each; ``None``: once with a ``focus`` other than ``never``, else not.

    Attributes:
        bundle, manifest: the opened bundle's.
        frame: how images get into the encoder, and masks come back.
        graphs: the bundle's graphs by role.
    """

    def __init__(
        self,
        bundle: Bundle,
        backend: Backend,
        *,
        device: str | None = None,
        options: Mapping[str, Any] | None = None,
        probe: Probe | None = None,
        focus: FocusMode = "never",
        refine: int | None = None,
    ) -> None:
        self.bundle, self.manifest, self.frame = bundle, bundle.manifest, bundle.manifest.frame
        self.graphs = Graphs(bundle, backend, device=device, options=options, probe=probe)
        self._focus, self._other_load_ms = checked_mode(focus), 0.0
        self._refine = checked_rounds(refine, mode=self._focus, kinds=bundle.manifest.prompts)
        super().__init__()

    @classmethod
    def from_bundle(
        cls: type[Opened],
        path: str | Path | Bundle,
        *,
        backend: str | None = None,
        device: str | None = None,
        threads: int | None = None,
        verify: bool = True,
        any_backend: bool = False,
        focus: FocusMode = "never",
        refine: int | None = None,
        preprocess: Preprocess | None = None,
    ) -> Opened:
        """Open a bundle, verify its hashes, and run its canary if it never ran here.

        Args:
            path: the bundle's folder or ``.samedge`` file, or a bundle that is open already.
            backend: another backend than the bundle was made for; it must open the same format.
            device: the backend's own device string; ``None`` takes the bundle's.
            threads: processor threads; ``None`` leaves it to the backend.
            verify: check hashes and canary.
            any_backend: where no backend is named and the bundle's own is not here, take the first
                that opens its formats; the results say which.
            focus: ``auto``, ``never`` or ``always``: whether small things get a second look, at
                the cost of one more encode each, two for a box, 32 a call at most.
            refine: how many times boxes are asked about again; ``None``: once with ``focus``.
            preprocess: how large images are made smaller, ``exact`` as SAM does or ``fast``;
                ``None`` as the bundle says. See :mod:`samedge.pixels.resizing`.

        Raises:
            BundleError: the bundle is missing, altered, or computes wrong results here.
            IncompatibleArtifactError: the backend does not open the bundle's format.
            BackendUnavailableError: the backend or the device is not here.
            UnknownNameError: there is no backend of this name, or no such ``focus``.
            OptionError: ``threads`` is not positive, ``refine`` is out of range, or there is no
                such ``preprocess``.
        """
        start = time.perf_counter()
        bundle = path if isinstance(path, Bundle) else Bundle.open(path, verify=verify)
        chosen, probe = runtimes.get(backend or bundle.manifest.backend), None
        if backend is None and any_backend:
            chosen, probe = best_backend(bundle)
        how = placement(bundle, chosen, device=device, threads=threads)
        frame = frame_with(bundle.manifest.frame, preprocess)
        opened = cls(
            bundle,
            chosen,
            device=how.device,
            options=how.options,
            probe=probe,
            focus=focus,
            refine=refine,
        )
        opened.frame = frame
        return opened._checked(start, verify=verify)

    @classmethod
    def isolated(
        cls: type[Opened],
        path: str | Path | Bundle,
        *,
        backend: str | None = None,
        device: str | None = None,
        threads: int | None = None,
        verify: bool = True,
        focus: FocusMode = "never",
        refine: int | None = None,
        preprocess: Preprocess | None = None,
        timeout_s: float = TIMEOUT_S,
        open_timeout_s: float = OPEN_TIMEOUT_S,
    ) -> Opened:
        """Open a bundle whose graphs run in a process of their own.

        A library that crashes there is started again, and the call is answered or fails; one that
        hangs is ended at the limit. Tensors go through pipes, which costs milliseconds a call.

        Args:
            path: as of :meth:`from_bundle`, and so the next seven.
            backend: see there.
            device: see there.
            threads: see there.
            verify: see there.
            focus: see there.
            refine: see there.
            preprocess: see there.
            timeout_s: for one run of a graph.
            open_timeout_s: for opening one, which may compile it.

        Raises:
            SamedgeError: as of :meth:`from_bundle`.
        """
        start = time.perf_counter()
        bundle = path if isinstance(path, Bundle) else Bundle.open(path, verify=verify)
        inner = runtimes.get(backend or bundle.manifest.backend)
        how = placement(bundle, inner, device=device, threads=threads)
        frame = frame_with(bundle.manifest.frame, preprocess)
        from samedge.runtimes.isolated.backend import IsolatedBackend

        chosen = IsolatedBackend(inner, timeout_s=timeout_s, open_timeout_s=open_timeout_s)
        try:
            opened = cls(
                bundle,
                chosen,
                device=how.device,
                options=how.options,
                focus=focus,
                refine=refine,
            )
            opened.frame = frame
            return opened._checked(start, verify=verify)
        except BaseException:
            chosen.end()
            raise

    def _checked(self: Opened, start: float, *, verify: bool) -> Opened:
        """The same, its canary run if it never was here; closed where that fails."""
        self.is_verified = verify
        try:
            if verify:
                trust.check_canary_once(self.graphs)
        except BaseException:
            self.close()
            raise
        self._other_load_ms = (time.perf_counter() - start) * 1e3 - self.graphs.load_ms
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.bundle!r} on {self.graphs.backend.name})"

    @property
    def timing_ms(self) -> dict[str, float]:
        """``load``: what opening has cost so far, the canary included."""
        return {"load": self.graphs.load_ms + self._other_load_ms}

    @property
    def focus(self) -> FocusMode:
        """When small things get a second look."""
        return self._focus

    @property
    def refine(self) -> int:
        """How many times boxes are asked about again."""
        return self._refine

    def load(self) -> None:
        """Open encoder and decoder now instead of when they are first needed.

        Raises:
            InferenceError: the backend cannot open a graph.
        """
        self.graphs.load()

    def check_canary(self) -> bool:
        """Run the bundle's canary now, whether or not it has passed here before.

        Returns:
            Whether there was one to run.

        Raises:
            BundleError: this backend and device compute something else than the export did.
        """
        return trust.check_canary(self.graphs)

    def active_backend(self, role: str = Role.DECODER) -> ActiveBackend:
        """What really executes a graph; opens it if need be."""
        return self.graphs.active(role)

    def residency(self) -> dict[str, dict[str, float]]:
        """Where the library plans to execute each graph, by role; empty where it does not say."""
        return self.graphs.residency()

    @property
    def is_closed(self) -> bool:
        """Whether its graphs were released."""
        return self.graphs.is_closed

    def close(self) -> None:
        """Release the graphs. Calling it again does nothing."""
        self.graphs.close()
        self.others.close()
