"""The mil backend beyond single operations: packages, images, rounding, shapes, sabotage."""

from __future__ import annotations

import contextlib
import io
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
F = torch.nn.functional

from samedge.errors import InferenceError, TensorMismatchError, UnknownNameError  # noqa: E402
from samedge.runtimes._mil import BACKEND  # noqa: E402
from samedge.runtimes.mil import proto  # noqa: E402
from samedge.runtimes.mil.package import model_file, read_package  # noqa: E402

Sabotage = Callable[[Any], None]


class Block(torch.nn.Module):  # type: ignore[misc, name-defined]
    """Every part that a sabotage below touches, small."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.conv = torch.nn.Conv2d(3, 8, 4, stride=4)
        self.norm = torch.nn.LayerNorm(8, eps=1e-2)
        self.qkv = torch.nn.Linear(8, 24)

    def forward(self, image: Any) -> Any:
        x = F.gelu(self.conv((image - 116.0) / 58.0))
        x = self.norm(x.flatten(2).transpose(1, 2) * 0.1)
        q, k, v = self.qkv(x).view(1, 64, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = torch.softmax(q @ k.transpose(-1, -2) / 2.0, -1) @ (8.0 * v)
        return (x - mixed.transpose(1, 2).reshape(1, 64, 8)).transpose(1, 2).reshape(1, 8, 8, 8)


@contextlib.contextmanager
def quiet() -> Any:
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def convert(coremltools: Any, *, half: bool = True, color: str = "RGB") -> Any:
    example = (torch.zeros(1, 3, 32, 32),)
    with quiet():
        program = torch.export.export(Block().eval(), example).run_decompositions({})
        return coremltools.convert(
            program,
            inputs=[coremltools.ImageType("image", shape=(1, 3, 32, 32), color_layout=color)],
            outputs=[coremltools.TensorType("out", dtype=np.float32)],
            minimum_deployment_target=coremltools.target.iOS17,
            compute_precision=getattr(coremltools.precision, "FLOAT16" if half else "FLOAT32"),
            skip_model_load=True,
        )


@pytest.fixture(scope="module")
def half_package(coremltools: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("half") / "block.mlpackage"
    convert(coremltools).save(str(path))
    return path


@pytest.fixture(scope="module")
def full_package(coremltools: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("full") / "block.mlpackage"
    convert(coremltools, half=False).save(str(path))
    return path


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)


def reference(image: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        planes = torch.from_numpy(image).permute(0, 3, 1, 2).float()
        result: np.ndarray = Block().eval()(planes).numpy()
    return result


def run(path: Path, image: np.ndarray, **options: Any) -> np.ndarray:
    with BACKEND.open(path, options=options) as session:
        return session.run({"image": image})["out"]


def snr(measured: np.ndarray, expected: np.ndarray) -> float:
    noise = float(np.square(measured - expected).mean())
    return float(10 * np.log10(float(np.square(expected).mean()) / max(noise, 1e-30)))


def test_fp32_package_matches_torch(full_package: Path, image: np.ndarray) -> None:
    ratio = snr(run(full_package, image), reference(image))
    print(f"fp32 package: {ratio:.1f} dB")
    assert ratio > 100


def test_fp16_package_rounds_and_rounding_can_be_turned_off(
    half_package: Path, image: np.ndarray
) -> None:
    rounded = snr(run(half_package, image), reference(image))
    exact = snr(run(half_package, image, rounding="none"), reference(image))
    print(f"fp16 package: {rounded:.1f} dB rounded, {exact:.1f} dB with fp16 weights only")
    assert 45 < rounded < exact


def test_image_input_is_nhwc_rgb_whatever_the_package_wants(
    coremltools: Any, tmp_path: Path, image: np.ndarray
) -> None:
    path = tmp_path / "bgr.mlpackage"
    convert(coremltools, half=False, color="BGR").save(str(path))
    with BACKEND.open(path) as session:
        assert session.inputs[0].shape == (1, 32, 32, 3)
        assert session.inputs[0].dtype == "uint8"
    swapped = reference(np.ascontiguousarray(image[..., ::-1]))
    assert snr(run(path, image), swapped) > 100


def test_overflow_report_names_the_riskiest_operation_first(
    half_package: Path, image: np.ndarray
) -> None:
    with contextlib.closing(BACKEND.open(half_package)) as session:
        report = session.overflow_report({"image": image})
    assert [r.headroom for r in report] == sorted(r.headroom for r in report)
    assert {"conv", "layer_norm", "softmax"} <= {r.kind for r in report}
    norm = next(r for r in report if r.kind == "layer_norm")
    assert norm.internal_peak > 0
    assert next(r for r in report if r.kind == "softmax").peak <= 1


def test_overflow_reaches_infinity_and_is_reported(coremltools: Any, tmp_path: Path) -> None:
    class Square(torch.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, x: Any) -> Any:
            return torch.sqrt(x * x)

    with quiet():
        program = torch.export.export(Square(), (torch.zeros(1, 4),)).run_decompositions({})
        coremltools.convert(
            program,
            outputs=[coremltools.TensorType("out")],
            minimum_deployment_target=coremltools.target.iOS17,
            skip_model_load=True,
        ).save(str(tmp_path / "square.mlpackage"))
    feed = {"x": np.array([[1.0, 2.0, 3.0, 400.0]], np.float32)}
    with contextlib.closing(BACKEND.open(tmp_path / "square.mlpackage")) as session:
        assert np.isinf(session.run(feed)["out"][0, 3])
        worst = session.overflow_report(feed)[0]
    assert worst.kind == "mul"
    assert worst.headroom < 1
    with BACKEND.open(tmp_path / "square.mlpackage", options={"rounding": "none"}) as exact:
        np.testing.assert_allclose(exact.run(feed)["out"], feed["x"])


# Sabotage: each of these changes one thing in a saved package, as a wrong converter would.


def _operations(model: Any, kind: str) -> list[Any]:
    function = model.mlProgram.functions["main"]
    block = function.block_specializations[function.opset]
    return [op for op in block.operations if op.type == kind]


def _constant(model: Any, operation: Any, parameter: str) -> Any:
    name = operation.inputs[parameter].arguments[0].name
    (found,) = (op for op in _operations(model, "const") if op.outputs[0].name == name)
    return found.attributes["val"].immediateValue.tensor


def swap_operands(model: Any) -> None:
    operation = _operations(model, "sub")[-1]
    x, y = operation.inputs["x"].arguments[0].name, operation.inputs["y"].arguments[0].name
    operation.inputs["x"].arguments[0].name, operation.inputs["y"].arguments[0].name = y, x


def swap_matmul_operands(model: Any) -> None:
    operation = _operations(model, "matmul")[0]
    x, y = operation.inputs["x"].arguments[0].name, operation.inputs["y"].arguments[0].name
    operation.inputs["x"].arguments[0].name, operation.inputs["y"].arguments[0].name = y, x


def wrong_epsilon(model: Any) -> None:
    tensor = _constant(model, _operations(model, "layer_norm")[0], "epsilon")
    tensor.bytes.values = np.float16(1e-5).tobytes()


def wrong_permutation(model: Any) -> None:
    for operation in _operations(model, "transpose"):
        tensor = _constant(model, operation, "perm")
        if len(tensor.ints.values) == 5:
            perm = tensor.ints.values
            perm[1], perm[3] = perm[3], perm[1]


def wrong_stride(model: Any) -> None:
    tensor = _constant(model, _operations(model, "conv")[0], "strides")
    tensor.ints.values[:] = [2, 2]


def unknown_operation(model: Any) -> None:
    _operations(model, "softmax")[0].type = "hyper_max"


def unknown_parameter(model: Any) -> None:
    operation = _operations(model, "softmax")[0]
    operation.inputs["temperature"].CopyFrom(operation.inputs["axis"])


def sabotaged(source: Path, folder: Path, sabotage: Sabotage) -> Path:
    path = folder / source.name
    shutil.copytree(source, path)
    file = model_file(path)
    model = proto.parse_model(file)
    sabotage(model)
    file.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("sabotage", [swap_operands, swap_matmul_operands, wrong_epsilon])
def test_sabotage_shows_in_the_numbers(
    half_package: Path, tmp_path: Path, image: np.ndarray, sabotage: Sabotage
) -> None:
    sound = snr(run(half_package, image), reference(image))
    broken = snr(run(sabotaged(half_package, tmp_path, sabotage), image), reference(image))
    print(f"{sabotage.__name__}: {sound:.1f} dB falls to {broken:.1f} dB")
    assert sound > 45
    assert broken < 35


@pytest.mark.parametrize(
    ("sabotage", "message"),
    [
        (wrong_permutation, r"transpose .* gives shape .* declares"),
        (wrong_stride, r"conv .* gives shape .* declares"),
        (unknown_operation, r"does not know: hyper_max \(1\)"),
        (unknown_parameter, r"softmax .*temperature"),
    ],
)
def test_sabotage_is_refused(
    half_package: Path, tmp_path: Path, image: np.ndarray, sabotage: Sabotage, message: str
) -> None:
    path = sabotaged(half_package, tmp_path, sabotage)
    with pytest.raises(InferenceError, match=message):
        run(path, image)


def test_damaged_weights_are_refused(half_package: Path, tmp_path: Path) -> None:
    path = tmp_path / "block.mlpackage"
    shutil.copytree(half_package, path)
    (weights,) = path.rglob("weight.bin")
    data = bytearray(weights.read_bytes())
    data[64:68] = b"\0\0\0\0"
    weights.write_bytes(data)
    with pytest.raises(InferenceError, match="0xdeadbeef"):
        BACKEND.open(path)
    weights.write_bytes(bytes(data[:70]))
    with pytest.raises(InferenceError, match=r"weight.bin has 70 bytes"):
        BACKEND.open(path)
    weights.unlink()
    with pytest.raises(InferenceError, match="is missing"):
        BACKEND.open(path)


def test_manifest_cannot_point_outside_the_package(half_package: Path, tmp_path: Path) -> None:
    path = tmp_path / "block.mlpackage"
    shutil.copytree(half_package, path)
    (tmp_path / "secret").write_bytes(b"x")
    manifest = path / "Manifest.json"
    manifest.write_text(
        manifest.read_text().replace("com.apple.CoreML/model.mlmodel", "../../secret")
    )
    with pytest.raises(InferenceError, match="outside its own folder"):
        BACKEND.open(path)


def test_enumerated_shapes(coremltools: Any, tmp_path: Path) -> None:
    class Mean(torch.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, x: Any) -> Any:
            return torch.softmax(x, 1).sum(2)

    dimension = torch.export.Dim("n", min=2, max=8)
    with quiet():
        program = torch.export.export(
            Mean(), (torch.zeros(1, 4, 3),), dynamic_shapes={"x": {1: dimension}}
        ).run_decompositions({})
        shapes = coremltools.EnumeratedShapes([(1, 2, 3), (1, 8, 3)], default=(1, 2, 3))
        coremltools.convert(
            program,
            inputs=[coremltools.TensorType("x", shape=shapes)],
            outputs=[coremltools.TensorType("out")],
            minimum_deployment_target=coremltools.target.iOS17,
            compute_precision=coremltools.precision.FLOAT32,
            skip_model_load=True,
        ).save(str(tmp_path / "mean.mlpackage"))
    x = np.random.default_rng(0).standard_normal((1, 8, 3)).astype(np.float32)
    with BACKEND.open(tmp_path / "mean.mlpackage") as session:
        result = session.run({"x": x})["out"]
        np.testing.assert_allclose(
            result, torch.softmax(torch.tensor(x), 1).sum(2).numpy(), rtol=1e-5
        )
        with pytest.raises(TensorMismatchError, match=r"expected one of \(1, 2, 3\), \(1, 8, 3\)"):
            session.run({"x": x[:, :5]})


def test_functions_of_one_package(
    coremltools: Any, half_package: Path, full_package: Path, tmp_path: Path, image: np.ndarray
) -> None:
    description = coremltools.utils.MultiFunctionDescriptor()
    description.add_function(str(half_package), "main", "half")
    description.add_function(str(full_package), "main", "full")
    description.default_function_name = "half"
    path = tmp_path / "both.mlpackage"
    with quiet():
        coremltools.utils.save_multifunction(description, str(path))
    package = read_package(path)
    assert set(package.functions) == {"half", "full"}
    assert package.default_function == "half"
    np.testing.assert_array_equal(run(path, image), run(half_package, image))
    np.testing.assert_array_equal(run(path, image, function="full"), run(full_package, image))
    with pytest.raises(UnknownNameError, match=r"'fulll'.*Did you mean 'full'"):
        BACKEND.open(path, options={"function": "fulll"})


def test_unknown_rounding(half_package: Path) -> None:
    with pytest.raises(UnknownNameError, match="rounding"):
        BACKEND.open(half_package, options={"rounding": "fp8"})
