"""Records as one page, also in a browser."""

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
from samedge.records import Environment, EvalRecord, ScoredInstance
from samedge.report import html_page, load_overview, markdown_text, tidy_csv
from samedge.report.examples import example_rows
from samedge.report.overview import compare_records
from tests.toys import records as toys

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")


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
