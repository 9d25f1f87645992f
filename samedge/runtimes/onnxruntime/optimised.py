"""An ONNX graph as the library has optimised it for this processor, kept for the next start.

Most of opening a graph goes into working out what of it can be fused. The result is the same each
time, so it is kept in the library's own format, sealed and checked by :mod:`samedge._cache`, and
opened without that work. It computes the same bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from samedge import _cache
from samedge.files.scratch import scratch_folder
from samedge.machine.identity import machine_identity
from samedge.machine.libraries import library
from samedge.runtimes.onnx_files import external_files

KIND = "onnxruntime"
MOST_BYTES = 64 << 20
"""Of a graph that is kept: a larger one would be in memory twice while it is opened."""

Create = Callable[[str | bytes, Any], Any]
"""Makes the library's session of a path or of a graph's bytes, with its options."""

logger = logging.getLogger(__name__)


class OptimisedGraph:
    """A file on this machine's processor.

    Args:
        path: of the ``.onnx`` file.
        level: of optimisation, as ``graph_optimization`` names it.
    """

    def __init__(self, path: Path, level: str) -> None:
        self.path, self._level = path, level

    @property
    def is_kept(self) -> bool:
        """Whether the cache holds it, for the file as it is now.

        Then the file names no other: such a graph is not kept.
        """
        kept = self.file()
        return kept is not None and kept.exists()

    def file(self) -> Path | None:
        """Where the cache holds it, or would; ``None`` for a graph that is too large.

        Whether files are the same is judged by size, times and inode, as they are verified when the
        bundle is opened.
        """
        if self.path.stat().st_size > MOST_BYTES:
            return None
        onnxruntime = library("onnxruntime")
        facts = (
            *_cache.file_facts(self.path),
            *(onnxruntime.__version__, onnxruntime.get_build_info()),
            *(self._level, sorted(machine_identity().items())),
        )
        name = hashlib.sha256(repr(facts).encode()).hexdigest()[:32]
        return _cache.cache_file(KIND, f"{name}.ort")

    def opened(self, create: Create, options: Callable[[], Any]) -> Any:
        """A session of the kept graph, or of the file, which is kept from then on.

        Args:
            create: makes the session.
            options: makes the library's options, as the file is to be opened with.
        """
        kept = self.file()
        session = None
        if kept is not None:
            session = self._imported(kept, create, options())
            if session is None and not external_files(self.path):
                session = self._exported(kept, create, options())
        return session or create(os.fspath(self.path), options())

    def _imported(self, kept: Path, create: Create, options: Any) -> Any:
        content = _cache.kept(kept)
        if content is None:
            return None
        levels = library("onnxruntime").GraphOptimizationLevel
        options.graph_optimization_level = levels.ORT_DISABLE_ALL  # all is done
        options.add_session_config_entry("session.load_model_format", "ORT")
        try:
            return create(bytes(content), options)
        except Exception as error:  # noqa: BLE001 - the file itself is opened then
            _cache.drop(kept, reason=f"is not what this ONNX Runtime opens ({error})")
            return None

    def _exported(self, kept: Path, create: Create, options: Any) -> Any:
        with contextlib.ExitStack() as stack:
            try:
                written = stack.enter_context(scratch_folder()) / kept.name
            except OSError as error:
                logger.info("%s is not kept: %s", kept, error)
                return None
            options.optimized_model_filepath = os.fspath(written)
            options.add_session_config_entry("session.save_model_format", "ORT")
            try:
                session = create(os.fspath(self.path), options)
                if self.file() == kept:  # else another file has come in its place meanwhile
                    _cache.keep(kept, written.read_bytes())
            except Exception as error:  # noqa: BLE001 - a full disk, or a graph that is none
                logger.info("%s is not kept: %s", kept, error)
                return None
            return session
