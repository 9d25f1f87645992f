"""The protobuf classes of Core ML's file format, without the cost of importing coremltools.

``import coremltools`` takes seconds, loads torch and prints warnings about everything that is not
a Mac. Its generated ``*_pb2.py`` files need none of that, so they are imported under a package
name of our own. A later ``import coremltools`` registers the same descriptors again, which
protobuf allows because they are identical.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from functools import cache
from pathlib import Path
from typing import Any

from samedge.errors import BackendUnavailableError, BundleError
from samedge.files.reading import read_bytes

INSTALL = 'pip install "samedge[coreml]"'
_ALIAS = "_samedge_coremltools_proto"


def proto_folder() -> Path | None:
    """Folder of coremltools' generated protobuf modules, or ``None`` where it is not installed."""
    spec = importlib.util.find_spec("coremltools")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0]) / "proto"
    return folder if (folder / "Model_pb2.py").is_file() else None


@cache
def _modules() -> tuple[Any, Any, Any]:
    folder = proto_folder()
    if folder is None:
        raise BackendUnavailableError(
            "Core ML packages are read with the protobuf classes of coremltools, "
            f"which is not installed. Install it: {INSTALL}"
        )
    package = types.ModuleType(_ALIAS, doc="coremltools.proto under a name of our own")
    package.__path__ = [str(folder)]
    sys.modules[_ALIAS] = package
    names = ("Model_pb2", "MIL_pb2", "FeatureTypes_pb2")
    model, mil, features = (importlib.import_module(f"{_ALIAS}.{name}") for name in names)
    return model, mil, features


def read_document(path: Path, *, expected: str) -> bytes:
    """Content of a package's file that is not weights, of bounded size.

    Raises:
        BundleError: it is no regular file, or too large.
    """
    return read_bytes(path, limit="document_bytes", expected=expected, error=BundleError)


def parse_model(path: Path) -> Any:
    """Parse a ``model.mlmodel``.

    Raises:
        BackendUnavailableError: coremltools is not installed.
        BundleError: the file is no Core ML model.
    """
    model = _modules()[0].Model()
    decode_error = importlib.import_module("google.protobuf.message").DecodeError
    try:
        model.ParseFromString(read_document(path, expected="a Core ML model"))
    except decode_error as error:
        raise BundleError(f"{path} is no Core ML model ({error}): copy it again.") from error
    return model


@cache
def data_type_names() -> dict[int, str]:
    """MIL's ``DataType`` numbers -> NumPy-like names, such as ``{10: "float16"}``."""
    mil = _modules()[1]
    return {number: name.lower() for name, number in mil.DataType.items()}


@cache
def array_type_names() -> dict[int, str]:
    """``ArrayFeatureType.ArrayDataType`` numbers -> NumPy names."""
    items = _modules()[2].ArrayFeatureType.ArrayDataType.items()
    return {number: "float64" if name == "DOUBLE" else name.lower() for name, number in items}


@cache
def color_space_names() -> dict[int, str]:
    """``ImageFeatureType.ColorSpace`` numbers -> names, such as ``"RGB"``."""
    items = _modules()[2].ImageFeatureType.ColorSpace.items()
    return {number: name for name, number in items}
