"""What ``samedge export`` chooses itself: the place of the bundle."""

from __future__ import annotations

from pathlib import Path

import pytest

import samedge
from tests.toys.bundle import write_bundle

pytest.importorskip("onnx")


class _WorkBegunError(Exception):
    pass


def test_another_model_s_bundle_where_nobody_named_a_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("torch")

    def begun(*_: object, **__: object) -> None:
        raise _WorkBegunError

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("samedge.export.export", begun)
    write_bundle(tmp_path / "out" / "cpu")
    with pytest.raises(_WorkBegunError):
        samedge.export_bundle("cpu", "samedge-nano")
    assert "out/cpu holds a bundle of" in caplog.text
    assert "samedge-nano will replace" in caplog.text
    caplog.clear()
    with pytest.raises(_WorkBegunError):
        samedge.export_bundle("cpu", "samedge-nano", output="out/cpu")
    with pytest.raises(_WorkBegunError):
        samedge.export_bundle("apple", "samedge-nano")
    assert not caplog.text
