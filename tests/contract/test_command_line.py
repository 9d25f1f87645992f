"""What scripts of others call: commands, their options, and which of these repeat.

The table is a promise. Add to it freely; a line that has to go breaks somebody's script.
"""

from __future__ import annotations

import click
import pytest

from samedge import errors
from samedge.cli import cli, failures

_EVERYWHERE = "--json -q --quiet -v --verbose --help"
_PROMISED = {
    "annotate": "--auto --engine -o",
    "bench": "--bundle... --backend... --threads --min-time -o",
    "calibrate": "",
    "camera": "--box... --point... --mask... --text... -o... --format",
    "compare": "--model --target... --dataset --images --minutes --deadline --max-drop -o",
    "convert": "",
    "distill": "",
    "doctor": "--bundle-report",
    "eval": "--dataset --images --video --bundle... --backend... --prompts --limit",
    "everything": "--bundle --backend --device -o --format --min-area --range --focus",
    "export": "--target --model --checkpoint --precision --calibration --input-size -o --max-drop "
    "--no-gate --dialect",
    "inspect": "",
    "models": "",
    "report": "--html",
    "segment": "--bundle --backend --device --point... --box... --mask --text --multimask -o "
    "--format --focus --min-area --range",
    "serve": "",
    "sign": "",
    "targets": "",
    "track": "--box... --point... --mask... --text... -o... --format",
    "verify": "",
    "web": "",
}
"""Options of each command; ``...`` says that one may be given again, and adds."""


def _command(name: str) -> click.Command:
    found = cli.get_command(click.Context(cli), name)
    assert found is not None, f"samedge {name} is promised"
    return found


@pytest.mark.parametrize("name", _PROMISED)
def test_promised_options_are_there(name: str) -> None:
    command = _command(name)
    context = click.Context(command, help_option_names=["-h", "--help"])
    options = {
        spelling: option
        for option in command.get_params(context)
        if isinstance(option, click.Option)
        for spelling in option.opts
    }
    for word in (*_PROMISED[name].split(), *_EVERYWHERE.split()):
        spelling, repeats = word.removesuffix("..."), word.endswith("...")
        assert spelling in options, f"samedge {name} {spelling} is promised"
        assert options[spelling].multiple or not repeats, f"{spelling} of {name} repeats"


@pytest.mark.parametrize(
    ("name", "several"),
    [("segment", True), ("everything", True), ("report", True), ("compare", True)]
    + [(name, False) for name in ("verify", "inspect", "distill", "track", "camera", "annotate")],
)
def test_what_comes_without_an_option(name: str, *, several: bool) -> None:
    (argument,) = [one for one in _command(name).params if isinstance(one, click.Argument)]
    assert (argument.nargs == -1) is several


def test_exit_codes() -> None:
    known = vars(errors).values()
    kinds = [
        kind for kind in known if isinstance(kind, type) and issubclass(kind, errors.SamedgeError)
    ]
    gates = {kind for kind in kinds if kind.exit_code == 3}
    assert gates == {errors.GateError, errors.ParityError}
    assert {kind.exit_code for kind in kinds} == {1, 3}
    assert click.UsageError.exit_code == 2
    assert failures.INTERRUPTED == 130
