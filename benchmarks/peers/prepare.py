"""Makes the environments and the files: the same weights for everybody, in everybody's format."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from subjects import FAMILIES

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
ENVIRONMENTS = ("peers", "optimum")
_SAMEXPORTER = {"mobile-sam": "mobile", "vit-b": "vit_b"}


def environments(work: Path) -> None:
    """One virtual environment a requirements file, unless it is there."""
    for name in ENVIRONMENTS:
        folder = work / f"env-{name}"
        done = folder / "installed"
        if done.exists():
            continue
        run(sys.executable, "-m", "venv", folder)
        requirements = HERE / f"requirements-{name}.txt"
        run(folder / "bin/python", "-m", "pip", "install", "-q", "-r", requirements)
        done.touch()


def files(work: Path) -> None:
    """Photo, weights, the peers' graphs and our bundles, those that are not there yet."""
    photo(work / "photo.jpg")
    for family in FAMILIES:
        folder = work / "files" / family
        folder.mkdir(parents=True, exist_ok=True)
        peers_files(work, family, folder)
        run(sys.executable, HERE / "ours_files.py", work, family)
    optimum_files(work, work / "files" / "vit-b")
    for family in ("nano", "pico"):
        run(sys.executable, HERE / "ours_files.py", work, family)


def photo(path: Path) -> None:
    """A 1080p photo, enlarged from one of samedge's own: the content does not change the time."""
    if path.exists():
        return
    from PIL import Image

    source = Image.open(REPOSITORY / "samedge/data/photos/coffee.jpg").convert("RGB")
    wide = source.resize((1920, 1080), Image.Resampling.LANCZOS, box=(0, 31, 600, 369))
    wide.save(path, quality=92)


def peers_files(work: Path, family: str, folder: Path) -> None:
    python, weights = work / "env-peers/bin/python", folder / "weights.pth"
    if not weights.exists():
        run(python, HERE / "weights.py", family, weights)
    for role in ("encoder", "decoder"):
        graph, quantized = folder / f"{role}.onnx", folder / f"{role}.quant.onnx"
        if graph.exists() and quantized.exists():
            continue
        command = [python, "-m", f"samexporter.export_{role}", "--checkpoint", weights]
        command += ["--model-type", _SAMEXPORTER[family], "--output", graph]
        command += ["--quantize-out", quantized]
        run(*command, *(["--return-single-mask"] if role == "decoder" else []))
    if not (folder / "meta_decoder.onnx").exists():
        run(python, HERE / "meta_decoder.py", family, weights, folder / "meta_decoder.onnx")


def optimum_files(work: Path, folder: Path) -> None:
    if (folder / "optimum/int8").exists():
        return
    tensors = folder / "hugging_face.safetensors"
    run(sys.executable, HERE / "hugging_face.py", folder / "weights.pth", tensors)
    python = work / "env-optimum/bin/python"
    photos = REPOSITORY / "samedge/data/photos"
    run(python, HERE / "optimum_files.py", tensors, photos, folder / "optimum")


def versions(work: Path) -> dict[str, list[str]]:
    """``pip freeze`` of each environment, the packages that matter."""
    wanted = ("torch", "onnx", "openvino", "nncf", "transformers", "optimum", "numpy", "pillow")
    wanted += ("segment-anything", "samexporter", "samedge", "opencv", "timm")
    found = {}
    pythons = {name: work / f"env-{name}/bin/python" for name in ENVIRONMENTS}
    for name, python in {"ours": Path(sys.executable), **pythons}.items():
        done = subprocess.run(
            [python, "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True
        )
        lines = done.stdout.splitlines()
        found[name] = [line for line in lines if line.lower().startswith(wanted)]
    return found


def run(*command: str | Path) -> None:
    """A step whose failure is told, not fatal: its subject is then absent, with the reason."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        print(f"failed: {' '.join(map(str, command[:4]))}: {reason}", flush=True)
