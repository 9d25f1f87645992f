"""What a comparison does with exports that fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from samedge.comparison import exporting, run
from samedge.comparison.subjects import Wanted
from samedge.errors import ExportError
from samedge.targets import target
from samedge.types import Precision


class TestFailedExports:
    @pytest.fixture
    def tries(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        tries: list[int] = []

        def refuse(*_: object, **__: object) -> None:
            tries.append(1)
            raise ExportError("The decoder drifts.")

        monkeypatch.setattr("samedge.export.export", refuse)
        row = target("cpu")
        one = [Wanted(row, Precision.FP32)]
        monkeypatch.setattr(run, "wanted_subjects", lambda *_, **__: (one, []))
        return tries

    @staticmethod
    def request(tmp_path: Path, *targets: str) -> exporting.Request:
        photo = tmp_path / "p.jpg"
        photo.write_bytes(b"x")
        return exporting.Request(
            model="samedge-nano", output=tmp_path / "c", targets=targets, photos=(photo,)
        )

    def test_is_listed_and_not_tried_again_unasked(self, tmp_path: Path, tries: list[int]) -> None:
        said: list[str] = []
        (row,) = run.compare(self.request(tmp_path), stage=said.append).rows
        assert row.note == "not exported: The decoder drifts."
        assert said[0].startswith("exporting cpu"), "minutes pass before a step is done"
        again = run.compare(self.request(tmp_path))
        assert again.rows[0].note.startswith("not exported: The decoder drifts. (tried before; ")
        assert "--target cpu" in again.rows[0].note
        assert again.recommendation.chosen is None
        assert len(tries) == 1

    def test_is_tried_again_when_named(self, tmp_path: Path, tries: list[int]) -> None:
        run.compare(self.request(tmp_path))
        run.compare(self.request(tmp_path, "onnx"))
        assert len(tries) == 2

    def test_is_tried_again_when_the_tools_changed(
        self, tmp_path: Path, tries: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run.compare(self.request(tmp_path))
        monkeypatch.setattr(exporting, "package_versions", lambda: {"onnx": "99.0"})
        run.compare(self.request(tmp_path))
        assert len(tries) == 2
