"""No command looks up a host, speaks to another machine, or leaves reports in home or TMPDIR."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from samedge.bundle.bundle import embedded_path
from samedge.inspection.doctor import SELFTEST
from tests.trust.conftest import BOX, CLICK, Run, compiled

COMPILER = "torchinductor_"  # torch's compiler makes its folder when torch is imported
SHIM = Path(__file__).with_name("netshim.c")


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that records and refuses look-ups."""
    return compiled(SHIM, tmp_path_factory.mktemp("shim"))


class Watched:
    """Runs commands with a home, a temporary folder and a log of their own."""

    def __init__(self, shim: Path, run: Run, folder: Path) -> None:
        self._run, self._folder = run, folder
        self.home, self.temporary = folder / "home", folder / "tmp"
        self.home.mkdir()
        self.temporary.mkdir()
        self._log = folder / "net.log"
        self.variables = {
            "LD_PRELOAD": str(shim),
            "SAMEDGE_TEST_NETLOG": str(self._log),
            "HOME": str(self.home),
            "TMPDIR": str(self.temporary),
            "SAMEDGE_CACHE": str(folder / "cache"),
        }

    def __call__(self, *arguments: str) -> None:
        done = self._run(*arguments, variables=self.variables)
        assert done.returncode == 0, done.stderr[-2000:]

    def python(self, code: str) -> None:
        done = self._run(variables=self.variables, code=code)
        assert done.returncode == 0, done.stderr[-2000:]

    @property
    def seen(self) -> list[str]:
        """Look-ups and connections, and what was left in home and temporary folder."""
        calls = self._log.read_text().splitlines() if self._log.exists() else []
        left = [path.relative_to(self._folder) for path in self._folder.glob("home/*")]
        left += [path.relative_to(self._folder) for path in self._folder.glob("tmp/*")]
        return [*calls, *(str(path) for path in left if not path.name.startswith(COMPILER))]


@pytest.fixture
def watched(shim: Path, samedge: Run, tmp_path: Path) -> Watched:
    return Watched(shim, samedge, tmp_path)


def needs(*libraries: str) -> None:
    for name in libraries:
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")


QUICK = {
    "doctor": ("doctor", "--json"),
    "models": ("models",),
    "targets": ("targets",),
    "segment": ("segment", "PHOTO", *CLICK, "-q"),
    "segment with OpenVINO": ("segment", "PHOTO", *BOX, "--backend", "openvino", "-q"),
    "inspect": ("inspect", "BUNDLE"),
}
_PHOTOS = SELFTEST.with_name("photos")
_DATA = ("--dataset", str(_PHOTOS / "instances.json"), "--images", str(_PHOTOS))
_PICO = ("--model", "samedge-pico", "-o", "OUTPUT", "-q")
SLOW = {
    "everything": ("everything", "PHOTO", "-q"),
    "bench": ("bench", "--min-time", "0.1", "-q"),
    "verify": ("verify", "BUNDLE", "-q"),
    "eval": ("eval", *_DATA, "--limit", "1", "-o", "OUTPUT", "-q"),
    "compare": ("compare", "PHOTO", *_PICO, "--target", "cpu", "--precision", "fp32"),
    "a report of a fault": ("doctor", "--bundle-report", "OUTPUT", "-q"),
    "export to ONNX": ("export", "--target", "cpu", *_PICO),
    "export in INT8": ("export", "--target", "intel", *_PICO, "--precision", "int8", "--no-gate"),
}


def filled(arguments: tuple[str, ...], photo: Path, output: Path) -> list[str]:
    places = {"PHOTO": str(photo), "BUNDLE": str(embedded_path()), "OUTPUT": str(output)}
    return [places.get(argument, argument) for argument in arguments]


@pytest.mark.parametrize("name", QUICK)
def test_a_command_sends_nothing(watched: Watched, photo: Path, tmp_path: Path, name: str) -> None:
    needs("onnxruntime", *(["openvino"] if "OpenVINO" in name else []))
    watched(*filled(QUICK[name], photo, tmp_path / "bundle"))
    assert watched.seen == []


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_a_long_command_sends_nothing(
    watched: Watched, photo: Path, tmp_path: Path, name: str
) -> None:
    needs("torch", "onnxruntime", "openvino", "nncf")
    watched(*filled(SLOW[name], photo, tmp_path / "bundle"))
    assert watched.seen == []


# ---- what would be seen


def test_a_look_up_would_be_seen(watched: Watched) -> None:
    """Positive control of the shim."""
    code = "import socket\ntry:\n    socket.getaddrinfo('example.org', 80)\nexcept OSError: pass"
    watched.python(code)
    assert watched.seen == ["getaddrinfo example.org"]


def test_openvino_by_itself_would_be_seen(watched: Watched) -> None:
    needs("openvino", "openvino_telemetry")
    watched.python("import openvino")
    assert watched.seen


def test_onnxruntime_by_itself_would_be_seen(watched: Watched) -> None:
    needs("onnxruntime")
    import onnxruntime

    if tuple(map(int, onnxruntime.__version__.split(".")[:2])) < (1, 29):
        pytest.skip(f"ONNX Runtime {onnxruntime.__version__} reports nothing")
    graph = SELFTEST / "graph.onnx"
    watched.python(f"import onnxruntime as o; o.InferenceSession({str(graph)!r})")
    assert watched.seen
