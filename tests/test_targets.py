"""The table of platforms is consistent with itself and with the plug-ins that it names."""

from __future__ import annotations

import dataclasses

import pytest

from samedge import runtimes
from samedge.errors import ExportError, UnknownNameError
from samedge.export import base
from samedge.targets import ALIASES, SEVERAL, TARGETS, Target, target
from samedge.types import Precision


@pytest.mark.parametrize("row", TARGETS.values(), ids=lambda row: row.name)
def test_row_is_consistent(row: Target) -> None:
    assert row.backend in runtimes.names()
    exporter = base.get(row.format)
    assert (exporter.artifact_format or exporter.name) in runtimes.get(row.backend).formats
    assert set(row.precisions) <= set(exporter.precisions)
    assert row.default_precision in row.precisions
    assert Precision.AUTO not in row.precisions
    assert set(row.precision_options) <= set(row.precisions)
    assert list(row.prompt_buckets) == sorted(row.prompt_buckets)
    assert row.opset >= 17
    assert row.summary


def test_rows_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        target("cpu").device = "gpu"  # type: ignore[misc]


@pytest.mark.parametrize("row", TARGETS.values(), ids=lambda row: row.name)
def test_every_alias_names_one_row_and_no_target(row: Target) -> None:
    for alias in row.aliases:
        assert target(alias) is row
        assert target(alias.upper().replace("-", "_")) is row
        assert alias not in TARGETS
    assert len(ALIASES) == sum(len(other.aliases) for other in TARGETS.values())


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("onnx", "cpu"),
        ("openvino", "intel"),
        ("coreml", "apple"),
        ("iphone", "apple"),
        ("mac", "apple"),
        ("pi", "cpu"),
        ("Raspberry Pi", "cpu"),
    ],
)
def test_words_for_one_platform_are_taken(word: str, name: str) -> None:
    assert target(word).name == name


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("tensorrt", ["jetson", "cuda"]),
        ("tensort", ["jetson", "cuda"]),
        ("orin", ["jetson-orin-nano", "jetson-orin-nx", "jetson-agx-orin"]),
        ("gpu", ["cuda", "jetson"]),
        ("iphon", ["iphone"]),
    ],
)
def test_words_for_several_platforms_are_answered(word: str, meant: list[str]) -> None:
    with pytest.raises(UnknownNameError) as caught:
        target(word)
    asked = str(caught.value).partition("Known:")[0]
    assert "Did you mean" in asked
    assert all(repr(name) in asked for name in meant)


def test_what_is_suggested_exists() -> None:
    assert {name for names in SEVERAL.values() for name in names} <= set(TARGETS)
    assert not set(SEVERAL) & {*TARGETS, *ALIASES}


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"target 'intle'.*'intel'.*Known: .*cpu"):
        target("intle")


def test_auto_is_the_default() -> None:
    assert target("intel").precision("auto") is target("intel").default_precision
    assert target("intel").precision(Precision.INT8) is Precision.INT8


def test_precision_that_the_platform_lacks() -> None:
    with pytest.raises(ExportError, match=r"'cpu' cannot run precision 'w4': choose fp32"):
        target("cpu").precision("w4")


def test_precision_that_nobody_knows() -> None:
    with pytest.raises(UnknownNameError, match=r"precision 'int9'.*'int8'"):
        target("cpu").precision("int9")


def test_options_follow_the_precision() -> None:
    assert target("intel").backend_options(Precision.FP32) == {"inference_precision": "f32"}
    assert target("cpu").backend_options(Precision.FP32) == {}


@pytest.mark.parametrize(
    ("precision", "isa", "is_told"),
    [
        (Precision.BF16, ["avx2"], True),
        (Precision.INT8, ["avx2", "avx512_vnni"], True),  # its float rest
        (Precision.BF16, None, True),  # not known
        (Precision.BF16, ["avx512f", "avx512_bf16"], False),
        (Precision.INT8, ["amx_bf16", "amx_int8"], False),
        (Precision.FP32, ["avx2"], False),
    ],
)
def test_the_note_on_bf16_is_told_where_it_is_true(
    precision: Precision, isa: list[str] | None, is_told: bool
) -> None:
    notes = target("intel").notes_for(precision, isa)
    assert any(note.startswith("bf16 needs") for note in notes) is is_told
