"""Several packages as the functions of one, which share what weights they have in common."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from samedge.export.base import ExportedGraph
from samedge.export.coreml.library import coremltools, quiet, temporary_files

NAME = "model.mlpackage"


@temporary_files()
def merged(graphs: Sequence[ExportedGraph], folder: Path) -> tuple[ExportedGraph, ...]:
    """Put packages into one, each as a function that is named after its role.

    Args:
        graphs: packages in ``folder``, for iOS 18; they are removed.
        folder: gets ``model.mlpackage``.
    """
    with quiet():
        utils = coremltools("models.utils")
        functions = utils.MultiFunctionDescriptor()
        for graph in graphs:
            functions.add_function(
                str(folder / graph.path),
                src_function_name="main",
                target_function_name=str(graph.graph.role),
            )
        functions.default_function_name = str(graphs[0].graph.role)
        utils.save_multifunction(functions, str(folder / NAME))
        _copy_description(folder / graphs[0].path, folder / NAME)
    for graph in graphs:
        shutil.rmtree(folder / graph.path)
    return tuple(
        dataclasses.replace(graph, path=NAME, options={"function": str(graph.graph.role)})
        for graph in graphs
    )


def _copy_description(source: Path, destination: Path) -> None:
    """Say whose the merged package is; coremltools leaves that out."""
    library = coremltools()
    old, new = (library.models.MLModel(str(p), skip_model_load=True) for p in (source, destination))
    _copy(old.get_spec().description.metadata, spec := new.get_spec())
    weights = new.weights_dir
    again = library.models.MLModel(spec, weights_dir=weights, skip_model_load=True)
    scratch = destination.with_name("described.mlpackage")
    again.save(str(scratch))
    shutil.rmtree(destination)
    scratch.rename(destination)


def _copy(metadata: Any, spec: Any) -> None:
    own = spec.description.metadata
    own.CopyFrom(metadata)
    own.shortDescription = metadata.shortDescription.replace("encoder", "encoder and decoder")
    own.userDefined.pop("samedge.role", None)
