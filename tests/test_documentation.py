"""What the documentation tells people to type exists: commands, options, files, names."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import click
import msgspec
import pytest

import samedge
from samedge.bundle.bundle import embedded_path
from samedge.cli import cli

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md"]
PAGES += sorted((REPOSITORY / "docs").glob("*.md"))
DEPLOYED = sorted(
    path
    for path in (REPOSITORY / "deploy").rglob("*")
    if path.suffix in (".md", ".yaml") or path.name == "Dockerfile"
)
CONTEXT = click.Context(cli)


def command_lines(text: str) -> list[list[str]]:
    """Indented or fenced lines that start with ``samedge``, continued ones joined."""
    joined = re.sub(r"\\\n\s*", " ", text)
    lines = re.findall(r"^(?: {4}|\$ |)(samedge [a-z].*)$", joined, re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


def mistakes(words: list[str]) -> list[str]:
    """Commands and options of one line that do not exist."""
    if words[1].startswith("-"):
        return []
    command = cli.get_command(CONTEXT, words[1])
    if command is None:
        return [f"no command {words[1]!r}"]
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    known |= {"-h", "--help"}
    options = [word.partition("=")[0] for word in words[2:] if re.match(r"--?[a-z]", word)]
    return [f"{words[1]} has no {option}" for option in options if option not in known]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_command_lines_exist(page: Path) -> None:
    found = [problem for words in command_lines(page.read_text()) for problem in mistakes(words)]
    assert found == []


@pytest.mark.parametrize("page", [*PAGES, *DEPLOYED], ids=lambda page: page.name)
def test_nothing_is_installed_from_a_release_that_is_not_there(page: Path) -> None:
    """The registry has no samedge yet, so that such a line fails, or fetches a stranger's."""
    text = page.read_text()
    found = re.findall(r"pip install[^`\n]*?[ '\"](samedge(?:\[[\w,-]+\])?)(?=[ '\"`])", text)
    known = {"quickstart.md": ["samedge[onnxruntime]"], "troubleshooting.md": ["samedge"]}
    assert found == known.get(page.name, []), "write '.[extra]' and that it is in the clone"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_public_names_exist(page: Path) -> None:
    names = set(re.findall(r"\bsamedge\.([A-Z]\w+|load_image)\b", page.read_text()))
    assert names <= set(samedge.__all__)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text())
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("name", cli.list_commands(CONTEXT))
def test_examples_in_help_exist(name: str) -> None:
    command = cli.get_command(CONTEXT, name)
    assert command is not None
    text = "\n".join(line.strip() for line in (command.epilog or "").split("\n"))
    lines = command_lines(text.split("|")[0] if " | " in text else text)
    assert lines, f"samedge {name} --help has no example"
    assert [problem for words in lines for problem in mistakes(words)] == []


def test_the_checker_can_fail() -> None:
    lines = command_lines(
        "    samedge segmnet x.jpg\n    samedge segment x.jpg --pont 1,2 \\\n  -o y\n"
    )
    assert [mistakes(words) for words in lines] == [
        ["no command 'segmnet'"],
        ["segment has no --pont"],
    ]


def test_the_page_of_limits_is_made_of_its_records(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    record_type = importlib.import_module("limits_record").Record
    paths = sorted((REPOSITORY / "benchmarks" / "results").glob("limits*.json"))
    assert paths
    records = [msgspec.json.decode(path.read_bytes(), type=record_type) for path in paths]
    page = importlib.import_module("limits_page").page_text(records)
    assert (REPOSITORY / "docs" / "limits.md").read_text() == page


def test_the_page_of_core_ml_names_every_tensor_of_the_embedded_models() -> None:
    """Its Swift code passes them on by the names that the encoder gives."""
    page = (REPOSITORY / "docs" / "apple.md").read_text()
    bundle = msgspec.json.decode((embedded_path() / "bundle.json").read_bytes())
    tensors = {
        tensor["name"]
        for graph in bundle["graphs"]
        if graph["role"] in ("encoder", "decoder")
        for tensor in (*graph["inputs"], *graph["outputs"])
    }
    assert {name for name in tensors if f"`{name}`" not in page} == set()
    assert "output.featureNames" in page
