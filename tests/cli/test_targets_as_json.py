"""Every target's bundle that runs here, through every command that opens one, with ``--json``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from samedge import runtimes
from samedge.targets import TARGETS
from tests.cli.conftest import HEIGHT, WIDTH, invoke
from tests.toys.web import small_runtime

FORMATS = {row.format: name for name, row in reversed(list(TARGETS.items()))}
"""One target a format: the first of the table."""

Exported = Callable[[str], tuple[Path, str]]


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A tiny model's bundle for a target, and the backend to open it with here."""
    pytest.importorskip("torch")
    from samedge.export import base, pipeline
    from samedge.export.pipeline import export
    from samedge.export.sources import photo_paths
    from tests.toys.models import tiny_sam

    made: dict[str, tuple[Path, str]] = {}

    def make(name: str) -> tuple[Path, str]:
        if name not in made:
            row = TARGETS[name]
            backend = base.get(row.format).check_backend(row)
            probe = runtimes.get(backend).probe()
            if not probe.available:
                pytest.skip(probe.detail)
            path = tmp_path_factory.mktemp("targets") / name
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(pipeline, "photo_paths", lambda images: photo_paths(images)[:2])
                options = (
                    {} if name != "web" else {"runtime": str(small_runtime(patch, path.parent))}
                )
                model = tiny_sam(128, embed_dim=32)
                export(model, name, precision="fp32", output=path, options=options)
            made[name] = path, backend
        return made[name]

    return make


@pytest.fixture
def dataset(photo: Path) -> Path:
    box = {"bbox": [30, 20, 50, 40], "segmentation": [[30, 20, 80, 20, 80, 60, 30, 60]]}
    document = {
        "images": [{"id": 1, "file_name": photo.name, "height": HEIGHT, "width": WIDTH}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 2000, **box}
        ],
        "categories": [{"id": 1, "name": "object"}],
    }
    path = photo.with_name("instances.json")
    path.write_text(json.dumps(document))
    return path


COMMANDS: dict[str, tuple[str, ...]] = {
    "segment": ("segment", "PHOTO", "--bundle", "BUNDLE", "--box", "10,10,60,60"),
    "eval": ("eval", "--dataset", "DATA", "--images", "FOLDER", "--bundle", "BUNDLE"),
    "verify": ("verify", "BUNDLE"),
}
BENCH = (
    *("bench", "--bundle", "BUNDLE", "--images", "FOLDER"),
    *("--min-time", "0.01", "--min-count", "2"),
)


Run = Callable[[str, tuple[str, ...]], None]


@pytest.fixture
def run(exported: Exported, photo: Path, dataset: Path) -> Run:
    """Run a command on a format's bundle and hold its document."""

    def check(form: str, command: tuple[str, ...]) -> None:
        bundle, backend = exported(FORMATS[form])
        places = {"PHOTO": photo, "BUNDLE": bundle, "DATA": dataset, "FOLDER": photo.parent}
        arguments = [places.get(argument, argument) for argument in command]
        result = invoke(*arguments, "--backend", backend, "--json")
        assert result.exit_code in (0, 3), result.stderr  # random weights may miss a gate
        document = json.loads(result.stdout)
        assert document["schema"] == f"samedge.{command[0]}/1"
        assert backend in result.stdout

    return check


def quick_or_slow(form: str) -> object:
    """Formats whose exporters take long are among the slow tests; contract suites export them."""
    return pytest.param(form, marks=pytest.mark.slow) if form in ("pt2", "coreml", "web") else form


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("form", [quick_or_slow(form) for form in FORMATS])
def test_a_target_with_json(run: Run, form: str, command: str) -> None:
    run(form, COMMANDS[command])


@pytest.mark.slow
def test_bench_of_torch_with_json(run: Run) -> None:
    """Its version is no plain string in torch itself; other formats are benched elsewhere."""
    run("pt2", BENCH)
