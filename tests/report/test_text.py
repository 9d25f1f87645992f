"""Records as Markdown and CSV."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import msgspec
import pytest

from samedge import records
from samedge.errors import DatasetError
from samedge.records import EvalRecord
from samedge.report import html_page, load_overview, markdown_text, tidy_csv
from samedge.report.overview import Overview, compare_records
from samedge.report.text import comparison_tables, summary_header, summary_row
from tests.toys import records as toys

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")


class TestText:
    def test_summary(self, overview: Overview) -> None:
        header = summary_header(overview)
        row = dict(zip(header, summary_row(overview, overview.subjects[2]), strict=True))
        assert row["subject"] == "samedge-nano int8 openvino"
        assert row["box mIoU"] == "0.696 ±0.018"
        assert row["files MB"] == "15.0"
        baseline = dict(zip(header, summary_row(overview, overview.subjects[6]), strict=True))
        assert baseline["center mIoU"] == baseline["end to end p50 ms"] == "–"

    def test_markdown(self, overview: Overview) -> None:
        text = markdown_text(overview)
        assert "| samedge-nano int8 openvino | Some CPU | 0.696 ±0.018 |" in text
        assert "## Deadlines" in text
        assert "jetson.json: The machine runs on battery." in text
        assert "samedge bench --effort strict -o latency.json" in text
        widths = {
            len(re.findall(r"(?<!\\)\|", line)) for line in text.split("\n\n")[1].splitlines()
        }
        assert len(widths) == 1
        assert "| image_encoder.stages.2.blocks.1 | fp32 | measured | 0.02000 |" in text
        assert (
            "| on_battery no, temperature_c 51.2, nvpmodel MAXN, rails_mw (VDD_IN 4971) |" in text
        )
        assert "# export.json\nsamedge export --target intel" in text

    def test_pairs_without_a_ratio_are_left_out(self) -> None:
        record = toys.bench_record()
        bare = [msgspec.structs.replace(c, speedup=None, ci95=None) for c in record.comparisons]
        record = msgspec.structs.replace(record, comparisons=bare)
        assert comparison_tables(compare_records([("a", record)])) == []

    def test_what_an_export_lost_and_tried(self) -> None:
        drops = [{"prompt": "box", "drop": 0.001}, {"prompt": "center", "drop": 0.004}]
        choice = {"precision": "int8", "total_ratio": 0.4, "size_ratio": 0.3, "drop": 0.004}
        record = msgspec.structs.replace(
            toys.export_record(),
            plan=[],
            accuracy={"rows": drops},
            choices=[{**choice, "verdict": "chosen"}],
        )
        text = markdown_text(compare_records([("a", record)]))
        assert "| yes | 0.0040 |" in text
        assert "| int8 | 0.400 | 0.300 | 0.004 | chosen | out/intel-int8 |" in text
        assert "no plan" not in text  # a table that says nothing is left out

    def test_csv_holds_every_figure(self, overview: Overview) -> None:
        lines = list(csv.DictReader(io.StringIO(tidy_csv(overview))))
        found = {
            (line["source"], line["precision"], line["name"], line["metric"]): line["value"]
            for line in lines
        }
        assert float(found["accuracy.json", "int8", "box", "miou"]) == pytest.approx(0.696)
        assert float(found["accuracy.json", "int8", "box", "ci95_low"]) == pytest.approx(0.678)
        assert float(found["laptop.json", "bf16", "end_to_end", "n"]) == 672
        assert float(found["jetson.json", "bf16", "64", "frames_per_s"]) > 0
        assert ("laptop.json", "bf16", "load", "cold_ms") in found

    def test_figures_of_words_and_of_pages_are_shown(self) -> None:
        words = records.WordRow(
            **records.subject_fields(toys.SUBJECTS[0]),
            regions="everything",
            words_by="model",
            images=3,
            pairs=7,
            miou=0.432,
            ci95=(0.4, 0.46),
            absent_pairs=7,
            false_alarms=0.143,
            instances=9,
            top1=0.778,
            top1_ci95=None,
            chance=0.333,
        )
        page = records.PageRow(
            **records.subject_fields(toys.SUBJECTS[0]),
            engine="WebAssembly",
            browser="Chrome 1",
            site_bytes=25_000_000,
            transfer_bytes=9_000_000,
            peak_bytes=470_000_000,
            footprint_bytes=310_000_000,
            click_cpu_ms=12.5,
        )
        evaluated = EvalRecord(
            dataset=records.DatasetRecord(path="x.json", images=3, instances=9),
            results=[],
            words=[words],
        )
        timed = msgspec.structs.replace(toys.bench_record(), pages=[page])
        joined = compare_records([("a", evaluated), ("b", timed)])
        text = markdown_text(joined)
        assert "| everything | model | 7 | 0.432 ±0.030 | 0.143 | 0.778 | 0.333 |" in text
        assert "| WebAssembly | 25.0 | 9.0 | 470 | – | 310 | – | – | – | – | 12.5 |" in text
        shown = html_page(joined)
        assert "0.432 ±0.030" in shown
        assert "Chrome 1" in shown
        lines = tidy_csv(joined).splitlines()
        assert any("words,everything named by model,false_alarms,0.143" in line for line in lines)
        assert any("page,Chrome 1,click_cpu_ms,12.5" in line for line in lines)


@pytest.mark.parametrize(
    "figures",
    [
        {"accuracy": {"rows": [3]}},
        {"accuracy": {"rows": [{"drop": "much"}]}},
        {"accuracy": {"rows": 3}},
        {"plan": [{"module": "neck", "drop": "much"}]},
        {"choices": [{"precision": "int8", "size_ratio": "half"}]},
        {"parity": {"mask_iou_mean": "all"}},
    ],
    ids=str,
)
def test_figures_of_another_form_are_told(figures: dict[str, object], tmp_path: Path) -> None:
    """They ended in a traceback while the page was drawn."""
    record = {"schema": "samedge.export/1", "bundle": {"id": "b"}, "artifacts": []}
    (tmp_path / "good.json").write_text(json.dumps(record))
    assert load_overview([tmp_path / "good.json"]).exports
    (tmp_path / "odd.json").write_text(json.dumps({**record, **figures}))
    with pytest.raises(DatasetError, match=r"odd\.json is not a whole samedge.export/1 record"):
        load_overview([tmp_path / "odd.json"])


def test_what_a_record_holds_beside_its_figures_is_kept(tmp_path: Path) -> None:
    plan = [{"module": "neck", "precision": "int8", "drop": 0.1, "mine": [1]}]
    record = {"schema": "samedge.export/1", "bundle": {"id": "b"}, "artifacts": [], "plan": plan}
    (tmp_path / "good.json").write_text(json.dumps(record))
    ((_, found),) = load_overview([tmp_path / "good.json"]).exports
    assert found.plan == plan
