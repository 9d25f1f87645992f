"""No command looks up a host, speaks to another machine, or leaves reports in home or TMPDIR."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from samedge import _discovery, cli, records
from samedge.bundle.bundle import embedded_path
from samedge.inspection.doctor import SELFTEST
from tests.proof.test_signature import write_keys
from tests.toys.records import eval_record
from tests.trust.conftest import BOX, CLICK, REPOSITORY, Run, compiled
from tests.trust.whole_commands import Material

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


def address_of(server: subprocess.Popen[str]) -> str:
    """Host and port of a server that was started with ``--json``."""
    assert server.stdout is not None
    document = ""
    for line in server.stdout:
        document += line
        with contextlib.suppress(ValueError):
            return str(json.loads(document)["address"]).removeprefix("http://").strip("/")
    raise AssertionError(f"the server ended: {document}")


def needs(*libraries: str) -> None:
    for name in libraries:
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")


QUICK = {
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
    "doctor": ("doctor", "--json"),
    "everything": ("everything", "PHOTO", "-q"),
    "bench": ("bench", "--min-time", "0.1", "-q"),
    "verify": ("verify", "BUNDLE", "-q"),
    "eval": ("eval", *_DATA, "--limit", "1", "-o", "OUTPUT", "-q"),
    "compare": ("compare", "PHOTO", *_PICO, "--target", "cpu", "--precision", "fp32"),
    "a report of a fault": ("doctor", "--bundle-report", "OUTPUT", "-q"),
    "export to ONNX": ("export", "--target", "cpu", *_PICO),
    "export in INT8": ("export", "--target", "intel", *_PICO, "--precision", "int8", "--no-gate"),
    "report": ("report", "RECORD", "--html", "OUTPUT", "--no-photos"),
    "convert": ("convert", str(_PHOTOS / "instances.json"), "OUTPUT.xml", "-q"),
    "roofline": ("roofline", "BUNDLE", "-q"),
    "sign": ("sign", "BUNDLE", "--key", "KEY", "-o", "OUTPUT", "-q"),
    "track": ("track", "FOLDER", *BOX, "-o", "OUTPUT.jsonl", "-q"),
    "camera": ("camera", "FOLDER", *BOX, "--no-window", "--seconds", "1", "-q"),
    "annotate": ("annotate", "FOLDER", "--auto", "-o", "OUTPUT", "-q"),
}
TRAINED = ("calibrate", "distill")
NOT_RUN = {
    "build": "needs a GPU and TensorRT",
    "serve": "runs until it is stopped: a test of its own",
    "web": "hands out files; tests/web sees what its page asks for",
}


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    """A tiny model, its fp32 bundle, a recipe and its data."""
    return Material(tmp_path_factory.mktemp("material")).write()


def filled(arguments: tuple[str, ...], photo: Path, folder: Path) -> list[str]:
    """A command line with the files that it reads, some of which are made, and where it writes."""
    if "RECORD" in arguments:
        records.write(eval_record(folder), folder / "record.json")
    if "KEY" in arguments:
        write_keys(folder, "maker")
    places = {
        "PHOTO": photo,
        "FOLDER": photo.parent,
        "BUNDLE": embedded_path(),
        "OUTPUT": folder / "output",
        "RECORD": folder / "record.json",
        "KEY": folder / "maker.pem",
    }
    split = (argument.partition(".") for argument in arguments)
    return [f"{places.get(name, name)}{dot}{ending}" for name, dot, ending in split]


@pytest.mark.parametrize("name", QUICK)
def test_a_command_sends_nothing(watched: Watched, photo: Path, tmp_path: Path, name: str) -> None:
    needs("onnxruntime", *(["openvino"] if "OpenVINO" in name else []))
    watched(*filled(QUICK[name], photo, tmp_path))
    assert watched.seen == []


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_a_long_command_sends_nothing(
    watched: Watched, photo: Path, tmp_path: Path, name: str
) -> None:
    needs("torch", "onnxruntime", "openvino", "nncf")
    watched(*filled(SLOW[name], photo, tmp_path))
    assert watched.seen == []


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_a_search_and_a_training_send_nothing(
    watched: Watched, material: Material, tmp_path: Path, name: str
) -> None:
    needs("torch", "onnxruntime", "nncf")
    output = ("-o", str(tmp_path / "output"), "-q")
    photos = ("--calibration", str(material.photos), "--images", "1", "--gate-seconds", "0")
    commands = {
        "calibrate": ("calibrate", str(material.exported), *photos, *output),
        "distill": ("distill", str(material.recipe), "--data", str(material.data), *output),
    }
    watched(*commands[name])
    assert watched.seen == []


def test_a_server_sends_nothing(watched: Watched) -> None:
    needs("onnxruntime", "starlette", "uvicorn")
    words = [sys.executable, "-m", "samedge", "serve", "--port", "0", "--json"]
    variables = {**os.environ, **watched.variables, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=variables, text=True) as server:
        client = http.client.HTTPConnection(address_of(server), timeout=60)
        client.request("GET", "/health")
        assert client.getresponse().status == 200
        client.close()
        server.terminate()
    assert watched.seen == []


def test_every_command_is_watched() -> None:
    lines = (*QUICK.values(), *SLOW.values())
    assert {line[0] for line in lines} | {*TRAINED, *NOT_RUN} == set(_discovery.names(cli.__name__))


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
