"""Makes the graphs that ``samedge doctor`` runs: ``samedge/data/selftest``.

    python tests/assets/make_selftest.py

One small function in each format: normalise an image, one strided convolution, a bias, ReLU, and
an attention-like softmax over channels. ``expected.npz`` holds input and output, computed in NumPy
from the formula and not by any of the runtimes. Needs onnx, coremltools and torch.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).resolve().parents[2] / "samedge" / "data" / "selftest"
SIDE, CHANNELS, KERNEL = 16, 4, 2


def weights() -> tuple[Any, Any]:
    """Kernel (C, 3, K, K) and bias (C,), float32."""
    rng = np.random.default_rng(2)
    kernel = rng.normal(size=(CHANNELS, 3, KERNEL, KERNEL)).astype(np.float32)
    return kernel, rng.normal(size=CHANNELS).astype(np.float32)


def reference(image: Any) -> Any:
    """The function itself: (1, S, S, 3) uint8 to (1, C, S/K, S/K) float32."""
    kernel, bias = weights()
    cells = SIDE // KERNEL
    scaled = (image.astype(np.float32) - 128.0) / 64.0
    blocks = scaled.reshape(cells, KERNEL, cells, KERNEL, 3)
    logits = np.einsum("iajbc,ocab->oij", blocks, kernel) + bias[:, None, None]
    powers = np.exp(np.maximum(logits, 0.0))
    return (powers / powers.sum(0))[None].astype(np.float32)


def write_onnx(path: Path) -> None:
    """The ONNX graph; OpenVINO and TensorRT read it too."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    kernel, bias = weights()
    constants = {
        "offset": np.float32(128.0),
        "scale": np.float32(1.0 / 64.0),
        "kernel": kernel,
        "bias": bias,
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["float", "offset"], ["centered"]),
        helper.make_node("Mul", ["centered", "scale"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node(
            "Conv",
            ["planes", "kernel", "bias"],
            ["logits"],
            kernel_shape=[KERNEL] * 2,
            strides=[KERNEL] * 2,
        ),
        helper.make_node("Relu", ["logits"], ["positive"]),
        helper.make_node("Softmax", ["positive"], ["result"], axis=1),
    ]
    cells = SIDE // KERNEL
    graph = helper.make_graph(
        nodes,
        "selftest",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("result", TensorProto.FLOAT, [1, CHANNELS, cells, cells])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="samedge"
    )
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def write_mlpackage(path: Path) -> None:
    """The Core ML package; its input is float32, since Core ML tensors are never uint8."""
    import coremltools as ct
    from coremltools.converters.mil import Builder as mb

    kernel, bias = weights()

    @mb.program(
        input_specs=[mb.TensorSpec(shape=(1, SIDE, SIDE, 3))], opset_version=ct.target.iOS16
    )
    def selftest(image: Any) -> Any:
        scaled = mb.mul(x=mb.sub(x=image, y=np.float32(128.0)), y=np.float32(1.0 / 64.0))
        planes = mb.transpose(x=scaled, perm=[0, 3, 1, 2])
        logits = mb.conv(x=planes, weight=kernel, bias=bias, strides=[KERNEL] * 2)
        return mb.softmax(x=mb.relu(x=logits), axis=1, name="result")

    model = ct.convert(
        selftest,
        convert_to="mlprogram",
        minimum_deployment_target=ct.target.iOS16,
        compute_precision=ct.precision.FLOAT32,
    )
    shutil.rmtree(path, ignore_errors=True)
    model.save(str(path))


def write_pt2(path: Path) -> None:
    """The torch program."""
    import torch
    from torch import nn
    from torch.nn import functional

    class Selftest(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            kernel, bias = weights()
            self.kernel = nn.Parameter(torch.from_numpy(kernel), requires_grad=False)
            self.bias = nn.Parameter(torch.from_numpy(bias), requires_grad=False)

        def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
            scaled = (image.float() - 128.0) * (1.0 / 64.0)
            planes = scaled.permute(0, 3, 1, 2)
            logits = functional.conv2d(planes, self.kernel, self.bias, stride=KERNEL)
            return {"result": logits.relu().softmax(1)}

    image = torch.zeros(1, SIDE, SIDE, 3, dtype=torch.uint8)
    with torch.no_grad():
        program = torch.export.export(Selftest().eval(), (image,))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it names folders of the machine that made the file
    torch.export.save(program, path)


def main() -> None:
    """Write all files."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(1).integers(0, 256, (1, SIDE, SIDE, 3), dtype=np.uint8)
    np.savez(FOLDER / "expected.npz", image=image, result=reference(image))
    write_onnx(FOLDER / "graph.onnx")
    write_mlpackage(FOLDER / "graph.mlpackage")
    write_pt2(FOLDER / "graph.pt2")


if __name__ == "__main__":
    main()
