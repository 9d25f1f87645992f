"""docs/json.md against all that a record may have, which no one run has."""

from __future__ import annotations

import msgspec
import pytest

from samedge.live.recording import FollowRecord
from samedge.records.accuracy import EvalRecord
from samedge.records.export import ExportRecord
from samedge.records.latency import BenchRecord
from tests.cli.json_page import pattern, untold


@pytest.mark.parametrize(
    ("command", "record"),
    [
        ("bench", BenchRecord),
        ("eval", EvalRecord),
        ("export", ExportRecord),
        ("track", FollowRecord),
    ],
)
def test_the_page_tells_what_a_record_may_have(command: str, record: type[msgspec.Struct]) -> None:
    assert untold(command, pattern(msgspec.inspect.type_info(record))) == []
