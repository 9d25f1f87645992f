"""The two libraries that one backend serves: TensorRT, and TensorRT for RTX on desktop cards.

Both share one Python interface. TensorRT 10 (JetPack 6) and 11 are the first; its engines are tuned
by timing kernels on the very GPU. TensorRT for RTX compiles ahead of time for a compute capability,
also on a machine without a GPU, and finishes on the user's card.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import importlib.util
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from samedge.errors import BackendUnavailableError, UnknownNameError

AUTO = "auto"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flavour:
    """One of the libraries.

    Attributes:
        name: what users type.
        module: its Python module.
        times_kernels: whether a build measures kernels, which needs the GPU and gains from a
            timing cache.
        fix: how to get it.
    """

    name: str
    module: str
    times_kernels: bool
    fix: str

    @property
    def is_installed(self) -> bool:
        """Whether the module can be found; it is not imported."""
        return importlib.util.find_spec(self.module) is not None

    def version(self) -> str:
        """The installed version, without importing the library where its metadata is there."""
        try:
            return importlib.metadata.version(self.module)
        except importlib.metadata.PackageNotFoundError:
            return str(getattr(self.load(), "__version__", "unknown"))

    def load(self) -> Any:
        """Import the library.

        Raises:
            BackendUnavailableError: it is not here, or does not load.
        """
        try:
            return importlib.import_module(self.module)
        except Exception as error:
            raise BackendUnavailableError(
                f"{self.name} does not load: {error}. Fix: {self.fix}"
            ) from error


FLAVOURS: Mapping[str, Flavour] = MappingProxyType(
    {
        flavour.name: flavour
        for flavour in (
            Flavour(
                name="tensorrt",
                module="tensorrt",
                times_kernels=True,
                fix="sudo apt install python3-libnvinfer  # on a Jetson, with JetPack",
            ),
            Flavour(
                name="tensorrt-rtx",
                module="tensorrt_rtx",
                times_kernels=False,
                fix="pip install 'samedge[tensorrt,tensorrt-rtx]'",
            ),
        )
    }
)
"""By name, the one that ``auto`` prefers first."""


def flavour_named(wish: str = AUTO) -> Flavour:
    """The library to use: the wished one, or the first that is installed.

    Raises:
        UnknownNameError: another word.
        BackendUnavailableError: it is not installed.
    """
    if wish != AUTO and wish not in FLAVOURS:
        raise UnknownNameError("flavour of TensorRT", wish, (AUTO, *FLAVOURS))
    candidates = list(FLAVOURS.values()) if wish == AUTO else [FLAVOURS[wish]]
    for flavour in candidates:
        if flavour.is_installed:
            return flavour
    names = " or ".join(flavour.name for flavour in candidates)
    raise BackendUnavailableError(f"No {names} is installed. Fix: {candidates[0].fix}")
