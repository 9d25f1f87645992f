"""One sentence for a record: measured figures with their intervals, and nothing invented."""

from __future__ import annotations

import pytest

from samedge.records import DatasetRecord, EvalRecord, EvalRow, ScoredInstance
from samedge.report.verdicts import eval_verdict


def row(bundle: str, precision: str, miou: float, *, device: str = "cpu") -> EvalRow:
    return EvalRow(
        bundle=bundle,
        backend="onnxruntime",
        device=device,
        target="cpu",
        precision=precision,
        prompt="box",
        n=8,
        miou=miou,
        miou_small=None,
        miou_medium=None,
        miou_large=None,
        boundary_iou=None,
        miou_oracle=None,
        ci95=(miou - 0.05, miou + 0.05),
    )


def scored(bundle: str, drop: float, *, device: str = "cpu") -> list[ScoredInstance]:
    return [
        ScoredInstance(
            bundle=bundle,
            backend="onnxruntime",
            device=device,
            prompt="box",
            image=f"{index}.jpg",
            annotation_id=index,
            area=100.0,
            iou=0.7 + 0.02 * index - drop,
            boundary_iou=0.5,
            oracle_iou=None,
            predicted_iou=0.8,
            ious_by_click=None,
            rle={"size": [4, 4], "counts": "0"},
        )
        for index in range(8)
    ]


def record(*rows: EvalRow, instances: list[ScoredInstance]) -> EvalRecord:
    dataset = DatasetRecord(path="x.json", images=8, instances=8)
    return EvalRecord(dataset=dataset, results=list(rows), instances=instances)


def test_one_subject_is_told_with_its_interval() -> None:
    said = eval_verdict(record(row("a", "fp32", 0.7), instances=scored("a", 0.0)))
    assert "reaches 0.700 box mIoU (0.650 to 0.750) on 8 instances." in said


@pytest.mark.parametrize(
    ("drop", "words"), [(0.03, "loses 0.0300 box mIoU (0.0300 to 0.0300)"), (0.0, "from 0)")]
)
def test_a_loss_is_told_against_the_plain_one(drop: float, words: str) -> None:
    rows = row("b", "int8", 0.7 - drop), row("a", "fp32", 0.7)
    said = eval_verdict(record(*rows, instances=[*scored("b", drop), *scored("a", 0.0)]))
    assert said.startswith("Against ")
    assert "fp32" in said.partition(",")[0]
    assert words in said


def test_nothing_measured_says_nothing() -> None:
    assert eval_verdict(record(instances=[])) == ""


def test_a_device_is_compared_by_its_own_masks() -> None:
    rows = row("a", "fp32", 0.7), row("a", "int8", 0.4, device="NPU")
    instances = [*scored("a", 0.0), *scored("a", 0.3, device="NPU")]
    said = eval_verdict(record(*rows, instances=instances))
    assert "loses 0.3000 box mIoU (0.3000 to 0.3000)" in said
