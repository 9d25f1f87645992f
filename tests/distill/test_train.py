"""Whole runs: what they learn, what they leave, and on several processes."""

from __future__ import annotations

import csv
import itertools
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file

from samedge.cli import cli
from samedge.distill.optimisation import lr_factor
from samedge.distill.prompts import PromptConfig, first_prompts
from samedge.distill.recipe import Optim, PromptsStage
from samedge.distill.run_log import COLUMNS
from samedge.distill.stages import Answers, PromptsStep, Rows, decode_rows
from samedge.distill.train import DistillResult, distill
from samedge.errors import CheckpointError, DatasetError
from samedge.models.checkpoints import load_checkpoint
from samedge.models.sam import Sam
from tests.distill.training import recipe_text, write_photos
from tests.toys.models import tiny_sam

PROMPTS: dict[str, Any] = {"kind": "prompts", "steps": 6, "batch_size": 2, "clicks": 1}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("data"))


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> DistillResult:
    """A run to its end."""
    return trained(data, tmp_path_factory.mktemp("run"), steps=20)


def trained(data: Path, folder: Path, *, steps: int) -> DistillResult:
    """A run that is measured and drawn twice, and logged every five steps."""
    changes: dict[str, Any] = {
        "stage": [{**PROMPTS, "steps": steps, "batch_size": 4, "clicks": 0}],
        "optim": {"lr": 3e-3, "warmup": 5, "ema": 0.9},
        "run": {"workers": 0, "threads": 1, "eval_every": steps // 2, "log_every": 5},
    }
    return distill(write(folder, recipe_text(**changes)), data, output=folder / "run")


def rows_of_log(result: DistillResult) -> list[dict[str, str]]:
    with (result.output / "log.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_it_learns(data: Path, tmp_path: Path) -> None:
    result = trained(data, tmp_path, steps=80)
    losses = [float(row["loss"]) for row in rows_of_log(result) if row["loss"]]
    first, last = np.mean(losses[:4]), np.mean(losses[-4:])
    print(f"loss {first:.3f} -> {last:.3f}, held-out box mIoU {result.box_miou}")
    assert last < 0.7 * first
    assert result.box_miou is not None
    assert result.box_miou > 0.3


def test_it_ends(finished: DistillResult) -> None:
    assert finished.box_miou is not None
    assert finished.steps == finished.total_steps == 20
    assert not finished.interrupted


def test_the_log_has_what_a_person_asks_for(finished: DistillResult) -> None:
    rows = rows_of_log(finished)
    assert tuple(rows[0]) == COLUMNS
    assert [int(row["step"]) for row in rows if row["loss"]] == list(range(5, 21, 5))
    evaluated = [row for row in rows if row["val_box_miou"]]
    assert [int(row["step"]) for row in evaluated] == [10, 20]
    assert all(0 <= float(row["loader_share"]) < 1 for row in rows if row["loss"])
    assert float(rows[0]["lr"]) == pytest.approx(3e-3, rel=0.01)
    assert list((finished.output / "tensorboard").glob("events.*"))


def test_pictures_of_predictions(finished: DistillResult) -> None:
    pictures = sorted((finished.output / "pictures").iterdir())
    assert [p.name for p in pictures] == ["step-0000010.png", "step-0000020.png"]
    with Image.open(pictures[-1]) as picture:
        assert picture.size[0] == 3 * 320
        assert np.asarray(picture).std() > 10


def test_where_the_weights_come_from_is_recorded(finished: DistillResult) -> None:
    record = json.loads((finished.output / "run.json").read_text())
    assert record["seed"] == 3
    assert record["processes"] == 1
    assert {"torch", "timm", "python"} <= record["versions"].keys()
    assert "name" in (finished.output / "recipe.toml").read_text()


@pytest.mark.parametrize("name", ["last.safetensors", "best.safetensors"])
def test_weights_open_as_any_checkpoint(finished: DistillResult, name: str) -> None:
    model = load_checkpoint(finished.output / name)
    assert isinstance(model, Sam)
    assert model.image_size == 64
    with torch.no_grad():
        embedding = model.encode(torch.zeros(1, 64, 64, 3, dtype=torch.uint8))
    assert embedding.shape == (1, 32, 4, 4)


@pytest.mark.parametrize(
    ("frozen", "prefix"),
    [({"encoder": "frozen"}, "image_encoder."), ({"decoder": "frozen"}, "mask_decoder.")],
)
def test_a_frozen_part_stays_as_it_was(
    tmp_path: Path, data: Path, finished: DistillResult, frozen: dict[str, str], prefix: str
) -> None:
    start = finished.output / "last.safetensors"
    model = {"init": str(start)}
    recipe = write(tmp_path, recipe_text(model=model, stage=[{**PROMPTS, **frozen}]))
    end = distill(recipe, data, output=tmp_path / "run").output / "last.safetensors"
    before, after = load_file(start), load_file(end)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert not [name for name in changed if name.startswith(prefix)]


def test_a_decoder_is_taken_from_another_model(
    tmp_path: Path, data: Path, finished: DistillResult
) -> None:
    source = finished.output / "last.safetensors"
    frozen = {**PROMPTS, "steps": 3, "decoder": "frozen"}
    changes: dict[str, Any] = {"model": {"init_decoder": str(source)}, "stage": [frozen]}
    recipe = write(tmp_path, recipe_text(**changes))
    end = distill(recipe, data, output=tmp_path / "run").output / "last.safetensors"
    before, after = load_file(source), load_file(end)
    equal = {name for name in before if torch.equal(before[name], after[name])}
    assert {n for n in before if not n.startswith("image_encoder.")} <= equal
    assert {n for n in before if n.startswith("image_encoder.blocks.0.lin1")}.isdisjoint(equal)


def test_initial_weights_that_do_not_fit_are_named(
    tmp_path: Path, data: Path, finished: DistillResult
) -> None:
    source = str(finished.output / "last.safetensors")
    decoder = {"embed_dim": 32, "heads": 2, "mlp_dim": 48}
    model = {"init_decoder": source, "decoder_options": decoder}
    recipe = write(tmp_path, recipe_text(model=model))
    with pytest.raises(CheckpointError, match=r"model\.init_decoder .*mlp\.layers"):
        distill(recipe, data, output=tmp_path / "run")


def test_features_then_prompts_with_a_teacher(
    tmp_path: Path, data: Path, finished: DistillResult
) -> None:
    teacher = str(finished.output / "last.safetensors")
    stages = [
        {"kind": "features", "steps": 4, "batch_size": 3, "teacher": teacher, "flip": True},
        {**PROMPTS, "steps": 4, "teacher": teacher, "distill": 1.0},
    ]
    result = distill(write(tmp_path, recipe_text(stage=stages)), data, output=tmp_path / "run")
    rows = [row for row in rows_of_log(result) if row["loss"]]
    assert [row["kind"] for row in rows] == ["features"] * 4 + ["prompts"] * 4
    assert not rows[0]["distill"]
    assert all(float(row["distill"]) > 0 for row in rows[4:])


def test_unlabelled_pictures_are_learned_by_the_teachers_masks(
    tmp_path: Path, data: Path, finished: DistillResult
) -> None:
    changes = {
        "data": {"sources": [{"path": "photos/images", "format": "images"}]},
        "stage": [
            {**PROMPTS, "masks": "teacher", "teacher": str(finished.output / "last.safetensors")}
        ],
    }
    result = distill(write(tmp_path, recipe_text(**changes)), data, output=tmp_path / "run")
    assert result.steps == 6
    assert result.box_miou is None  # nothing to compare with


def test_the_embedded_models_kind_learns_from_annotations_that_lie_elsewhere(
    data: Path, tmp_path: Path
) -> None:
    model = {
        "encoder": "pyramid",
        "encoder_options": {"trunk": "proxyless", "width": 32, "body_blocks": 1},
        "decoder": "click",
        "decoder_options": {},
        "image_size": 64,
    }
    source = {"annotations": "photos/instances.json", "images": "photos/images"}
    stage = [{**PROMPTS, "steps": 2, "batch_size": 2, "clicks": 1}]
    text = recipe_text(model=model, data={"sources": [source]}, stage=stage, optim={"warmup": 1})
    result = distill(write(tmp_path, text), data, output=tmp_path / "run")
    losses = [float(row["loss"]) for row in rows_of_log(result) if row["loss"]]
    assert len(losses) == 2
    assert all(np.isfinite(losses))


@pytest.mark.parametrize(
    ("trunk", "file"),
    [
        ("proxyless", "proxyless-w0.3-r176_imagenet.safetensors"),
        ("mobilenetv2_100", "mobilenet_v2_imagenet.safetensors"),
    ],
)
def test_the_embedded_models_kind_starts_from_imagenet(
    shared_data: Path, data: Path, tmp_path: Path, trunk: str, file: str
) -> None:
    model = {
        "encoder": "pyramid",
        "encoder_options": {"trunk": trunk, "width": 32, "body_blocks": 1},
        "decoder": "click",
        "decoder_options": {},
        "image_size": 64,
        "init_encoder": str(shared_data / "weights" / file),
    }
    frozen = {**PROMPTS, "steps": 3, "encoder": "frozen"}
    recipe = write(tmp_path, recipe_text(model=model, stage=[frozen]))
    end = load_file(distill(recipe, data, output=tmp_path / "run").output / "last.safetensors")
    given = load_file(shared_data / "weights" / file)
    mine = [
        tensor
        for name, tensor in end.items()
        if name.startswith("image_encoder.backbone") and tensor.shape[-2:] == (1, 1)
    ]
    assert len(mine) > 20
    for tensor in mine:  # 1x1 convolutions are the file's, whatever it calls them
        alike = [g.float() for g in given.values() if g.shape == tensor.shape]
        assert any(torch.equal(tensor, g) for g in alike)


def test_data_that_is_missing_leaves_no_folder_behind(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="absent"):
        distill(write(tmp_path, recipe_text()), tmp_path / "absent", output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_teachers_masks_are_its_answers_to_exact_boxes() -> None:
    teacher = tiny_sam(64, embed_dim=32)
    images = torch.randint(0, 255, (1, 64, 64, 3), dtype=torch.uint8)
    masks = torch.zeros(2, 64, 64, dtype=torch.uint8)
    masks[0, 10:30, 8:40] = 1
    rows = Rows(masks, torch.tensor([True, False]), torch.tensor([[64, 64], [64, 64]]), 2)
    answers = Answers.on(teacher, images, bf16=False)
    taught = answers.rows(rows, torch.Generator().manual_seed(0))
    prompts = first_prompts(
        masks, torch.Generator().manual_seed(0), config=PromptConfig(box_share=1, box_noise=0)
    )
    with torch.no_grad():
        logits, _ = decode_rows(teacher, teacher.embed(images), prompts=prompts, per_image=2)
    fine = torch.nn.functional.interpolate(
        logits[:1, :1], size=(64, 64), mode="bilinear", align_corners=False
    )
    assert torch.equal(taught.masks[0] > 0, fine[0, 0] > 0)
    assert taught.masks.shape == masks.shape


def test_a_teacher_equal_to_the_student_has_less_to_teach_than_another() -> None:
    student = tiny_sam(64, embed_dim=32)
    stage = PromptsStage(steps=1, teacher="unused", distill=1.0, clicks=0)
    batch: Any = {
        "image": torch.randint(0, 255, (2, 64, 64, 3), dtype=torch.uint8),
        "masks": torch.zeros(2, 1, 64, 64, dtype=torch.uint8),
        "valid": torch.ones(2, 1, dtype=torch.bool),
        "valid_size": torch.full((2, 2), 64),
    }
    batch["masks"][:, :, 10:40, 20:50] = 1
    measured = {}
    for seed in (0, 7):
        teacher = tiny_sam(64, embed_dim=32, seed=seed)
        step = PromptsStep(student, stage, bf16=False, teacher=teacher)
        assert not any("teacher" in name for name in step.state_dict())
        measured[seed] = float(step(batch, 0)[1]["distill"])
    assert measured[0] < measured[7]


def test_the_schedule_warms_up_and_ends_low() -> None:
    optim = Optim(warmup=10, final_lr=0.1)
    factors = [lr_factor(step, steps=110, optim=optim) for step in range(111)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9] == factors[10] == 1.0
    assert factors[60] == pytest.approx(0.55)
    assert factors[110] == pytest.approx(0.1)
    assert all(a >= b for a, b in itertools.pairwise(factors[10:]))


def test_the_command_reports_in_json(tmp_path: Path, data: Path) -> None:
    recipe = write(tmp_path, recipe_text())
    arguments = ["distill", str(recipe), "--data", str(data), "-o", str(tmp_path / "run")]
    result = CliRunner().invoke(cli, [*arguments, "--max-steps", "2", "--json"])
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["schema"] == "samedge.distill/1"
    assert document["steps"] == 2
    assert document["total_steps"] == 6
    again = CliRunner().invoke(cli, arguments)
    assert again.exit_code == 1
    assert "--resume" in again.stderr


SCRIPT = """
import os, sys, torch
from pathlib import Path
from samedge.distill import stage_run
from samedge.distill.train import distill

if __name__ == "__main__":
    recipe, data, output = map(Path, sys.argv[1:])
    seen = []
    save, update = stage_run.StageRun.save, stage_run.StageRun._update

    def save_each(self):
        weights = {"student": self.student.state_dict(), "seen": torch.stack(seen)}
        torch.save(weights, output.parent / f"rank{os.environ['RANK']}.pt")
        save(self)

    def update_and_note(self, batch):
        seen.append(batch["image"].double().mean())
        return update(self, batch)

    stage_run.StageRun.save, stage_run.StageRun._update = save_each, update_and_note
    distill(recipe, data, output=output)
"""


@pytest.mark.slow
def test_two_processes_end_with_the_same_weights(tmp_path: Path, data: Path) -> None:
    recipe = write(tmp_path, recipe_text())
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    command += ["--master-port=0", "--standalone", str(script)]
    command += [str(recipe), str(data), str(tmp_path / "run")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    for name, tensor in first["student"].items():
        assert torch.equal(tensor, second["student"][name]), name
    assert not torch.equal(first["seen"], second["seen"])  # each had pictures of its own
    assert json.loads((tmp_path / "run/run.json").read_text())["processes"] == 2
    assert (tmp_path / "run/last.safetensors").exists()
