"""A ``.mlpackage`` folder: manifest, program, weights and the description of inputs and outputs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from samedge.errors import BundleError, TensorMismatchError, UnknownNameError
from samedge.runtimes.base import TensorSpec
from samedge.runtimes.mil import proto
from samedge.runtimes.mil.blob import BlobFile
from samedge.runtimes.mil.program import Function, function
from samedge.runtimes.mil.proto import read_document

_MODEL_PATH = "@model_path/"


@dataclasses.dataclass(frozen=True, slots=True)
class Feature:
    """One input or output as applications see it.

    Attributes:
        name: the tensor's name.
        dtype: NumPy's name; ``"uint8"`` for an image.
        shape: an ``int`` is fixed; a ``str`` names a flexible axis.
        allowed_shapes: every shape that an enumerated input takes, empty otherwise.
        color_space: ``"RGB"``, ``"BGR"`` or ``"GRAYSCALE"`` for an image, else ``None``.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    allowed_shapes: tuple[tuple[int, ...], ...] = ()
    color_space: str | None = None

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Refuse a shape that an enumerated input does not list.

        Raises:
            TensorMismatchError: the shape is none of the allowed ones.
        """
        if self.allowed_shapes and shape not in self.allowed_shapes:
            allowed = ", ".join(map(str, self.allowed_shapes))
            raise TensorMismatchError(
                f"input {self.name!r} has shape {shape}, expected one of {allowed}: "
                "pad the prompt with label -1."
            )


@dataclasses.dataclass(frozen=True, slots=True)
class Package:
    """A package as it was read.

    Attributes:
        path: the folder.
        specification_version: 8 is iOS 17, 9 is iOS 18.
        functions: by name.
        default_function: the one that runs when none is asked for.
        inputs: features by function.
        outputs: features by function.
        metadata: author, licence, description, version and the user-defined entries.
        weight_bytes: size of all weight files.
    """

    path: Path
    specification_version: int
    functions: dict[str, Function]
    default_function: str
    inputs: dict[str, tuple[Feature, ...]]
    outputs: dict[str, tuple[Feature, ...]]
    metadata: dict[str, str]
    weight_bytes: int

    def function_name(self, wish: str | None) -> str:
        """Name of the function to run.

        Raises:
            UnknownNameError: the package has no such function.
        """
        name = wish or self.default_function
        if name not in self.functions:
            raise UnknownNameError(f"function of {self.path.name}", name, self.functions)
        return name

    def input_specs(self, function: str) -> tuple[TensorSpec, ...]:
        """What the function takes, pictures as (1, height, width, channels) uint8."""
        return tuple(TensorSpec(f.name, f.dtype, f.shape) for f in self.inputs[function])

    def output_specs(self, function: str) -> tuple[TensorSpec, ...]:
        """What the function returns; shapes are the program's, which always knows them."""
        program = self.functions[function]
        declared, described = program.types(), {f.name: f for f in self.outputs[function]}
        specs = []
        for name in program.outputs:
            shape = tuple(
                f"{name}_{axis}" if size is None else size
                for axis, size in enumerate(declared[name].shape)
            )
            specs.append(TensorSpec(name, described[name].dtype, shape))
        return tuple(specs)


def _manifest(folder: Path) -> Any:
    path = folder / "Manifest.json"
    try:
        if not path.exists():
            raise BundleError(
                f"{folder} has no Manifest.json, expected a Core ML package: "
                "give the .mlpackage folder itself."
            )
        return json.loads(read_document(path, expected="a Core ML package's manifest"))
    except BundleError:
        raise
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is not JSON: {error}. Copy the package again.") from error


def model_file(folder: Path) -> Path:
    """Path of the program inside a package.

    Raises:
        BundleError: no manifest, no root model in it, or a path that leaves the package.
    """
    manifest = _manifest(folder)
    try:
        entry = manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"]
    except (KeyError, TypeError) as error:
        raise BundleError(
            f"{folder / 'Manifest.json'} names no root model (key {error} is missing): "
            "copy the package again."
        ) from error
    return _inside(folder / "Data", str(entry))


def files_inside(folder: Path) -> tuple[Path, ...]:
    """Every file of a package; what macOS's Finder leaves in every folder is none of it."""
    found = (path for path in folder.rglob("*") if path.name != ".DS_Store")
    return tuple(sorted(path for path in found if path.is_symlink() or not path.is_dir()))


