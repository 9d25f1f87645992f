"""A user without a home, without rights, or with a full cache gets masks all the same."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from samedge.bundle.bundle import embedded_path
from tests.trust.conftest import BOX, REPOSITORY, small_disk

pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")

OTHER_USER = 12345

# All three in one process, since starting Python and its libraries is most of the time.
CODE = """
import sys, samedge.cli
photo, bundle, quiet = sys.argv[1:4]
box = sys.argv[4:]
for more in ([], ["--backend", "openvino"], ["--bundle", bundle]):
    sys.argv[1:] = ["segment", photo, *box, quiet, *more]
    try:
        samedge.cli.main()
    except SystemExit as end:
        if end.code:
            sys.exit(f"{more or 'embedded'}: exit code {end.code}")
"""


WITHOUT_OPENVINO = CODE.replace('["--backend", "openvino"], ', "")
"""Half the time: what there is no place for is told of by the same function for both."""


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded bundle as a ``.samedge`` file."""
    path = tmp_path_factory.mktemp("packed") / "nano.samedge"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(embedded_path().iterdir()):
            archive.write(file, file.name)
    return path


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Path]:
    """A folder that every user may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


Done = subprocess.CompletedProcess  # of text
Segment = Callable[..., "Done[str]"]


def started(
    python: str, code: str, *arguments: str, variables: dict[str, str], user: int | None
) -> Done[str]:
    """Run code as a user, with nothing of this process's environment."""
    who = {} if user is None else {"user": user, "group": user, "extra_groups": []}
    done: Done[str] = subprocess.run(
        [python, "-c", code, *arguments],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join([str(REPOSITORY), sysconfig.get_paths()["platlib"]]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
            **variables,
        },
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        **who,  # type: ignore[call-overload]
    )
    return done


@pytest.fixture(scope="session")
def python_of_all() -> str:
    """A Python that any user may run, and that finds samedge."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root can become another user")
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        with contextlib.suppress(OSError):
            code = "import samedge.cli; from samedge.machine.libraries import library as l"
            code += "; l('openvino'), l('onnxruntime')"
            if started(python, code, variables={}, user=OTHER_USER).returncode == 0:
                return python
    pytest.skip("no other user can read this checkout and run its Python")


@pytest.fixture
def segment(photo: Path, packed: Path, room: Path) -> Segment:
    """Segment with both backends and from a file, as some user with some variables."""
    files = {path.name: room / path.name for path in (photo, packed)}
    for path in (photo, packed):
        files[path.name].write_bytes(path.read_bytes())
        files[path.name].chmod(0o644)
    (room / "tmp").mkdir()
    (room / "tmp").chmod(0o777)

    def run(
        variables: dict[str, str],
        *,
        python: str = sys.executable,
        user: int | None = None,
        code: str = CODE,
    ) -> Done[str]:
        arguments = (*map(str, files.values()), "-v", *BOX)
        given = {"TMPDIR": str(room / "tmp"), **variables}
        return started(python, code, *arguments, variables=given, user=user)

    return run


def assert_segmented(done: Done[str], *, said: int) -> None:
    """It worked, said so many times that there is no cache, and left nothing behind."""
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr.count("what is kept for speed goes to a private folder") == said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variables", "code"),
    [
        ({"HOME": "/nonexistent"}, CODE),
        ({}, WITHOUT_OPENVINO),
        ({"SAMEDGE_CACHE": "/proc/x"}, WITHOUT_OPENVINO),
        ({"HOME": "/nonexistent", "SAMEDGE_CACHE": "~/x"}, WITHOUT_OPENVINO),
    ],
    ids=["no such home", "HOME is not set", "a cache in /proc", "a cache in no home"],
)
def test_another_user_without_a_cache(
    segment: Segment, room: Path, python_of_all: str, variables: dict[str, str], code: str
) -> None:
    done = segment(variables, python=python_of_all, user=OTHER_USER, code=code)
    assert_segmented(done, said=1)
    assert not list((room / "tmp").iterdir())


def test_root_makes_no_home(segment: Segment) -> None:
    assert_segmented(segment({"HOME": "/nonexistent"}, code=WITHOUT_OPENVINO), said=1)
    assert not Path("/nonexistent").exists()


@pytest.mark.slow
def test_a_cache_of_somebody_else(segment: Segment, room: Path, python_of_all: str) -> None:
    cache = room / "cache"
    cache.mkdir(mode=0o755)
    assert_segmented(segment({"SAMEDGE_CACHE": str(cache)}), said=0)  # root fills it
    kept = sorted(path for path in cache.rglob("*") if path.is_file())
    assert kept
    for path in cache.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    done = segment({"SAMEDGE_CACHE": str(cache)}, python=python_of_all, user=OTHER_USER)
    assert done.returncode == 0, done.stderr[-2000:]
    assert sorted(path for path in cache.rglob("*") if path.is_file()) == kept


@pytest.mark.slow
def test_a_full_cache(segment: Segment, room: Path) -> None:
    with small_disk(room / "disk", size="64k", options=",mode=777"):
        done = segment({"SAMEDGE_CACHE": str(room / "disk")})
        assert done.returncode == 0, done.stderr[-2000:]
        assert not list((room / "disk").rglob("*.blob"))
