"""Stand-ins for TensorRT and the CUDA runtime that compute, record every call and check lifetimes.

Work on a stream waits until the stream is synchronised, as on a GPU, so that a missing wait shows.
Memory that was freed is gone: using it fails the test. Engines are JSON; what one computes is a
function of ``COMPUTE``, or an ONNX file that ONNX Runtime runs.
"""

from __future__ import annotations

import importlib.machinery
import json
import types
from typing import Any

import numpy as np

from tests.toys.cuda import CudaRuntime

Shape = tuple[int, ...]


def toy_compute(inputs: dict[str, Any]) -> dict[str, Any]:
    halved = inputs["image"].astype(np.float32) / 2
    return {"doubled": 2 * inputs["points"] + 1, "halved": halved}


def encoder_compute(inputs: dict[str, Any]) -> dict[str, Any]:
    return {"image_embeddings": inputs["image"].astype(np.float32).sum(axis=3)}


def decoder_compute(inputs: dict[str, Any]) -> dict[str, Any]:
    total = inputs["image_embeddings"].sum(dtype=np.float32)
    return {"low_res_masks": inputs["points"].sum(axis=1, keepdims=True) + total}


COMPUTE = {"toy": toy_compute, "encoder": encoder_compute, "decoder": decoder_compute}


Spec = dict[str, Any]


TOY: Spec = {
    "compute": "toy",
    "inputs": {"points": ["float32", [-1, 3]], "image": ["uint8", [1, 2, 2, 3]]},
    "outputs": {"doubled": ["float32", [-1, 3]], "halved": ["float32", [1, 2, 2, 3]]},
    "profiles": [
        {"points": [[1, 3], [4, 3], [16, 3]], "image": [[1, 2, 2, 3]] * 3},
        {"points": [[2, 3], [2, 3], [2, 3]], "image": [[1, 2, 2, 3]] * 3},
    ],
}


ENCODER: Spec = {
    "compute": "encoder",
    "inputs": {"image": ["uint8", [1, 2, 2, 3]]},
    "outputs": {"image_embeddings": ["float32", [1, 2, 2]]},
    "profiles": [{"image": [[1, 2, 2, 3]] * 3}],
}


DECODER: Spec = {
    "compute": "decoder",
    "inputs": {"image_embeddings": ["float32", [1, 2, 2]], "points": ["float32", [-1, 3]]},
    "outputs": {"low_res_masks": ["float32", [-1, 1]]},
    "profiles": [{"image_embeddings": [[1, 2, 2]] * 3, "points": [[1, 3]] * 3}],
}


def engine_of(path: str, profiles: list[dict[str, tuple[int, ...]]]) -> Spec:
    """An engine that computes an ONNX file, with the profiles that a build asks for.

    Args:
        path: of the file.
        profiles: shapes by the names of inputs; axes of inputs that no profile names go from 1 to
            16.
    """
    import onnx

    graph = onnx.load(path).graph
    edges: list[Spec] = [{}, {}]
    names: dict[str, list[str]] = {}
    for side, tensors in zip(edges, (graph.input, graph.output), strict=True):
        for tensor in tensors:
            kind = tensor.type.tensor_type
            dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name
            axes = [axis.dim_param for axis in kind.shape.dim]
            sizes = [-1 if axis.dim_param else axis.dim_value for axis in kind.shape.dim]
            side[tensor.name], names[tensor.name] = [dtype, sizes], axes

    def shapes(name: str, wanted: dict[str, tuple[int, ...]]) -> list[list[int]]:
        if name in wanted:
            return [list(wanted[name])] * 3
        size = edges[0][name][1]
        found = [
            (1, 4, 16) if axis else (length,) * 3
            for axis, length in zip(names[name], size, strict=True)
        ]
        return [list(column) for column in zip(*found, strict=True)]

    wanted = [{name: shapes(name, ranges) for name in edges[0]} for ranges in profiles or [{}]]
    return {"onnx": path, "inputs": edges[0], "outputs": edges[1], "profiles": wanted}


def computed(spec: Spec, inputs: dict[str, Any]) -> dict[str, Any]:
    if "onnx" not in spec:
        return COMPUTE[spec["compute"]](inputs)
    import onnxruntime

    session = onnxruntime.InferenceSession(spec["onnx"], providers=["CPUExecutionProvider"])
    return dict(zip(spec["outputs"], session.run(list(spec["outputs"]), inputs), strict=True))