def _inside(root: Path, relative: str) -> Path:
    """A file of the package by its name there; the file itself may be a link, as caches lay it."""
    path, parts = root / relative, PurePosixPath(relative).parts
    leaves = not parts or parts[0] == "/" or ".." in parts or "\\" in relative
    if leaves or any(folder.is_symlink() for folder in path.parents if folder.is_relative_to(root)):
        raise BundleError(
            f"The package refers to {relative!r}, outside its own folder: do not trust this file."
        )
    if not path.is_file():
        raise BundleError(f"{path} is missing: copy the whole package again.")
    return path


def _blobs(model: Path) -> Callable[[str], BlobFile]:
    @cache
    def open_blob(name: str) -> BlobFile:
        if not name.startswith(_MODEL_PATH):
            raise BundleError(
                f"The program refers to the weights {name!r}, expected a name that starts with "
                f"{_MODEL_PATH}: do not trust this file."
            )
        return BlobFile(_inside(model.parent, name[len(_MODEL_PATH) :]))

    return open_blob


def _array_feature(name: str, array: Any) -> Feature:
    dtype = proto.array_type_names()[array.dataType]
    shape: tuple[int | str, ...] = tuple(int(d) for d in array.shape)
    flexibility = array.WhichOneof("ShapeFlexibility")
    if flexibility == "enumeratedShapes":
        allowed = tuple(
            tuple(int(d) for d in option.shape) for option in array.enumeratedShapes.shapes
        )
        shape = tuple(
            sizes[0] if len(set(sizes)) == 1 else f"{name}_{axis}"
            for axis, sizes in enumerate(zip(*allowed, strict=True))
        )
        return Feature(name, dtype, shape, allowed)
    if flexibility == "shapeRange":
        bounds = [(int(r.lowerBound), int(r.upperBound)) for r in array.shapeRange.sizeRanges]
        shape = tuple(
            low if low == high else f"{name}_{axis}" for axis, (low, high) in enumerate(bounds)
        )
    return Feature(name, dtype, shape)


def _feature(message: Any) -> Feature:
    kind = message.type.WhichOneof("Type")
    if kind == "imageType":
        image = message.type.imageType
        color = proto.color_space_names()[image.colorSpace]
        channels = 1 if "GRAYSCALE" in color else 3
        shape = (1, int(image.height), int(image.width), channels)
        return Feature(message.name, "uint8", shape, color_space=color)
    if kind == "multiArrayType":
        return _array_feature(message.name, message.type.multiArrayType)
    raise BundleError(f"{message.name!r} is a {kind}, expected an array or an image.")


def _features(model: Any) -> tuple[dict[str, Any], dict[str, Any], str]:
    described = list(model.description.functions)
    if not described:
        main = model.description
        inputs, outputs = tuple(map(_feature, main.input)), tuple(map(_feature, main.output))
        return {"main": inputs}, {"main": outputs}, "main"
    inputs_of = {f.name: tuple(map(_feature, f.input)) for f in described}
    outputs_of = {f.name: tuple(map(_feature, f.output)) for f in described}
    return inputs_of, outputs_of, model.description.defaultFunctionName or described[0].name


def _metadata(message: Any) -> dict[str, str]:
    fixed = {
        "author": message.author,
        "licence": message.license,
        "description": message.shortDescription,
        "version": message.versionString,
    }
    return {key: value for key, value in fixed.items() if value} | dict(message.userDefined)


def _parse(path: Path) -> Any:
    model = proto.parse_model(path)
    if model.WhichOneof("Type") != "mlProgram":
        raise BundleError(
            f"{path} holds a {model.WhichOneof('Type')}, expected an mlProgram: "
            "convert the model as an ML program (iOS 15 or later)."
        )
    return model


def read_package(folder: Path) -> Package:
    """Read a ``.mlpackage``; weights stay in their file until they are asked for.

    Raises:
        BundleError: not a package, not an ML program, or files missing or damaged.
        BackendUnavailableError: coremltools is not installed.
    """
    path = model_file(folder)
    model = _parse(path)
    blobs = _blobs(path)
    inputs, outputs, default = _features(model)
    program = model.mlProgram
    return Package(
        path=folder,
        specification_version=int(model.specificationVersion),
        functions={key: function(key, f, blobs) for key, f in program.functions.items()},
        default_function=default,
        inputs=inputs,
        outputs=outputs,
        metadata=_metadata(model.description.metadata),
        weight_bytes=sum(f.stat().st_size for f in path.parent.rglob("*.bin")),
    )
