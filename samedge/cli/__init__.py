"""The command line: one command a file, found by its name and imported only when it runs.

A command is a file ``_name.py`` here that exposes ``COMMAND``, a ``click.Command`` decorated with
``samedge.cli.output.standard_options``. The first sentence of the file's docstring is the line that
``samedge --help`` shows, read without importing the file.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import NoReturn

import click

from samedge import _discovery
from samedge._version import __version__
from samedge.cli import output
from samedge.errors import UnknownNameError

EPILOG = """\b
Examples:
  samedge doctor
  samedge segment photo.jpg --point 320,240 -o mask.png
  samedge export --target intel --model samedge-nano -o out/intel
"""


def _summary(name: str) -> str:
    """First sentence of a command file's docstring, without importing the file."""
    source = Path(__file__).with_name(f"_{name}.py").read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(source)) or ""
    sentence = " ".join(docstring.split("\n\n")[0].split())
    sentence = sentence.removeprefix(f"``samedge {name}``").removeprefix(f"`samedge {name}`")
    sentence = sentence.lstrip(": ").rstrip(".")
    return sentence[:1].upper() + sentence[1:]


class LazyGroup(click.Group):
    """A group whose commands are files; listing them reads names and docstrings only."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Names of the command files."""
        return list(_discovery.names(__name__))

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002
        cmd_name: str,
    ) -> click.Command | None:
        """Import one command file; ``None`` when there is no such file."""
        if cmd_name not in _discovery.names(__name__):
            return None
        command = _discovery.load(__name__, cmd_name, "COMMAND")
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or name the nearest one."""
        name = args[0]
        if not name.startswith("-") and name not in self.list_commands(ctx):
            ctx.fail(str(UnknownNameError("command", name, self.list_commands(ctx))))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from their docstrings."""
        rows = [(name, _summary(name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(
    cls=LazyGroup,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="samedge")
def cli() -> None:
    """Deploy Segment Anything on edge devices: distil, quantize, export, run, measure."""


def _run() -> int:
    """Run the command that ``sys.argv`` names and return the exit code."""
    try:
        result = cli.main(prog_name="samedge", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        output.complain("Interrupted.")
        return output.INTERRUPTED
    return result if isinstance(result, int) else 0


def main() -> NoReturn:
    """Entry point of ``samedge``: exit 0 done, 1 error, 2 usage, 3 gate failed, 130 interrupted."""
    sys.exit(_run())