class Engine:
    def __init__(self, trt: TensorRt, spec: Spec) -> None:
        self.trt, self.spec = trt, spec
        self.tensors = {**spec["inputs"], **spec["outputs"]}
        self.num_io_tensors = len(self.tensors)
        self.num_optimization_profiles = len(spec["profiles"])

    def get_tensor_name(self, index: int) -> str:
        return str(list(self.tensors)[index])

    def get_tensor_shape(self, name: str) -> Shape:
        return tuple(self.tensors[name][1])

    def get_tensor_dtype(self, name: str) -> str:
        return str(self.tensors[name][0])

    def get_tensor_mode(self, name: str) -> str:
        return "input" if name in self.spec["inputs"] else "output"

    def get_tensor_profile_shape(self, name: str, profile: int) -> tuple[Shape, Shape, Shape]:
        low, usual, high = (tuple(s) for s in self.spec["profiles"][profile][name])
        return low, usual, high

    def create_execution_context(self) -> Context | None:
        self.trt.calls.append("create_execution_context")
        if self.trt.refuse == "context":
            self.trt.say("no memory for activations")
            return None
        return Context(self)


class Context:
    def __init__(self, engine: Engine) -> None:
        self.engine, self.trt = engine, engine.trt
        self.profile: int | None = None
        self.shapes = {n: engine.get_tensor_shape(n) for n in engine.spec["inputs"]}
        self.addresses: dict[str, int] = {}
        self.is_recorded = False

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        assert self.profile is None, "choosing a profile again undoes recorded graphs"
        self.trt.calls.append(f"profile {profile}")
        self.profile = profile
        return True

    def set_input_shape(self, name: str, shape: Shape) -> bool:
        assert self.profile is not None
        assert not self.is_recorded, "a change of the context undoes its recorded graph"
        low, _, high = self.engine.get_tensor_profile_shape(name, self.profile)
        self.shapes[name] = tuple(shape)
        return all(a <= s <= b for a, s, b in zip(low, shape, high, strict=True))

    def get_tensor_shape(self, name: str) -> Shape:
        if name in self.shapes:
            return self.shapes[name]
        declared = self.engine.spec["inputs"]
        batch = next((s[0] for n, s in self.shapes.items() if declared[n][1][0] == -1), 1)
        return tuple(batch if size == -1 else size for size in self.engine.get_tensor_shape(name))

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.trt.cuda.at(address, 0, "device")
        self.addresses[name] = address
        return self.trt.refuse != f"address {name}"

    def execute_async_v3(self, stream: int) -> bool:
        self.trt.calls.append("execute_async_v3")
        if self.trt.refuse == "execute":
            self.trt.say("kernel launch failed")
            return False
        if self.trt.refuse == "capture" and stream in self.trt.cuda.capturing:
            self.trt.say("this layer cannot be captured")
            return False
        assert self.addresses.keys() == self.engine.tensors.keys(), "a tensor has no memory"
        self.is_recorded |= stream in self.trt.cuda.capturing
        shapes = {name: self.get_tensor_shape(name) for name in self.engine.tensors}
        self.trt.cuda.enqueue(stream, lambda: self._compute(shapes))
        return True

    def _compute(self, shapes: dict[str, Shape]) -> None:
        inputs = {
            name: self._array(name, shapes[name]).copy() for name in self.engine.spec["inputs"]
        }
        for name, value in computed(self.engine.spec, inputs).items():
            self._array(name, shapes[name])[...] = value

    def _array(self, name: str, shape: Shape) -> Any:
        dtype = np.dtype(self.engine.get_tensor_dtype(name))
        size = int(np.prod(shape)) * dtype.itemsize
        buffer = self.trt.cuda.at(self.addresses[name], size, "device")
        return np.frombuffer(buffer, dtype, count=int(np.prod(shape))).reshape(shape)


class TensorRt(types.ModuleType):
    """``tensorrt`` or ``tensorrt_rtx``.

    Args:
        name: of the module.
        cuda: the stand-in that its memory is checked with.
    """

    __version__ = "10.3.0"

    def __init__(self, name: str, cuda: CudaRuntime) -> None:
        super().__init__(name)
        self.__spec__ = importlib.machinery.ModuleSpec(name, None)
        self.cuda, self.calls, self.refuse = cuda, [], ""  # type: ignore[var-annotated]
        self.listeners: list[Any] = []
        self.TensorIOMode = types.SimpleNamespace(INPUT="input", OUTPUT="output")
        self.nptype = np.dtype
        standin = self

        class ILogger:
            INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

            def log(self, severity: int, message: str) -> None:
                raise NotImplementedError

            def __init__(self) -> None:
                standin.listeners.append(self)

        class Runtime:
            def __init__(self, logger: Any) -> None:
                assert isinstance(logger, ILogger)

            def deserialize_cuda_engine(self, content: bytes) -> Engine | None:
                standin.calls.append("deserialize_cuda_engine")
                try:
                    return Engine(standin, json.loads(content))
                except ValueError:
                    standin.say("magic tag does not match")
                    return None

        self.ILogger, self.Runtime = ILogger, Runtime

    def say(self, message: str) -> None:
        """Log an error as the library would."""
        self.listeners[-1].log(self.ILogger.ERROR, message)
