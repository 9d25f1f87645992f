"""Combinations of versions and devices that are known to go wrong, each with what to do about it.

A rule is a function from the facts of a machine to a finding or nothing; ``samedge doctor`` asks
them all. Every rule names where the knowledge comes from.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence

import msgspec

from samedge.machine.hardware import RTX_CAPABILITIES
from samedge.machine.jetson import JETPACK_OF_L4T

Version = tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """What the rules look at.

    Attributes:
        versions: of installed packages.
        devices: the devices that each available backend found.
        tensorrt: version of TensorRT, from pip or from the system.
        jetpack: release of JetPack, or ``L4T`` and the release that it is built on.
        tensorrt_imports: whether Python finds TensorRT's module.
        cuda_driver: the newest CUDA that the driver runs.
        capabilities: compute capabilities of the NVIDIA GPUs.
    """

    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    devices: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    tensorrt: str | None = None
    jetpack: str | None = None
    tensorrt_imports: bool = True
    cuda_driver: str | None = None
    capabilities: Sequence[str] = ()

    def version(self, package: str) -> Version | None:
        """An installed package's version, ``None`` where it is not installed."""
        return parse(self.versions.get(package))


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """A known-bad combination that is here.

    Attributes:
        name: short and stable.
        message: what is here, what goes wrong, and whether samedge itself is affected.
        fix: a command to paste.
    """

    name: str
    message: str
    fix: str


def parse(version: str | None) -> Version | None:
    """Leading numbers of a version: ``"2.14.1+cpu"`` is (2, 14, 1)."""
    match = re.match(r"\d+(?:\.\d+)*", version or "")
    return tuple(map(int, match.group().split("."))) if match else None


def find_problems(facts: Facts) -> list[Problem]:
    """Every known problem that these facts have."""
    return [found for rule in RULES if (found := rule(facts)) is not None]


def _torch_reads_unsafely(facts: Facts) -> Problem | None:
    # GHSA-53q9-r3pm-6pq6 (CVE-2025-32434, repaired in 2.6), GHSA-63cw-57p8-fm3p (CVE-2026-24747).
    version = facts.version("torch")
    if version is None or version >= (2, 10):
        return None
    return Problem(
        name="torch-weights-only",
        message=f"torch {facts.versions['torch']} can be made to execute code by a checkpoint even "
        "with weights_only=True (CVE-2025-32434, CVE-2026-24747); 2.10 repaired it. samedge "
        "refuses pickled checkpoints until then.",
        fix="pip install 'torch>=2.10,<2.15' 'torchvision>=0.25'",
    )


def _torch_and_torchvision(facts: Facts) -> Problem | None:
    # torchvision's compatibility table: 0.15 belongs to torch 2.0, and both count on by one.
    torch, vision = facts.version("torch"), facts.version("torchvision")
    if torch is None or vision is None or torch[0] != 2 or vision[0] != 0:
        return None
    if vision[1] == torch[1] + 15:
        return None
    return Problem(
        name="torch-torchvision",
        message=f"torchvision {facts.versions['torchvision']} was not built for torch "
        f"{facts.versions['torch']}, which needs torchvision 0.{torch[1] + 15}: importing it, and "
        "timm with it, fails.",
        fix=f"pip install 'torchvision==0.{torch[1] + 15}.*'",
    )


def _onnx_reads_files(facts: Facts) -> Problem | None:
    # GHSA-3r9x-f23j-gc73 (CVE-2026-27489) and CVE-2026-34445, both repaired in 1.21.
    version = facts.version("onnx")
    if version is None or version >= (1, 21):
        return None
    return Problem(
        name="onnx-external-data",
        message=f"onnx {facts.versions['onnx']} reads files outside of a model's folder when the "
        "model asks for them as external data (CVE-2026-27489); 1.21 repaired it.",
        fix="pip install 'onnx>=1.21'",
    )


def _coremltools_and_numpy(facts: Facts) -> Problem | None:
    # apple/coremltools issue 2633; seen here with coremltools 9.0 and NumPy 2.4.6.
    tools, numpy = facts.version("coremltools"), facts.version("numpy")
    if tools is None or numpy is None or tools >= (9, 1) or numpy < (2, 4):
        return None
    return Problem(
        name="coremltools-numpy",
        message=f"coremltools {facts.versions['coremltools']} cannot convert torch.jit.trace "
        f'modules with NumPy {facts.versions["numpy"]} ("only 0-dimensional arrays can be '
        'converted"). samedge exports through torch.export and is not affected; other programs '
        "in this environment are.",
        fix="pip install 'numpy<2.4'",
    )


