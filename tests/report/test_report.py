from __future__ import annotations

import csv
import html.parser
import io
import re
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

from samedge import records
from samedge.errors import DatasetError
from samedge.records import Comparison, Environment, EvalRecord, ScoredInstance, Subject
from samedge.report import html_page, load_overview, markdown_text, tidy_csv
from samedge.report.examples import example_rows
from samedge.report.overview import Overview, claim, compare_records, subject_label
from samedge.report.text import comparison_tables, summary_header, summary_row
from tests.toys import records as toys

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return toys.write_all(tmp_path_factory.mktemp("records"))


@pytest.fixture(scope="session")
def overview(files: list[Path]) -> Overview:
    return load_overview(files)


@pytest.fixture(scope="session")
def page(overview: Overview) -> str:
    return html_page(overview)


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


class _Page(html.parser.HTMLParser):
    """Collects what a page refers to, and checks that its tags close."""

    VOID = frozenset({"meta", "link", "img", "br", "path", "use", "image"})

    def __init__(self) -> None:
        super().__init__()
        self.references: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in self.VOID:
            self._open.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "action", "data"):
                self.references.append(value or "")
            if name == "id":
                self.ids.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self._open.pop() == tag


class TestPage:
    def test_is_self_contained_and_well_formed(self, page: str) -> None:
        parsed = _Page()
        parsed.feed(page)
        for reference in parsed.references:
            assert reference.startswith(("data:", "#"))
        inside = {f"#{name}" for name in parsed.ids}
        assert {r for r in parsed.references if r.startswith("#")} <= inside
        assert len(set(parsed.ids)) == len(parsed.ids)
        assert not {"script", "iframe", "object", "form"} & set(parsed.tags)
        style = page[page.index("<style>") : page.index("</style>")]
        assert "url(" not in style
        assert "@import" not in style
        assert "prefers-color-scheme: dark" in style
        assert (
            "default-src 'none'; img-src data:;" in page
        )  # the browser itself forbids the network

    def test_shows_everything(self, page: str) -> None:
        for title in (
            *("Accuracy against latency", "Where the time goes", "How latencies are spread"),
            *("What more clicks bring", "Prompts a frame", "Under sustained load"),
            *("Size and memory", "Precision plan", "Sensitivity", "Summary", "Deadlines"),
            *("Who is faster on Some CPU", "Exports", "NVIDIA Jetson Orin NX", "Commands"),
            *("Best of box: disc.png", "Worst of box: disc.png", "The machine runs on battery."),
        ):
            assert title in page
        assert page.count("<svg") == 9
        assert page.count("data:image/jpeg") == 3 * 5  # truth and four subjects, three ranks

    def test_ink_comes_from_the_style_sheet(self, page: str) -> None:
        assert "fill: var(--ink)" in page
        for placeholder in ("#010101", "#020202", "#030303"):
            assert placeholder not in page

    def test_hostile_names_stay_text(self, tmp_path: Path) -> None:
        evaluation = toys.eval_record(tmp_path)
        name = "<script>alert(1)</script>$x^2$&"
        rows = [msgspec.structs.replace(row, model=name, bundle=name) for row in evaluation.results]
        record = EvalRecord(dataset=evaluation.dataset, results=rows)
        benched = toys.bench_record()
        stages = [msgspec.structs.replace(row, model=name) for row in benched.results]
        bench = records.BenchRecord(environment=benched.environment, results=stages)
        page = html_page(compare_records([("a", record), ("b", bench)]))
        assert "<script" not in page
        assert "&lt;script&gt;alert(1)&lt;/script&gt;$x^2$&amp;" in page
        text = markdown_text(compare_records([("a", record), ("b", bench)]))
        assert "&lt;script>alert(1)" in text
        assert "<script" not in text
        assert "</script" not in text

    def test_a_command_stays_in_its_block_of_markdown(self) -> None:
        benched = toys.bench_record()
        command = "```\n<script>alert(1)</script>"
        record = msgspec.structs.replace(benched, command=command)
        block = markdown_text(compare_records([("b", record)])).split("## Commands\n\n")[1]
        fence, *inside, end = block.split("\n\n")[0].strip().split("\n")
        assert fence == end == "````"
        assert inside == ["# b", "``` <script>alert(1)</script>"]

    @pytest.mark.parametrize("start", ["=cmd|' /C calc'!A0", "+1+1", "-2", "@SUM(A1)", "\t=1"])
    def test_no_cell_of_the_csv_is_a_formula(self, tmp_path: Path, start: str) -> None:
        evaluation = toys.eval_record(tmp_path)
        rows = [msgspec.structs.replace(row, model=start) for row in evaluation.results]
        record = EvalRecord(dataset=evaluation.dataset, results=rows)
        found = list(csv.reader(io.StringIO(tidy_csv(compare_records([("@a", record)])))))
        names = {cell for line in found[1:] for cell in line[:-1]}
        assert {f"'{start}", "'@a"} <= names
        assert not any(name.startswith(tuple("=+-@\t")) for name in names)

    @pytest.mark.parametrize("kept", [["accuracy.json"], ["laptop.json"], ["export.json"]])
    def test_one_record_alone_is_enough(self, files: list[Path], kept: list[str]) -> None:
        chosen = load_overview([path for path in files if path.name in kept])
        parsed = _Page()
        parsed.feed(html_page(chosen))
        assert markdown_text(chosen).startswith("# samedge report")
        assert tidy_csv(chosen)

    def test_masks_of_other_evaluations_stand_beside(self, tmp_path: Path) -> None:
        """One instance, segmented on two machines: in one row, once a subject."""
        first = toys.eval_record(tmp_path)
        example, kept = first.examples[0], first.examples[0].masks[:2]
        left = msgspec.structs.replace(
            first, examples=[msgspec.structs.replace(example, masks=kept)]
        )
        instance = ScoredInstance(
            **msgspec.structs.asdict(example.masks[2]),
            prompt=example.prompt,
            image=example.image,
            annotation_id=example.annotation_id,
            area=1.0,
            boundary_iou=0.5,
            oracle_iou=None,
            predicted_iou=0.5,
            ious_by_click=None,
        )
        right = msgspec.structs.replace(first, examples=[], instances=[instance])
        (row,) = example_rows(compare_records([("a", left), ("b", right)]), photos=False)
        assert [picture.label for picture in row.pictures] == [
            "ground truth",
            "samedge-nano fp32 onnxruntime",
            "samedge-nano bf16 openvino",
            "samedge-nano int8 openvino",
        ]

    def test_a_long_name_leaves_the_axes_alone(self) -> None:
        """A name wider than the figure is cut; it once pushed the axes together."""
        environment = Environment(board="A board with a name " * 8)
        records_ = [("a", toys.bench_record()), ("b", toys.bench_record(environment=environment))]
        page = html_page(compare_records(records_))
        drawn = re.findall(r"<text[^>]*>(?:<tspan[^>]*>)?([^<]+)", page)
        assert max(map(len, drawn)) <= 70

    def test_photos_can_be_left_out_or_missing(self, files: list[Path]) -> None:
        chosen = load_overview([path for path in files if path.name == "accuracy.json"])
        with_photos = html_page(chosen)
        without = html_page(chosen, photos=False)
        assert with_photos != without
        photo = files[0].parent / "images" / "disc.png"
        kept = photo.read_bytes()
        photo.unlink()
        try:
            assert pictures_of(html_page(chosen)) == pictures_of(without)
        finally:
            photo.write_bytes(kept)


