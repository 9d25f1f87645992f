"""What continuous integration installs is locked by hash, and what it runs is pinned by commit."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tools import supply_chain

REPOSITORY = Path(__file__).resolve().parents[1]
LOCK = REPOSITORY / "requirements" / "ci.txt"


def locked() -> dict[str, list[str]]:
    """Hashes by package."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in LOCK.read_text().splitlines():
        if pinned := re.match(r"([a-z0-9-]+)(\[[^]]*\])?==[^ ]+", line):
            name = pinned.group(1)
            found.setdefault(name, [])
        found.get(name, []).extend(re.findall(r"--hash=sha256:([0-9a-f]{64})", line))
    return found


def direct(extra: str, table: dict[str, list[str]]) -> set[str]:
    """Packages that an extra names, those of the extras that it takes included."""
    found: set[str] = set()
    for line in table[extra]:
        if own := re.match(r"samedge\[([^]]*)\]", line):
            for other in own.group(1).split(","):
                found |= direct(other.strip(), table)
        else:
            found.add(re.split(r"[^A-Za-z0-9._-]", line)[0].lower().replace("_", "-"))
    return found


def test_every_locked_version_has_hashes() -> None:
    assert len(locked()) > 100
    assert [name for name, hashes in locked().items() if not hashes] == []


def test_everything_that_the_tests_install_is_locked() -> None:
    project = msgspec.toml.decode((REPOSITORY / "pyproject.toml").read_bytes())["project"]
    table = {**project["optional-dependencies"], "core": project["dependencies"]}
    wanted = direct("dev", table) | direct("core", table)
    assert sorted(wanted - set(locked())) == [], "run `make lock`"


def test_the_lock_names_no_registry() -> None:
    assert not re.search(r"^(--|-i|-f)|://", LOCK.read_text(), re.MULTILINE)


@pytest.mark.parametrize("path", sorted((REPOSITORY / ".github" / "workflows").glob("*.yml")))
def test_actions_are_pinned_by_commit(path: Path) -> None:
    used = re.findall(r"uses:\s*(\S+)", path.read_text())
    assert used
    assert [one for one in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", one)] == []


def answer(stdout: str = "", stderr: str = "", code: int = 0) -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess([], code, stdout, stderr)


@pytest.mark.parametrize(
    ("found", "code", "says"),
    [
        (answer(json.dumps({"dependencies": [{"name": "a", "vulns": []}]})), 0, "0 with known"),
        (answer(stderr="ConnectionError: Max retries exceeded", code=1), 0, "Not audited"),
        (answer(stderr="usage: pip-audit", code=2), 2, ""),
        (
            answer(
                json.dumps(
                    {"dependencies": [{"name": "a", "version": "1", "vulns": [{"id": "CVE-1"}]}]}
                )
            ),
            1,
            "a 1: CVE-1",
        ),
    ],
)
def test_the_audit_tells_weak_from_unreachable(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    found: subprocess.CompletedProcess[str],
    code: int,
    says: str,
) -> None:
    monkeypatch.setattr(supply_chain, "_run", lambda *arguments: found)
    assert supply_chain.audit() == code
    assert says in capsys.readouterr().out


@pytest.mark.parametrize(
    ("licence", "is_refused"),
    [
        ("GNU Lesser General Public License v3 (LGPLv3)", False),
        ("GNU General Public License v3 (GPLv3)", True),
        ("LGPL-3.0-or-later", False),
        ("GPL-3.0-or-later", True),
        ("GNU Affero General Public License v3", True),
        ("Apache-2.0", False),
    ],
)
def test_licences_that_would_open_everything_are_refused(licence: str, is_refused: bool) -> None:
    assert supply_chain.is_refused(licence) == is_refused


@pytest.mark.slow
def test_two_builds_are_equal_to_the_byte(tmp_path: Path) -> None:
    """In folders of other names, with files of other ages."""
    built = []
    for name in ("one", "another-name"):
        copy = tmp_path / name
        ignored = shutil.ignore_patterns(
            ".git", ".venv", "build", "dist", ".*_cache", "__pycache__"
        )
        shutil.copytree(REPOSITORY, copy, ignore=ignored, copy_function=shutil.copy)
        out = tmp_path / f"{name}-dist"
        command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(copy)]
        subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)
        built.append({path.name: path.read_bytes() for path in out.iterdir()})
    first, second = built
    assert len(first) == 2
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []
    changed = tmp_path / "one" / "samedge" / "_version.py"
    changed.write_text(changed.read_text() + "# one comment more\n")  # the control
    subprocess.run(
        [
            sys.executable,
            "-m",
            "build",
            "--wheel",
            "--no-isolation",
            "--outdir",
            str(tmp_path),
            ".",
        ],
        check=True,
        capture_output=True,
        cwd=tmp_path / "one",
    )
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.read_bytes() != first[wheel.name]
