"""A graph file compiled for a device and its inputs' shapes, or taken from the cache.

OpenVINO's own cache opens whatever lies in it: one zeroed page in it gave masks of IoU 0.96 and no
word (2026.4), and a full disk leaves half a file. So compiled graphs are exported, sealed and
checked by :mod:`samedge._cache`, and OpenVINO gets the bytes.
"""

from __future__ import annotations

import functools
import hashlib
import io
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from samedge import _cache
from samedge.errors import InferenceError
from samedge.machine.libraries import library
from samedge.runtimes.base import Shapes

KIND = "openvino"
_EXPORTS = "EXPORT_IMPORT"  # of a device's capabilities
_DRIVERS = ("FULL_DEVICE_NAME", "NPU_DRIVER_VERSION", "GPU_UARCH_VERSION", "DEVICE_ARCHITECTURE")

logger = logging.getLogger(__name__)


@functools.cache
def core() -> Any:
    """The library's one object."""
    return library("openvino").Core()


class CompiledGraph:
    """A file on a device.

    Args:
        path: of the ``.xml`` or ``.onnx`` file.
        device: OpenVINO's string.
        properties: for compiling.
        reads: every file that compiling reads, where compiled graphs are kept in the user's cache;
            ``None`` where they are not.
    """

    def __init__(
        self,
        path: Path,
        device: str,
        properties: Mapping[str, Any],
        *,
        reads: Sequence[Path] | None,
    ) -> None:
        self.path, self.device = path, device
        self._properties = dict(properties)
        self._reads = reads

    def model(self) -> Any:
        """The graph as its file has it.

        Raises:
            InferenceError: the library cannot read it.
        """
        try:
            return core().read_model(os.fspath(self.path))
        except Exception as error:
            raise InferenceError(f"OpenVINO cannot open {self.path}: {error}") from error

    def compiled(self, shapes: Shapes) -> Any:
        """Compile the graph, or take it from the cache.

        Args:
            shapes: of its dynamic inputs; none leave them dynamic.

        Raises:
            InferenceError: the library cannot.
        """
        try:
            if self._reads is None or _EXPORTS not in capabilities(self.device):
                return self._compile(shapes)
            file = self._file(shapes)
            return self._imported(file) or self._exported(shapes, file)
        except Exception as error:
            raise InferenceError(
                f"OpenVINO cannot open {self.path} on {self.device!r}: {error}"
            ) from error

    def _file(self, shapes: Shapes) -> Path:
        shaped = hashlib.sha256(repr(sorted(shapes.items())).encode()).hexdigest()[:8]
        return _cache.cache_file(KIND, f"{self.key()}-{shaped}.blob")

    def files(self) -> tuple[Path, ...]:
        """What the cache holds of this graph, for any shapes."""
        if self._reads is None:
            return ()
        return _cache.cache_files(KIND, f"{self.key()}-*.blob")

    def key(self) -> str:
        """Short hash of everything that a compiled graph depends on, but for its inputs' shapes.

        Whether files are the same is judged by size, times and inode, as they are verified when the
        bundle is opened.
        """
        present = (path for path in self._reads or (self.path,) if path.is_file())
        facts: list[object] = [_cache.file_facts(path) for path in present]
        facts += [library("openvino").get_version(), self.device, identity(self.device)]
        facts.append(sorted(self._properties.items()))
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:24]

    def _compile(self, shapes: Shapes) -> Any:
        if not shapes:
            return core().compile_model(os.fspath(self.path), self.device, self._properties)
        model = self.model()
        model.reshape({name: list(shape) for name, shape in shapes.items()})
        return core().compile_model(model, self.device, self._properties)

    def _imported(self, file: Path) -> Any:
        content = _cache.kept(file)
        if content is None:
            return None
        try:
            tensor = library("openvino").Tensor(np.frombuffer(content, np.uint8))
            return core().import_model(tensor, self.device, self._properties)
        except Exception as error:  # noqa: BLE001 - another driver, an older library
            _cache.drop(file, reason=f"is not what this OpenVINO imports ({error})")
            return None

    def _exported(self, shapes: Shapes, file: Path) -> Any:
        compiled = self._compile(shapes)
        if self._file(shapes) != file:  # other files have come in their place meanwhile
            return compiled
        try:
            stream = io.BytesIO()
            compiled.export_model(stream)
        except Exception as error:  # noqa: BLE001 - it works all the same
            logger.info("OpenVINO cannot export what it compiled of %s: %s", self.path, error)
        else:
            _cache.keep(file, stream.getbuffer())
        return compiled


@functools.cache
def capabilities(device: str) -> tuple[str, ...]:
    """What a device says that it can do; nothing where it does not say."""
    try:
        return tuple(core().get_property(device, "OPTIMIZATION_CAPABILITIES"))
    except Exception:  # noqa: BLE001 - AUTO and its like have no such property
        return ()


@functools.cache
def identity(device: str) -> tuple[str, ...]:
    """A device's full name and what it says of its driver."""
    found = []
    for name in _DRIVERS:
        try:
            found.append(f"{name}={core().get_property(device, name)}")
        except Exception:  # noqa: BLE001, PERF203, S112 - each kind of device has some of them
            continue
    return tuple(found)