_ONE_MODULE = (
    ("onnxruntime", ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino")),
    ("cv2", ("opencv-python", "opencv-python-headless", "opencv-contrib-python")),
)


def _packages_that_overwrite_one_another(facts: Facts) -> Problem | None:
    # microsoft/onnxruntime issue 26996; opencv-python's readme.
    for module, packages in _ONE_MODULE:
        here = [package for package in packages if package in facts.versions]
        if len(here) > 1:
            kept = here[-1] if module == "onnxruntime" else here[0]
            return Problem(
                name=f"{module}-twice",
                message=f"{' and '.join(here)} are both installed and write the same folder "
                f"{module}: which one works depends on the order of installation, and with "
                "onnxruntime the GPU is lost without a word.",
                fix=f"pip uninstall -y {' '.join(here)} && pip install {kept}",
            )
    return None


def _tensorrt_and_jetpack(facts: Facts) -> Problem | None:
    # NVIDIA, "Migrating TensorRT from 10.x to 11.x on Jetson/JetPack", TensorRT 11.4.1.
    version, jetpack = parse(facts.tensorrt), _jetpack_major(facts.jetpack)
    if version is None or jetpack is None or version < (11,) or jetpack >= 7:
        return None
    return Problem(
        name="tensorrt-jetpack",
        message=f"TensorRT {facts.tensorrt} does not support JetPack {jetpack}: it needs JetPack "
        "7.2.2 or later, on AGX Orin or Thor. JetPack 6 brings TensorRT 10.3.",
        fix="pip uninstall -y tensorrt && sudo apt install --reinstall python3-libnvinfer",
    )


def _jetpack_major(release: str | None) -> int | None:
    version = parse((release or "").removeprefix("L4T").strip())
    if version is None:
        return None
    return JETPACK_OF_L4T.get(version[0]) if "L4T" in (release or "") else version[0]


def _tensorrt_out_of_sight(facts: Facts) -> Problem | None:
    # JetPack installs TensorRT's module for the system's own Python alone.
    if facts.jetpack is None or facts.tensorrt is None or facts.tensorrt_imports:
        return None
    return Problem(
        name="tensorrt-venv",
        message=f"JetPack's TensorRT {facts.tensorrt} is here, and this Python does not find it: "
        "its module belongs to the system's Python, and a virtual environment shuts that out.",
        fix="/usr/bin/python3 -m venv --system-site-packages .venv && "
        ".venv/bin/pip install 'samedge[tensorrt]'",
    )


def _tensorrt_rtx_and_gpu(facts: Facts) -> Problem | None:
    # The compute capabilities that tensorrt_rtx 1.7 offers to build for.
    others = sorted(set(facts.capabilities) - set(RTX_CAPABILITIES))
    if "tensorrt-rtx" not in facts.versions or facts.tensorrt is not None or not others:
        return None
    return Problem(
        name="tensorrt-rtx-gpu",
        message=f"TensorRT for RTX {facts.versions['tensorrt-rtx']} has no kernels for compute "
        f"capability {', '.join(others)}, only for {', '.join(RTX_CAPABILITIES)}: data-centre "
        "and Jetson GPUs need TensorRT itself.",
        fix="pip install tensorrt",
    )


def _cuda_python_and_driver(facts: Facts) -> Problem | None:
    # cuda.bindings' support policy: a release works within its own major version of CUDA.
    bindings = facts.version("cuda-bindings") or facts.version("cuda-python")
    driver = parse(facts.cuda_driver)
    if bindings is None or driver is None or bindings[0] <= driver[0]:
        return None
    return Problem(
        name="cuda-python-driver",
        message=f"cuda-python is for CUDA {bindings[0]}, and the driver runs CUDA "
        f'{facts.cuda_driver} at most: every call fails with "driver version is insufficient".',
        fix=f"pip install 'cuda-python>={driver[0]},<{driver[0] + 1}'",
    )


def _openvino_half_precision(facts: Facts) -> Problem | None:
    # Seen with MobileSAM in open-edge-platform/geti.
    half = [d for d in facts.devices.get("openvino", ()) if d.startswith(("GPU", "NPU"))]
    if not half:
        return None
    return Problem(
        name="openvino-f16",
        message=f"OpenVINO's {', '.join(half)} may compute in f16, in which MobileSAM has returned "
        "one and the same embedding for every image, without an error. samedge asks for f32 unless "
        "a bundle says otherwise, and runs each bundle's canary when it is first opened here.",
        fix="samedge verify BUNDLE",
    )


def _onnxruntime_on_a_mac(facts: Facts) -> Problem | None:
    # Measured by others with a SAM encoder: about 0% on the Neural Engine, a native package 99.8%.
    if "coreml" not in facts.devices.get("onnxruntime", ()):
        return None
    return Problem(
        name="onnxruntime-coreml",
        message="ONNX Runtime's device `coreml` leaves nearly all of a SAM encoder to the "
        "processor; a native Core ML package runs on the Neural Engine.",
        fix="samedge export --target apple",
    )


def _pyav_and_colours(facts: Facts) -> Problem | None:
    # PyAV-Org/PyAV issues 873, 1431, 2149 and 2230; measured with 14.2 to 18.1.
    version = facts.version("av")
    if version is None or version >= (17,):
        return None
    return Problem(
        name="pyav-colours",
        message=f"PyAV {facts.versions['av']} takes every video for BT.601 of limited range, "
        "whatever the file says: colours of HD video are off by up to a tenth. 17 repaired it.",
        fix="pip install 'av>=17'",
    )


RULES: tuple[Callable[[Facts], Problem | None], ...] = (
    _torch_reads_unsafely,
    _torch_and_torchvision,
    _onnx_reads_files,
    _coremltools_and_numpy,
    _packages_that_overwrite_one_another,
    _tensorrt_and_jetpack,
    _tensorrt_out_of_sight,
    _tensorrt_rtx_and_gpu,
    _cuda_python_and_driver,
    _openvino_half_precision,
    _onnxruntime_on_a_mac,
    _pyav_and_colours,
)
