"""PyInstaller's hook: what imports do not show.

Plug-ins are listed by file name and some are read as text, so the sources come along beside the
compiled modules. Backends are imported by name when they are asked for.
"""

from importlib.util import find_spec

from PyInstaller.utils.hooks import collect_data_files, collect_submodules

_BACKENDS = ("onnxruntime", "openvino")
_WORKSTATION = ("torch", "torchvision", "timm", "nncf", "coremltools", "onnx", "transformers")

module_collection_mode = "pyz+py"
datas = collect_data_files("samedge")
hiddenimports = collect_submodules("samedge") + [name for name in _BACKENDS if find_spec(name)]
excludedimports = list(_WORKSTATION)
