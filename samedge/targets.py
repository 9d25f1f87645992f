"""Deployment platforms as a table: what an exporter must make, and what opens it on the device.

A new platform is one more row. A row names the platform, not a wish: the backend and the device
stand in the bundle, and nothing replaces them silently.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from samedge.errors import ExportError, UnknownNameError, nearest_name
from samedge.machine.hardware import HARDWARE, Hardware
from samedge.types import Options, Precision


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProcessorNote:
    """A limit of processors that lack something.

    Attributes:
        text: what a user should know.
        options: the limit bears on bundles with these among their backend's options.
        unless: instruction sets, as :data:`samedge.machine.environment.ISA_FLAGS` spells them; with
            one of them there is no such limit.
    """

    text: str
    options: Mapping[str, Any]
    unless: frozenset[str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """One deployment platform.

    Attributes:
        name: what users type after ``--target``.
        summary: one line for ``samedge targets``.
        aliases: what else people call the very same platform.
        backend: name of the backend that opens the artifacts on the device.
        device: that backend's own device string.
        format: name of the exporter that writes the artifacts.
        precisions: what the platform can run, best compromise first.
        default_precision: what ``--precision auto`` starts from.
        prompt_buckets: ``(B, N)`` shapes of the decoder, rising, where the device needs fixed ones;
            empty when one graph takes any batch and any number of points.
        opset: ONNX opset of the graphs that the platform reads or is converted from.
        options: given to ``Backend.open`` with every precision.
        precision_options: given to ``Backend.open`` too, by precision.
        notes: limits that a user should know.
        processor_notes: limits of some processors.
        is_elsewhere: what runs it is not the backend that checks it here, so its speed on this
            machine says nothing.
        hardware: the module, where the row is one; ``None`` for a whole family.
    """

    name: str
    summary: str
    backend: str
    device: str
    format: str
    precisions: tuple[Precision, ...]
    default_precision: Precision
    aliases: tuple[str, ...] = ()
    prompt_buckets: tuple[tuple[int, int], ...] = ()
    opset: int = 17
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    precision_options: Mapping[Precision, Mapping[str, Any]] = dataclasses.field(
        default_factory=dict
    )
    notes: tuple[str, ...] = ()
    processor_notes: tuple[ProcessorNote, ...] = ()
    is_elsewhere: bool = False
    hardware: Hardware | None = None

    def notes_for(self, precision: Precision, isa: Sequence[str] | None) -> tuple[str, ...]:
        """What a user of this precision should know on a processor.

        Args:
            precision: what a bundle is exported in.
            isa: the processor's instruction sets; ``None``: not known, so that all is told.
        """
        options = self.backend_options(precision).items()
        return self.notes + tuple(
            note.text
            for note in self.processor_notes
            if note.options.items() <= options and not note.unless & set(isa or ())
        )

    def precision(self, wish: Precision | str) -> Precision:
        """The precision to export in: the default for ``auto``, the wish itself otherwise.

        Raises:
            UnknownNameError: no such precision exists.
            ExportError: the platform cannot run it.
        """
        known = [precision.value for precision in Precision]
        if wish not in known:
            raise UnknownNameError("precision", str(wish), known)
        precision = Precision(wish)
        if precision is Precision.AUTO:
            return self.default_precision
        if precision not in self.precisions:
            choices = ", ".join(p.value for p in self.precisions)
            raise ExportError(
                f"Target {self.name!r} cannot run precision {precision.value!r}: choose {choices}."
            )
        return precision

    def backend_options(self, precision: Precision) -> Options:
        """What the bundle passes to ``Backend.open`` when it is exported in ``precision``."""
        return {**self.options, **self.precision_options.get(precision, {})}


_JETSON_OPSET = 19  # the first with fp16 scales, so that nothing stands between int8 and fp16


def _jetson(
    name: str, summary: str, *, precisions: tuple[Precision, ...], notes: tuple[str, ...] = ()
) -> Target:
    """A Jetson: one file for TensorRT 10 and 11, whose engine is built on the device."""
    return Target(
        name=name,
        summary=summary,
        backend="tensorrt",
        device="cuda:0",
        format="tensorrt",
        precisions=precisions,
        default_precision=Precision.FP16,
        prompt_buckets=((1, 4), (1, 12), (16, 4)),
        opset=_JETSON_OPSET,
        notes=(*notes, "checked with ONNX Runtime as reference; not yet run on a Jetson"),
        hardware=HARDWARE.get(name),
    )


_ALL_JETSON = (Precision.FP16, Precision.INT8, Precision.FP32)

_WEB_BUCKET = (1, 16)
"""Points of a prompt in the page. Batches would gain nothing there, and a fixed shape leaves no
64-bit integers in the graph."""

_ROWS = (
    Target(
        name="cpu",
        summary="Any x86-64 or ARM processor, with ONNX Runtime",
        aliases=("onnx", "onnxruntime", "x86", "arm", "raspberry", "raspberry-pi", "rpi", "pi"),
        backend="onnxruntime",
        device="cpu",
        format="onnx",
        precisions=(Precision.FP32, Precision.INT8),
        default_precision=Precision.FP32,
    ),
    Target(
        name="intel",
        summary="Intel and AMD processors, Intel graphics and NPUs, with OpenVINO",
        aliases=("openvino", "amd"),
        backend="openvino",
        device="CPU",
        format="openvino",
        precisions=(Precision.BF16, Precision.FP32, Precision.FP16, Precision.INT8),
        default_precision=Precision.BF16,
        precision_options={
            Precision.FP32: {"inference_precision": "f32"},
            Precision.FP16: {"inference_precision": "f16"},
            Precision.BF16: {"inference_precision": "bf16"},
            Precision.INT8: {"inference_precision": "bf16"},  # what is left in float
        },
        processor_notes=(
            ProcessorNote(
                text="bf16 needs AVX-512 BF16 or AMX; OpenVINO computes in f32 on this processor",
                options={"inference_precision": "bf16"},
                unless=frozenset({"avx512_bf16", "amx_bf16"}),
            ),
        ),
    ),
    Target(
        name="web",
        summary="A page that segments in the browser, with ONNX Runtime Web",
        aliases=("browser", "page", "wasm", "webgpu", "onnxruntime-web", "javascript", "js"),
        backend="onnxruntime",
        device="cpu",
        format="web",
        precisions=(Precision.FP32,),
        default_precision=Precision.FP32,
        prompt_buckets=(_WEB_BUCKET,),
        is_elsewhere=True,
        notes=(
            "checked with ONNX Runtime on this machine, on the very files that the page opens; the "
            "page runs the canary in the browser",
        ),
    ),
    Target(
        name="torch",
        summary="Any machine with PyTorch; the reference among the targets",
        aliases=("pytorch",),
        backend="torch",
        device="cpu",
        format="pt2",
        precisions=(Precision.FP32,),
        default_precision=Precision.FP32,
    ),
    Target(
        name="apple",
        summary="iPhone, iPad and Mac with the Neural Engine, with Core ML",
        aliases=("coreml", "core-ml", "iphone", "ipad", "ios", "mac", "macos"),
        backend="coreml",
        device="all",
        format="coreml",
        precisions=(
            *(Precision.FP16, Precision.FP32, Precision.INT8, Precision.W8, Precision.P8),
            *(Precision.W6, Precision.W4, Precision.P4),
        ),
        default_precision=Precision.FP16,
        prompt_buckets=((1, 11),),  # with SAM's five output tokens, 16 in the attention
        notes=(
            "opens on iOS 17 and macOS 14, with w4 weights on iOS 18 and macOS 15",
            "made and checked by reading the files; not yet run on a Mac",
            "where there is no Mac, --backend mil runs it",
        ),
    ),
    _jetson("jetson", "Any NVIDIA Jetson from Orin on, with TensorRT", precisions=_ALL_JETSON),
    _jetson("jetson-orin-nano", "Jetson Orin Nano 8 GB, JetPack 6 or 7", precisions=_ALL_JETSON),
    _jetson(
        "jetson-orin-nano-4gb",
        "Jetson Orin Nano 4 GB, JetPack 6 or 7",
        precisions=_ALL_JETSON,
        notes=("processor and GPU share 4 GB: build engines with the desktop closed",),
    ),
    _jetson("jetson-orin-nx", "Jetson Orin NX 16 GB, JetPack 6 or 7", precisions=_ALL_JETSON),
    _jetson("jetson-agx-orin", "Jetson AGX Orin 64 GB, JetPack 6 or 7", precisions=_ALL_JETSON),
    _jetson(
        "jetson-thor",
        "Jetson Thor T5000, JetPack 7",
        precisions=_ALL_JETSON,
        notes=("fp8 is as fast as int8 there and fp4 faster; samedge writes neither",),
    ),
    Target(
        name="cuda",
        summary="NVIDIA GPUs without TensorRT, with ONNX Runtime's CUDA provider",
        backend="onnxruntime",
        device="cuda:0",
        format="tensorrt",
        precisions=(Precision.FP16, Precision.FP32),
        default_precision=Precision.FP16,
        opset=_JETSON_OPSET,
        notes=(
            "the files of --target jetson without prompt buckets; needs onnxruntime-gpu, and the "
            "processor does not step in where the GPU fails; checked on the processor",
        ),
    ),
)

TARGETS: Mapping[str, Target] = MappingProxyType({row.name: row for row in _ROWS})
"""Every platform by name."""

ALIASES: Mapping[str, str] = MappingProxyType(
    {alias: row.name for row in _ROWS for alias in row.aliases}
)
"""What else people call a platform, to its name."""

_ORIN = ("jetson-orin-nano", "jetson-orin-nano-4gb", "jetson-orin-nx", "jetson-agx-orin")

SEVERAL: Mapping[str, tuple[str, ...]] = {
    "orin": _ORIN,
    "jetson-orin": _ORIN,
    "orin-nano": _ORIN[:2],
    "orin-nx": _ORIN[2:3],
    "agx": _ORIN[3:],
    "agx-orin": _ORIN[3:],
    "thor": ("jetson-thor",),
    "tensorrt": ("jetson", "cuda"),
    "trt": ("jetson", "cuda"),
    "nvidia": ("jetson", "cuda"),
    "gpu": ("cuda", "jetson", "intel"),
    "npu": ("intel", "apple"),
    "nano": ("jetson-orin-nano",),
    "android": ("cpu",),
    "ort": ("cpu",),
    "linux": ("cpu", "intel", "cuda"),
    "windows": ("cpu", "intel", "cuda"),
}
"""Words for more than one platform, or not quite for one: they are answered, not taken."""


def target(name: str) -> Target:
    """Look up a platform by its name or another name for the same, in capitals or not.

    Raises:
        UnknownNameError: there is none of this name; the message lists the known ones.
    """
    word = re.sub(r"[\s_]+", "-", name.strip().lower())
    row = TARGETS.get(ALIASES.get(word, word))
    if row is None:
        near = nearest_name(word, (*TARGETS, *ALIASES, *SEVERAL))
        meant = SEVERAL.get(word) or SEVERAL.get(near or "") or filter(None, [near])
        raise UnknownNameError("target", name, TARGETS, meant=meant)
    return row