def pictures_of(page: str) -> list[str]:
    return re.findall(r"data:image/jpeg;base64,[^\"]+", page)


CHROMIUM = next(
    (p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None
)

FRAME = """<!DOCTYPE html><body><p id="out">none</p>
<script>addEventListener("message", e => out.textContent = e.data)</script>
<iframe src="page.html" style="width:{width}px;height:900px;border:0"></iframe>
<iframe src="probed.html" style="width:{width}px;height:900px;border:0"></iframe>"""

PROBE = """<script>const root = document.documentElement;
addEventListener("load", () => parent.postMessage(
  "overflow " + (root.scrollWidth - root.clientWidth) +
  " figures " + [...document.querySelectorAll("svg")].filter(s => s.clientHeight > 80).length +
  " pictures " + [...document.images].filter(i => i.naturalWidth > 0).length +
  " paper " + getComputedStyle(document.body).backgroundColor, "*"))</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")
@pytest.mark.parametrize(
    ("width", "theme", "paper"),
    [(390, "dark", "rgb(18, 23, 28)"), (1280, "light", "rgb(255, 255, 255)")],
)
def test_in_a_browser(page: str, tmp_path: Path, width: int, theme: str, paper: str) -> None:
    """No console message, nothing wider than the screen, every figure and picture drawn."""
    (tmp_path / "page.html").write_text(page)
    policy = re.search(r"<meta http-equiv[^>]*>", page)  # which forbids every script
    assert policy is not None
    probed = page.replace(policy.group(), "").replace("</body>", f"{PROBE}</body>")
    (tmp_path / "probed.html").write_text(probed)
    (tmp_path / "frame.html").write_text(FRAME.format(width=width))
    arguments = [
        *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
        *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
        *("--disable-sync", "--enable-logging=stderr", "--v=0", "--dump-dom"),
        *("--virtual-time-budget=5000", "--window-size=1400,1000"),
        *([] if theme == "light" else ["--blink-settings=preferredColorScheme=0"]),
        f"--user-data-dir={tmp_path / 'profile'}",
        (tmp_path / "frame.html").as_uri(),
    ]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=600, check=True)
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    assert console == []
    assert f"overflow 0 figures 9 pictures 15 paper {paper}" in done.stdout


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")
def test_the_browser_test_would_notice(tmp_path: Path) -> None:
    """A page with an error in it does leave a line on the console."""
    (tmp_path / "bad.html").write_text("<script>missing()</script>")
    arguments = [
        *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
        *("--disable-background-networking", "--enable-logging=stderr", "--v=0", "--dump-dom"),
        f"--user-data-dir={tmp_path / 'profile'}",
        (tmp_path / "bad.html").as_uri(),
    ]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=600, check=True)
    assert [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
