"""Records side by side, and what may be claimed of them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from samedge import records
from samedge.errors import DatasetError
from samedge.records import Comparison, Environment, EvalRecord, Subject
from samedge.report import load_overview
from samedge.report.overview import Overview, claim, compare_records, subject_label
from samedge.report.text import comparison_tables
from tests.toys import records as toys

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")


class TestOverview:
    def test_joins_accuracy_and_latency_of_the_same_files(self, overview: Overview) -> None:
        assert len(overview.subjects) == 7  # three subjects on two machines, and the baseline
        for reported in overview.subjects[:6]:
            assert reported.miou("box") is not None
            assert reported.p50("end_to_end") is not None
        baseline = overview.subjects[6]
        assert (baseline.machine, baseline.p50("encode")) == (None, None)
        assert baseline.miou("center") is None

    def test_labels_are_unique_and_name_the_machine(self, overview: Overview) -> None:
        labels = [reported.label for reported in overview.subjects]
        assert len(set(labels)) == len(labels)
        assert labels[0] == "samedge-nano fp32 onnxruntime @ Some CPU"
        assert labels[3].endswith("@ NVIDIA Jetson Orin NX")
        assert overview.subjects[3].name == "samedge-nano fp32 onnxruntime"

    def test_other_files_are_not_joined(self, tmp_path: Path) -> None:
        """The same path with another bundle id is another bundle."""
        evaluation = toys.eval_record(tmp_path)
        other = [
            msgspec.structs.replace(row, bundle_id="retrained")
            for row in evaluation.results
            if row.bundle != "baseline:box"
        ]
        record = EvalRecord(dataset=evaluation.dataset, results=other)
        joined = compare_records([("a", record), ("b", toys.bench_record())])
        assert all(reported.accuracy == {} for reported in joined.subjects[:3])
        assert len(joined.subjects) == 6
        names = [reported.name for reported in joined.subjects]
        assert len(set(zip(names, (e.machine for e in joined.subjects), strict=True))) == 6

    def test_other_images_are_another_column(self, tmp_path: Path) -> None:
        """Accuracy on two datasets must not be compared down one column."""
        first = toys.eval_record(tmp_path)
        dataset = msgspec.structs.replace(first.dataset, path="other/instances.json", images=20)
        second = msgspec.structs.replace(first, dataset=dataset, examples=[])
        joined = compare_records([("a", first), ("b", second), ("c", toys.bench_record())])
        assert {"box on instances", "box on other"} <= set(joined.prompts)
        assert len(joined.subjects[0].accuracy) == 6
        fewer = msgspec.structs.replace(first.dataset, instances=99)
        part = msgspec.structs.replace(first, dataset=fewer)
        limited = compare_records([("a", first), ("b", part)])
        assert {"box on instances, 1282 instances", "box on instances, 99 instances"} <= set(
            limited.prompts
        )
        again = compare_records([("a", first), ("b", first)])
        assert again.prompts == ("box", "center", "clicks:3")

    def test_accuracy_measured_on_the_same_machine_goes_first(self, tmp_path: Path) -> None:
        here = toys.eval_record(tmp_path)
        here = msgspec.structs.replace(here, environment=toys.other_machine())
        rows = [msgspec.structs.replace(row, miou=0.1) for row in here.results]
        elsewhere = msgspec.structs.replace(here, results=rows, environment=None)
        latency = toys.bench_record(environment=toys.other_machine())
        joined = compare_records([("a", here), ("b", elsewhere), ("c", latency)])
        assert joined.subjects[0].miou("box") == pytest.approx(0.72)

    @pytest.mark.parametrize(
        ("environment", "name"),
        [
            (
                Environment(cpu="Intel(R) Core(TM) i7-8700 CPU @ 3.20GHz"),
                "Intel Core i7-8700",
            ),
            (Environment(cpu="AMD EPYC 9R14 96-Core Processor"), "AMD EPYC 9R14"),
            (
                Environment(board="NVIDIA Jetson Orin NX Engineering Reference Developer Kit"),
                "NVIDIA Jetson Orin NX",
            ),
            (Environment(), "unknown machine"),
        ],
    )
    def test_machines_have_short_names(self, environment: Environment, name: str) -> None:
        record = toys.bench_record(environment=environment)
        assert [m.name for m in compare_records([("a", record)]).machines] == [name]

    def test_names_without_a_model(self) -> None:
        assert subject_label(Subject(bundle="out/x", backend="b")) == "x b"
        assert subject_label(Subject(bundle="out/x", backend="b", device="GPU")) == "x b GPU"

    def test_records_of_one_name_stay_apart(self, tmp_path: Path) -> None:
        """A file called bench.json on every machine: each figure stays with its own machine."""
        paths = []
        for folder, environment in (("desk", None), ("board", toys.other_machine())):
            path = tmp_path / folder / "bench.json"
            path.parent.mkdir()
            records.write(toys.bench_record(environment=environment), path)
            paths.append(path)
        joined = load_overview([*paths, paths[0]])
        assert [source for source, _ in joined.benches] == ["desk/bench.json", "board/bench.json"]
        machines = [reported.machine for reported in joined.subjects]
        assert machines[:3] == ["Some CPU"] * 3
        assert machines[3:] == ["NVIDIA Jetson Orin NX"] * 3

    def test_refuses_what_is_no_record(self, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match="There is no record"):
            load_overview([])
        (tmp_path / "x.json").write_text("{")
        with pytest.raises(DatasetError, match=r"x\.json is not JSON"):
            load_overview([tmp_path / "x.json"])
        (tmp_path / "x.json").write_text('{"schema": "samedge.segment/1"}')
        with pytest.raises(DatasetError, match=r"has schema 'samedge\.segment/1', expected one of"):
            load_overview([tmp_path / "x.json"])
        (tmp_path / "x.json").write_text('{"schema": "samedge.bench/1", "results": []}')
        with pytest.raises(DatasetError, match=r"is not a whole samedge\.bench/1 record"):
            load_overview([tmp_path / "x.json"])


class TestClaims:
    def _pair(self, speedup: float, low: float, high: float, faster: str | None) -> Comparison:
        return Comparison(
            stage="end_to_end",
            first=["a"],
            second=["b"],
            pairs=20,
            speedup=speedup,
            ci95=(low, high),
            faster=[faster] if faster else None,
            differences=["input size (512 against 1024)"] if faster else [],
        )

    def test_the_faster_one_stands_first(self) -> None:
        said = claim(self._pair(0.5, 0.4, 0.8, "b"), label_of={})
        assert said == (
            "end to end: b is 2.00 times as fast as a (95% interval 1.25 to 2.50). "
            "They differ in input size (512 against 1024)."
        )

    def test_an_interval_around_one_shows_nothing(self) -> None:
        said = claim(self._pair(1.01, 0.98, 1.04, None), label_of={("a",): "A"})
        assert said is not None
        assert said.startswith("end to end: no difference shown between A and b (ratio 1.01")

    def test_too_few_pairs_say_nothing(self) -> None:
        pair = Comparison(
            stage="load", first=["a"], second=["b"], pairs=3, speedup=None, ci95=None, faster=None
        )
        assert claim(pair, label_of={}) is None

    def test_tables_put_the_faster_one_first(self, overview: Overview) -> None:
        tables = comparison_tables(overview)
        assert [t.title for t in tables] == [
            "Who is faster on Some CPU",
            "Who is faster on NVIDIA Jetson Orin NX",
        ]
        first = tables[0].rows[0]
        assert first[0] == "samedge-nano bf16 openvino, samedge-nano fp32 onnxruntime"
        assert first[4].startswith("1.98 (1.9")
        assert first[5] == "precision (fp32 against bf16), artifacts"
