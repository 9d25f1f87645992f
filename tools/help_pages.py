"""Writes the help pages that `samedge --help` and `samedge COMMAND --help` print without click.

    python tools/help_pages.py

`tests/cli/test_help_pages.py` holds them against what click makes of the commands.
"""

from __future__ import annotations

import os
from pathlib import Path

import click

from samedge.cli import cli

FOLDER = Path(__file__).resolve().parents[1] / "samedge" / "cli" / "help"


def live_pages() -> dict[str, str]:
    """The pages of today's commands, for a terminal of 80 columns, by the names of their files."""
    os.environ["COLUMNS"] = "80"
    group = click.Context(cli, info_name="samedge", **cli.context_settings)
    pages = {"_samedge.txt": cli.get_help(group)}
    for name in cli.list_commands(group):
        command = cli.get_command(group, name)
        assert command is not None
        pages[f"{name}.txt"] = command.get_help(click.Context(command, group, info_name=name))
    return {name: f"{page}\n" for name, page in pages.items()}


def main() -> None:
    """Write all pages, and remove those of commands that are gone."""
    FOLDER.mkdir(exist_ok=True)
    pages = live_pages()
    for path in FOLDER.glob("*.txt"):
        if path.name not in pages:
            path.unlink()
    for name, page in pages.items():
        (FOLDER / name).write_bytes(page.encode())
    print(f"{len(pages)} pages in {os.path.relpath(FOLDER)}")


if __name__ == "__main__":
    main()
