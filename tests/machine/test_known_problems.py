from __future__ import annotations

import importlib.metadata
import shlex

import pytest

from samedge.machine import environment
from samedge.machine.known_problems import RULES, Facts, find_problems, parse

BAD = {
    "torch-weights-only": Facts(versions={"torch": "2.9.1"}),
    "torch-torchvision": Facts(versions={"torch": "2.14.1+cpu", "torchvision": "0.28.0"}),
    "onnx-external-data": Facts(versions={"onnx": "1.20.1"}),
    "coremltools-numpy": Facts(versions={"coremltools": "9.0", "numpy": "2.4.0"}),
    "onnxruntime-twice": Facts(versions={"onnxruntime": "1.31.1", "onnxruntime-gpu": "1.31.1"}),
    "cv2-twice": Facts(versions={"opencv-python": "4.14", "opencv-python-headless": "4.14"}),
    "tensorrt-jetpack": Facts(tensorrt="11.4.1", jetpack="6.2-b77"),
    "tensorrt-venv": Facts(tensorrt="10.3.0", jetpack="6.2", tensorrt_imports=False),
    "tensorrt-rtx-gpu": Facts(versions={"tensorrt-rtx": "1.7.1"}, capabilities=["8.9", "9.0"]),
    "cuda-python-driver": Facts(versions={"cuda-bindings": "13.5.0"}, cuda_driver="12.6"),
    "openvino-f16": Facts(devices={"openvino": ("CPU", "GPU.0")}),
    "onnxruntime-coreml": Facts(devices={"onnxruntime": ("cpu", "coreml")}),
    "pyav-colours": Facts(versions={"av": "16.1.0"}),
}
GOOD = {
    "torch-weights-only": Facts(versions={"torch": "2.10.0+cu130"}),
    "torch-torchvision": Facts(versions={"torch": "2.14.1", "torchvision": "0.29.2"}),
    "onnx-external-data": Facts(versions={"onnx": "1.21.0"}),
    "coremltools-numpy": Facts(versions={"coremltools": "9.0", "numpy": "2.3.5"}),
    "onnxruntime-twice": Facts(versions={"onnxruntime-gpu": "1.31.1"}),
    "cv2-twice": Facts(versions={"opencv-python-headless": "4.14"}),
    "tensorrt-jetpack": Facts(tensorrt="11.4.1", jetpack="7.2.2"),
    "tensorrt-venv": Facts(tensorrt="10.3.0", jetpack="6.2"),
    "tensorrt-rtx-gpu": Facts(versions={"tensorrt-rtx": "1.7.1"}, capabilities=["8.9"]),
    "cuda-python-driver": Facts(versions={"cuda-bindings": "12.9.9"}, cuda_driver="12.6"),
    "openvino-f16": Facts(devices={"openvino": ("CPU",)}),
    "onnxruntime-coreml": Facts(devices={"onnxruntime": ("cuda:0", "cpu")}),
    "pyav-colours": Facts(versions={"av": "17.0.0"}),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_combination_is_found(name: str) -> None:
    (found,) = find_problems(BAD[name])
    assert found.name == name
    assert found.message.endswith(".")
    assert shlex.split(found.fix)  # what a shell takes


@pytest.mark.parametrize("name", GOOD)
def test_its_neighbour_is_not(name: str) -> None:
    assert find_problems(GOOD[name]) == []


def test_every_rule_has_a_case() -> None:
    for rule in RULES:
        assert any(rule(facts) for facts in BAD.values()), rule.__name__


@pytest.mark.parametrize(
    ("release", "major_is_too_old"),
    [("6.2-b77", True), ("L4T 36.4.3", True), ("L4T 38.2.0", False), ("7.2.2", False)],
)
def test_jetpack_by_either_name(release: str, major_is_too_old: bool) -> None:
    assert bool(find_problems(Facts(tensorrt="11.4.1", jetpack=release))) is major_is_too_old
    assert find_problems(Facts(tensorrt="10.3.0", jetpack=release)) == []


def test_the_fix_names_versions_that_belong_together() -> None:
    (found,) = find_problems(BAD["torch-torchvision"])
    assert found.fix == "pip install 'torchvision==0.29.*'"
    (found,) = find_problems(BAD["cuda-python-driver"])
    assert found.fix == "pip install 'cuda-python>=12,<13'"


def test_nothing_installed_has_no_problems() -> None:
    assert find_problems(Facts()) == []
    assert find_problems(Facts(versions={"torch": "unknown"})) == []


def test_versions() -> None:
    assert parse("2.14.1+cpu") == (2, 14, 1)
    assert parse("6.2-b77") == (6, 2)
    assert parse(None) is parse("main") is None


def test_the_rules_speak_of_packages_that_are_looked_up() -> None:
    """A rule about a package that nobody looks for would never fire."""
    named = {package for facts in BAD.values() for package in facts.versions}
    assert named <= set(environment.packages())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # these libraries warn of one another's age
def test_coremltools_still_fails_here_with_this_numpy() -> None:
    """The combination is not hearsay; when it works one day, the rule has to go."""
    tools = pytest.importorskip("coremltools", exc_type=ImportError)
    torch = pytest.importorskip("torch")
    versions = {name: importlib.metadata.version(name) for name in ("coremltools", "numpy")}
    if not find_problems(Facts(versions=versions)):
        pytest.skip(f"this is another combination: {versions}")

    class Flattened(torch.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, image):  # type: ignore[no-untyped-def]
            batch, channels, height, width = image.shape
            return image.reshape(batch, channels, int(height * width))

    example = torch.zeros(1, 3, 4, 4)
    traced = torch.jit.trace(Flattened(), example)
    with pytest.raises(TypeError, match="0-dimensional"):
        tools.convert(traced, inputs=[tools.TensorType(shape=example.shape)])
