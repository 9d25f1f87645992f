"""The folder of a run: what it was started with, where it is, and what it has made.

recipe.toml          the recipe as it was given
run.json             seed, versions, device: where the weights come from
state.pt             the checkpoint that --resume goes on from
last.safetensors     the newest weights, as ``samedge export --checkpoint`` takes them
best.safetensors     those that did best on the held-out photos
log.csv, tensorboard/, pictures/
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import torch
from PIL import Image

from samedge._version import __version__
from samedge.distill.checkpointing import State, load_state, save_state
from samedge.distill.recipe import Recipe
from samedge.distill.recipe_file import parse_recipe
from samedge.distill.student import model_spec
from samedge.errors import CheckpointError, RecipeError
from samedge.files.writing import replacing, write_bytes, write_text
from samedge.models.checkpoints import save_checkpoint
from samedge.models.promptable import PromptableModel
from samedge.types import Array

STATE, LAST, BEST = "state.pt", "last.safetensors", "best.safetensors"
_LIBRARIES = ("torch", "torchvision", "timm", "accelerate", "numpy", "safetensors")


class RunFolder:
    """Reads and writes the files of one run; only the main process writes.

    Args:
        path: the folder.
        recipe: what is trained.
        text: its TOML.
    """

    def __init__(self, path: Path, recipe: Recipe, text: str) -> None:
        self.path, self.recipe, self.text = path, recipe, text

    def begin(self, *, facts: Mapping[str, Any]) -> None:
        """Start a run here.

        Args:
            facts: what ``run.json`` says beside the recipe and the versions.

        Raises:
            CheckpointError: the folder already holds a run.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        if (self.path / STATE).exists():
            raise CheckpointError(
                f"{self.path} already holds a run: add --resume to go on with it, or give another "
                "--output."
            )
        write_text(self.path / "recipe.toml", self.text)
        write_bytes(self.path / "run.json", self._provenance(facts))

    def _provenance(self, facts: Mapping[str, Any]) -> bytes:
        versions = {"python": platform.python_version()}
        document = {
            "schema": "samedge.run/1",
            "samedge_version": __version__,
            "name": self.recipe.name,
            "seed": self.recipe.run.seed,
            "recipe_sha256": hashlib.sha256(self.text.encode()).hexdigest(),
            **facts,
            "versions": versions | {name: metadata.version(name) for name in _LIBRARIES},
        }
        return msgspec.json.format(msgspec.json.encode(document), indent=2)

    def state(self) -> State | None:
        """The checkpoint to go on from; ``None`` for a run that was stopped before its first step.

        Raises:
            CheckpointError: there is no run here.
            RecipeError: the run was started with another recipe; ``[run]`` may differ, except
                for what changes the weights.
        """
        if not (self.path / "recipe.toml").is_file():
            raise CheckpointError(
                f"There is no run in {self.path} to resume: leave --resume out, or give the "
                "--output of the run to go on with."
            )
        started = parse_recipe((self.path / "recipe.toml").read_text(encoding="utf-8"))
        changed = _differences(started, self.recipe)
        if changed:
            raise RecipeError(
                f"The recipe is not the one that {self.path} was started with: {changed} differs. "
                "Start a new run that goes on from its weights by model.init = "
                f"{str(self.path / LAST)!r}."
            )
        return load_state(self.path / STATE) if (self.path / STATE).exists() else None

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Replace the checkpoint."""
        save_state(self.path / STATE, state)

    def save_weights(self, model: PromptableModel, name: str) -> None:
        """Write a model in samedge's own format, for the size that the finished model takes."""
        spec = model_spec(self.recipe, image_size=self.recipe.model.image_size)
        save_checkpoint(model, self.path / name, spec=spec)

    def save_picture(self, sheet: Array, *, step: int) -> None:
        """Keep an (H, W, 3) uint8 picture of predictions."""
        with replacing(self.path / "pictures" / f"step-{step:07d}.png") as temporary:
            Image.fromarray(sheet).save(temporary)


def _differences(first: Recipe, second: Recipe) -> str:
    """Names of the sections that differ and change the weights, joined; empty when none does."""
    old, new = msgspec.to_builtins(first), msgspec.to_builtins(second)
    for plain in (old, new):
        plain["run"] = {k: plain["run"][k] for k in ("seed", "precision", "channels_last")}
    ignored = {"summary", "licence"}
    return ", ".join(k for k in old if k not in ignored and old[k] != new[k])


def provenance_of(device: torch.device, *, processes: int) -> dict[str, str | int]:
    """What ``run.json`` says of the machine."""
    return {"device": str(device), "processes": processes, "threads": torch.get_num_threads()}
