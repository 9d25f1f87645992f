"""Records as files, and the overview and page made of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.toys import records as toys

if TYPE_CHECKING:
    from samedge.report.overview import Overview


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return toys.write_all(tmp_path_factory.mktemp("records"))


@pytest.fixture(scope="session")
def overview(files: list[Path]) -> Overview:
    from samedge.report import load_overview  # may lack the libraries that draw

    return load_overview(files)


@pytest.fixture(scope="session")
def page(overview: Overview) -> str:
    from samedge.report import html_page

    return html_page(overview)
