"""Sphinx configuration: MyST pages, the reference from docstrings, the commands from click."""

from __future__ import annotations

import click
from sphinx.application import Sphinx

from samedge import __version__

project = "samedge"
author = "The samedge developers"
project_copyright = "2026, The samedge developers"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_click",
]
exclude_patterns = ["_build"]
smartquotes = False  # two hyphens begin an option, not a dash
source_suffix = {".md": "markdown"}

html_theme = "furo"
html_title = f"samedge {version}"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True


def _examples_as_code(_app: Sphinx, ctx: click.Context, lines: list[str]) -> None:
    """Show a command's examples as typed: its epilog is plain text, not reStructuredText."""
    examples = (ctx.command.epilog or "").replace("\b", "").split("\n")
    shell = [line for line in examples if line and not line.startswith("Example")]
    lines[:] = [".. code-block:: console", "", *(f"   {line}" for line in shell), ""]


def setup(app: Sphinx) -> None:
    """Register the hook of sphinx-click."""
    app.connect("sphinx-click-process-epilog", _examples_as_code)
