"""A run that was interrupted ends with the weights of one that was not, to the last bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from samedge.distill.checkpointing import load_state, save_state
from samedge.distill.train import distill
from samedge.errors import CheckpointError, RecipeError
from samedge.files.writing import replacing
from tests.distill.training import recipe_text, write_photos

PROMPTS = {"kind": "prompts", "steps": 6, "batch_size": 2, "clicks": 1}
MAE = {"kind": "mae", "steps": 5, "batch_size": 2, "decoder_dim": 16, "decoder_heads": 2}
CONVOLUTIONS = {
    "encoder": "timm",
    "encoder_options": {"backbone": "test_resnet", "embed_dim": 32, "body_blocks": 1},
    "decoder": "painted",
    "decoder_options": {"embed_dim": 32, "coarse": 16, "middle": 8, "fine": 8, "blocks": 1},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("data"))


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


def differing(first: Path, second: Path) -> list[str]:
    """Names of the tensors that are not equal to the last bit."""
    a, b = load_file(first), load_file(second)
    assert a.keys() == b.keys()
    return [name for name in a if not torch.equal(a[name], b[name])]


@pytest.mark.parametrize(
    ("changes", "stops"),
    [
        pytest.param({"stage": [PROMPTS]}, [4], id="prompts"),
        pytest.param(
            {"stage": [MAE, PROMPTS]}, [3, 5, 8], id="mae then prompts", marks=pytest.mark.slow
        ),
        pytest.param(
            {"stage": [{**PROMPTS, "steps": 4}, PROMPTS], "model": CONVOLUTIONS},
            [3, 7],
            id="batch norm and painted",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"stage": [PROMPTS], "optim": {"ema": 0.0, "warmup": 2}},
            [1],
            id="no average",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"stage": [PROMPTS], "run": {"workers": 1, "threads": 1}},
            [2],
            id="worker",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_interrupted_run_ends_with_the_same_weights(
    tmp_path: Path, data: Path, changes: dict[str, Any], stops: list[int]
) -> None:
    recipe = write(tmp_path, recipe_text(**changes))
    distill(recipe, data, output=tmp_path / "whole")
    for number, steps in enumerate(stops):
        result = distill(
            recipe, data, output=tmp_path / "parts", resume=number > 0, max_steps=steps
        )
        assert result.steps == steps
    end = distill(recipe, data, output=tmp_path / "parts", resume=True)
    assert end.steps == end.total_steps
    assert differing(tmp_path / "whole/last.safetensors", tmp_path / "parts/last.safetensors") == []
    whole, parts = (load_state(tmp_path / name / "state.pt") for name in ("whole", "parts"))
    for name, tensor in whole["model"].items():
        assert torch.equal(tensor, parts["model"][name]), name
    logs = [(tmp_path / name / "log.csv").read_text().splitlines() for name in ("whole", "parts")]
    steps_logged = [[row.split(",")[2] for row in log] for log in logs]
    assert steps_logged[0] == steps_logged[1]


@pytest.mark.slow
def test_another_seed_gives_other_weights(tmp_path: Path, data: Path) -> None:
    for seed in (3, 4):
        run = {"workers": 0, "threads": 1, "seed": seed}
        distill(write(tmp_path, recipe_text(run=run)), data, output=tmp_path / str(seed))
    assert differing(tmp_path / "3/last.safetensors", tmp_path / "4/last.safetensors")


def test_resuming_nothing_or_another_recipe_is_refused(tmp_path: Path, data: Path) -> None:
    recipe = write(tmp_path, recipe_text())
    with pytest.raises(CheckpointError, match=r"no run in .* to resume"):
        distill(recipe, data, output=tmp_path / "run", resume=True)
    distill(recipe, data, output=tmp_path / "run", max_steps=1)
    with pytest.raises(CheckpointError, match="already holds a run"):
        distill(recipe, data, output=tmp_path / "run")
    other = write(tmp_path, recipe_text(optim={"lr": 0.5, "warmup": 2}))
    with pytest.raises(RecipeError, match="optim differs"):
        distill(other, data, output=tmp_path / "run", resume=True)
    logging = {"workers": 0, "threads": 1, "seed": 3, "eval_every": 7, "checkpoint_minutes": 9.0}
    same = write(tmp_path, recipe_text(run=logging))
    assert distill(same, data, output=tmp_path / "run", resume=True).steps == 6


def test_a_run_stopped_before_its_first_step_can_be_resumed(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write(tmp_path, recipe_text())
    with monkeypatch.context() as patch:
        patch.setattr("samedge.distill.train.plan_stage", lambda *_, **__: None)
        assert distill(recipe, data, output=tmp_path / "run").steps == 0
    assert not (tmp_path / "run/state.pt").exists()
    assert distill(recipe, data, output=tmp_path / "run", resume=True).steps == 6


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_a_signal_finishes_the_step_and_keeps_it(
    tmp_path: Path, data: Path, number: signal.Signals
) -> None:
    stage = {**PROMPTS, "steps": 100_000}
    recipe = write(tmp_path, recipe_text(stage=[stage]))
    command = [sys.executable, "-m", "samedge", "distill", str(recipe)]
    command += ["--data", str(data), "--output", str(tmp_path / "run")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
        log = tmp_path / "run/log.csv"
        deadline = time.monotonic() + 600
        while not (log.exists() and log.read_text().count("\n") > 3):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(number)
        _, errors = process.communicate(timeout=600)
    assert process.returncode == 130, errors.decode()
    assert b"--resume" in errors
    state = load_state(tmp_path / "run/state.pt")
    assert state["position"]["total"] == int(log.read_text().splitlines()[-1].split(",")[2])


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    save_state(path, {"step": 1})

    def fail_halfway() -> None:
        with replacing(path) as temporary:
            temporary.write_bytes(b"half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail_halfway()
    assert load_state(path)["step"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["state.pt"]


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        load_state(path)
    torch.save({"format": "another/1"}, path)
    with pytest.raises(CheckpointError, match="'another/1'"):
        load_state(path)
