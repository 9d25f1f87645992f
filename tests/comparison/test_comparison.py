"""`samedge compare`: what runs here, measured in rounds, kept between sittings, and judged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from samedge.benchmark.latency import Samples, stage_row
from samedge.benchmark.plan import Plan
from samedge.benchmark.process import ChosenSubject
from samedge.bundle.bundle import Bundle, embedded_path
from samedge.bundle.writer import BundleWriter
from samedge.comparison import exporting, losses, named, rounds, run
from samedge.comparison.losses import Score
from samedge.comparison.released import released
from samedge.comparison.store import LOCK, Agreed, Identity, Store
from samedge.comparison.subjects import wanted_subjects
from samedge.errors import DatasetError, ImageError, OptionError, UnknownNameError
from samedge.files.locking import locked
from samedge.formats.results import Masks
from samedge.records import BenchRecord, Environment, StageRow, Subject
from samedge.report.decision import Limits, Loss
from samedge.runtimes.base import Probe
from samedge.types import ActiveBackend, Array, Prompt, Steps
from tests.cli.json_page import pattern, untold

IDENTITY = Identity(model="samedge-nano", photos=["a.jpg 1"], prompts="box")


def bench_record(*rows: StageRow) -> BenchRecord:
    return BenchRecord(environment=Environment(), results=list(rows))


def timed(bundle: str, blocks: list[list[float]]) -> StageRow:
    samples = Samples(blocks=blocks, images=[0] * len(blocks))
    subject = Subject(bundle=bundle, backend="null")
    return stage_row(
        subject,
        "end_to_end",
        samples=samples,
        peak_rss_bytes=1,
        artifact_bytes=2,
        keep_samples=True,
    )


class TestRounds:
    def test_blocks_of_all_rounds_are_paired(self) -> None:
        rows = [
            (timed("a", [[10.0], [10.0], [11.0]]), timed("b", [[20.0], [20.0], [22.0]])),
            (timed("a", [[10.0], [12.0]]), timed("b", [[20.0], [24.0]])),
        ]
        whole = rounds.joined([bench_record(*pair) for pair in rows])
        found = rounds.ratio(whole, "a", against="b")
        assert found is not None
        assert found[0] == pytest.approx(2.0)
        assert [row.n for row in whole.results] == [5, 5]
        assert [row.samples for row in whole.results] == [None, None]

    def test_figures_are_those_of_all_samples(self) -> None:
        halves = [timed("a", [[1.0, 2.0, 9.0]]), timed("a", [[3.0, 4.0]])]
        (row,) = rounds.joined([bench_record(half) for half in halves]).results
        assert (row.p50_ms, row.min_ms, row.max_ms) == (3.0, 1.0, 9.0)

    def test_too_few_pairs_say_nothing(self) -> None:
        whole = rounds.joined([bench_record(timed("a", [[1.0]]), timed("b", [[1.0]]))])
        assert rounds.ratio(whole, "a", against="b") is None

    def test_the_deadline_is_judged_over_all_rounds(self) -> None:
        halves = [timed("a", [[1.0] * 400]), timed("a", [[1.0] * 400])]
        whole = rounds.joined([bench_record(half) for half in halves], deadline_ms=2.0)
        assert [verdict.met for verdict in whole.deadline] == [True]

    def test_a_warning_of_every_round_stands_once(self) -> None:
        noisy = ["Other processes used 20% of it", "Other processes used 40% of it"]
        parts = [
            msgspec.structs.replace(bench_record(timed("a", [[1.0]])), warnings=[text])
            for text in noisy
        ]
        assert rounds.joined(parts).warnings == noisy[1:]


class TestLosses:
    def test_a_loss_is_paired_by_prompt(self) -> None:
        def scores(shift: float) -> list[Score]:
            return [
                Score(image=f"{i}.jpg", prompt="box", key=k, iou=0.1 * i + 0.01 * k - shift)
                for i in range(8)
                for k in range(3)
            ]

        (found,) = losses.loss_against(scores(0.02), list(reversed(scores(0.0))))
        assert found.value == pytest.approx(0.02)
        assert found.low == pytest.approx(0.02)  # the images differ, the differences do not
        assert not found.agreement

    def test_prompts_stay_apart(self) -> None:
        own = [
            Score(image="a", prompt=prompt, key=0, iou=iou)
            for prompt, iou in (("box", 0.9), ("click", 0.6))
        ]
        assert [loss.value for loss in losses.agreement_losses(own)] == pytest.approx([0.1, 0.4])

    def test_photos_of_one_name_in_two_folders_are_two(self, tmp_path: Path) -> None:
        """Else the interval over images would know one photo, and be none."""
        photos = [tmp_path / folder / "1.png" for folder in ("a", "b")]
        for photo in photos:
            photo.parent.mkdir()
            Image.new("RGB", (8, 8)).save(photo)
        agreement = losses.Agreement(_Half(), photos)  # type: ignore[arg-type]
        found = losses.agreement_losses(agreement.scores(_Half()))  # type: ignore[arg-type]
        assert [loss.low for loss in found] == [0.0, 0.0]

    def test_of_many_photos_the_ones_that_count_are_told(self) -> None:
        photos = tuple(Path(f"{number}.jpg") for number in range(100))
        request = exporting.Request(model="m", output=Path("c"), photos=photos)
        assert len(losses.compared_photos(photos)) == 20
        assert run._measured_on(request, "cpu fp32").startswith("20 photos")


class _Half:
    """A predictor whose every mask is the left half."""

    def encode(self, image: Array) -> Array:
        return image

    def decode_batch(self, image: Array, prompts: Sequence[Prompt]) -> list[Masks]:
        mask = np.zeros((1, *image.shape[:2]), np.bool_)
        mask[..., : image.shape[1] // 2] = True
        one = np.ones(1, np.float32)
        return [Masks(mask, one, one, one, ActiveBackend("half", None, "cpu")) for _ in prompts]


class TestStore:
    def test_other_weights_in_the_same_file_are_another_comparison(self, tmp_path: Path) -> None:
        photo, weights = tmp_path / "p.jpg", tmp_path / "w.safetensors"
        photo.write_bytes(b"x")
        weights.write_bytes(b"first")
        request = exporting.Request(model=str(weights), output=tmp_path / "c", photos=(photo,))
        Store(tmp_path / "c", run._identity(request))
        weights.write_bytes(b"again")
        with pytest.raises(DatasetError, match="weights_sha256 differs"):
            Store(tmp_path / "c", run._identity(request))

    def test_photos_of_equal_name_and_size_are_told_apart(self, tmp_path: Path) -> None:
        """Cameras number their photos anew in every folder."""
        photos = [tmp_path / folder / "1.bmp" for folder in ("a", "b")]
        for photo, colour in zip(photos, ("red", "blue"), strict=True):
            photo.parent.mkdir()
            Image.new("RGB", (8, 8), colour).save(photo)
        first, second = (
            exporting.Request(model="m", output=tmp_path / "c", photos=(photo,)) for photo in photos
        )
        Store(tmp_path / "c", run._identity(first))
        Store(tmp_path / "c", run._identity(first))
        with pytest.raises(DatasetError, match="contents_sha256 differs"):
            Store(tmp_path / "c", run._identity(second))

    def test_other_pictures_of_a_dataset_are_another_comparison(self, tmp_path: Path) -> None:
        truth, picture = tmp_path / "truth.json", tmp_path / "1.png"
        image = {"id": 1, "file_name": "1.png", "width": 8, "height": 8}
        area = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[1, 1, 6, 1, 6, 6]]}
        truth.write_text(json.dumps({"images": [image], "annotations": [area]}), encoding="utf-8")
        request = exporting.Request(
            model="m", output=tmp_path / "c", photos=(), dataset=(truth, tmp_path)
        )
        with pytest.raises(DatasetError, match=r"there is no .*1\.png"):
            run._identity(request)
        found = []
        for colour in ("red", "blue"):
            Image.new("RGB", (8, 8), colour).save(picture)
            found.append(run._identity(request).contents_sha256)
        assert found[0] != found[1]

    def test_a_folder_of_an_earlier_samedge_says_so(self, tmp_path: Path) -> None:
        Store(tmp_path / "c", IDENTITY)
        with pytest.raises(DatasetError, match="an earlier samedge began it"):
            Store(tmp_path / "c", msgspec.structs.replace(IDENTITY, contents_sha256="ab"))

    def test_another_comparison_is_refused(self, tmp_path: Path) -> None:
        Store(tmp_path / "c", IDENTITY)
        Store(tmp_path / "c", IDENTITY)
        with pytest.raises(DatasetError, match="model differs"):
            Store(tmp_path / "c", msgspec.structs.replace(IDENTITY, model="other"))

    def test_a_folder_of_something_else_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.txt").write_text("mine", encoding="utf-8")
        with pytest.raises(DatasetError, match="something else"):
            Store(tmp_path, IDENTITY)
        assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]

    def test_a_damaged_request_is_named(self, tmp_path: Path) -> None:
        Store(tmp_path / "c", IDENTITY)
        (tmp_path / "c" / "request.json").write_bytes(b'{"model": ')
        with pytest.raises(DatasetError, match=r"request\.json is damaged"):
            Store(tmp_path / "c", IDENTITY)


class TestSubjects:
    def test_only_what_is_here_is_wanted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        present = Probe(available=True, version="1", devices=("cpu",), detail="here")
        absent = Probe(available=False, detail="not installed")

        class Stub:
            def __init__(self, name: str) -> None:
                self.name = name

            def probe(self) -> Probe:
                return present if self.name == "onnxruntime" else absent

        monkeypatch.setattr("samedge.runtimes.get", Stub)
        wanted, left_out = wanted_subjects()
        assert [one.name for one in wanted] == ["cpu fp32", "cpu int8"]
        reasons = {one.target: one.why for one in left_out}
        assert reasons["intel"] == "not installed"
        assert "cuda:0" in reasons["cuda"]

    def test_names_are_checked(self) -> None:
        with pytest.raises(UnknownNameError, match="cpuu"):
            wanted_subjects(["cpuu"])


class TestReleasedMemory:
    @pytest.fixture
    def bundle(self, tmp_path: Path) -> Path:
        """The embedded model as a bundle of OpenVINO's, without its canary's work."""
        own = Bundle.open(embedded_path("samedge-pico"))
        with BundleWriter(tmp_path / "intel-fp32") as writer:
            for artifact in own.manifest.artifacts:
                for name in artifact.files:
                    (writer.folder / name).write_bytes((own.folder / name).read_bytes())
            manifest = msgspec.structs.replace(
                own.manifest, backend="openvino", target="intel", device="CPU", options={}
            )
            writer.commit(manifest, canary=own.canary())
        return tmp_path / "intel-fp32"

    @staticmethod
    def peaks(*rows: tuple[Path, int]) -> BenchRecord:
        return bench_record(
            *(
                msgspec.structs.replace(timed(str(path), [[10.0]]), peak_rss_bytes=peak)
                for path, peak in rows
            )
        )

    @staticmethod
    def subject(path: Path) -> exporting.ComparedSubject:
        loss = Loss(measure="box agreement", value=0.1, low=None, high=None, n=1)
        return exporting.ComparedSubject("intel fp32", "intel", "fp32", path, losses=[loss])

    def test_what_is_over_the_limit_becomes_another_bundle(
        self, bundle: Path, tmp_path: Path
    ) -> None:
        given = [self.subject(bundle)]
        record = self.peaks((bundle, 500))
        (found,) = released(given, record, limit_bytes=400, folder=tmp_path)
        assert found.released
        assert found.name == "intel fp32, memory released"
        assert found.losses == given[0].losses
        made, source = Bundle.open(found.path), Bundle.open(bundle)
        assert made.manifest.options == {"release_memory": True}
        assert made.manifest.artifacts == source.manifest.artifacts
        assert made.manifest.canary_sha256 == source.manifest.canary_sha256
        assert made.id != source.id
        written = (found.path / "bundle.json").stat().st_mtime_ns
        (again,) = released(given, record, limit_bytes=400, folder=tmp_path)
        assert (again.path / "bundle.json").stat().st_mtime_ns == written, "it was there already"
        assert not released([found], self.peaks((found.path, 500)), limit_bytes=4, folder=tmp_path)

    def test_what_fits_or_cannot_release_stays_alone(self, bundle: Path, tmp_path: Path) -> None:
        record = self.peaks((bundle, 400), (embedded_path("samedge-pico"), 500))
        other = self.subject(embedded_path("samedge-pico"))  # ONNX Runtime has no such option
        assert (
            released([self.subject(bundle), other], record, limit_bytes=400, folder=tmp_path) == []
        )

    def test_all_rounds_are_run_with_it_and_it_is_chosen(
        self, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls: list[list[str]] = []
        plans: list[Plan] = []

        def bench(subjects: list[ChosenSubject], plan: Plan) -> BenchRecord:
            plans.append(plan)
            names = [str(subject.bundle) for subject in subjects]
            calls.append([Path(name).name for name in names])
            rows = self.peaks(*((Path(n), 300 if "released" in n else 500) for n in names)).results
            ids = {name: Bundle.open(name, verify=False).id for name in names}
            return bench_record(
                *(msgspec.structs.replace(row, bundle_id=ids[row.bundle]) for row in rows)
            )

        monkeypatch.setattr(run, "bench", bench)
        monkeypatch.setattr(run, "wanted_subjects", lambda *_, **__: ([], []))
        monkeypatch.setattr(run, "_measure_losses", lambda *_: None)
        photo = tmp_path / "p.jpg"
        photo.write_bytes(b"x")
        request = exporting.Request(
            model="samedge-pico",
            output=tmp_path / "c",
            photos=(photo,),
            bundles=(bundle,),
            limits=Limits(memory_bytes=400),
            rounds=2,
        )
        said: list[str] = []
        found = run.compare(request, stage=said.append)
        assert said[-1] == "round 2 of 2"
        assert plans[0].deadline_count * 2 >= 662 > plans[0].deadline_count, "of all rounds"
        assert [row.released for row in found.rows] == [False, True]
        assert found.recommendation.chosen == found.rows[1].name
        assert "with its memory released" in found.recommendation.sentence
        assert [len(names) for names in calls] == [1, 2, 2]
        assert run.compare(request).recommendation == found.recommendation
        assert len(calls) == 3, "what an earlier sitting measured is kept"


def test_agreement_counts_for_the_very_bundles(tmp_path: Path) -> None:
    store = Store(tmp_path / "c", IDENTITY)
    scores = [Score(image="a", prompt="box", key=0, iou=0.9)]
    store.keep_scores("x", Agreed(bundle_id="1", baseline_id="2", scores=scores))
    assert store.scores("x", bundle_id="1", baseline_id="2") == scores
    assert store.scores("x", bundle_id="3", baseline_id="2") is None
    assert store.scores("x", bundle_id="1", baseline_id="3") is None
    store.path("agreement", "x").write_bytes(msgspec.json.encode(scores))  # as it was kept before
    assert store.scores("x", bundle_id="1", baseline_id="2") is None


def test_bundles_of_one_name_stay_apart(tmp_path: Path) -> None:
    """Two folders called alike would share their scores, and the row of one."""
    paths = [tmp_path / folder / "out" for folder in ("old", "new")]
    for path in paths:
        shutil.copytree(embedded_path("samedge-pico"), path)
    found = list(exporting.foreign([*paths, paths[0]], Steps()))
    assert [one.name for one in found] == ["old/out (cpu fp32)", "new/out (cpu fp32)"]
    assert [one.path for one in found] == paths


def test_a_photo_that_cannot_be_read_ends_it_before_the_exports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    monkeypatch.setattr(run, "compare", lambda *_, **__: pytest.fail("the work has begun"))
    with pytest.raises(ImageError, match=r"a\.jpg is empty"):
        named.compare(tmp_path, output=tmp_path / "c")


def test_without_photos_there_is_nothing_to_compare_on(tmp_path: Path) -> None:
    request = exporting.Request(model="samedge-nano", output=tmp_path / "c", photos=())
    with pytest.raises(DatasetError, match="no photo"):
        run.compare(request)


@pytest.mark.parametrize(
    "limits",
    [{"minutes": float("nan")}, {"memory_mb": -1}, {"deadline_ms": "33"}, {"max_drop": 2}],
)
def test_limits_that_are_none_are_refused(limits: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=f"{next(iter(limits))} is .*, expected"):
        named.compare(output=tmp_path / "c", **limits)
    assert not (tmp_path / "c").exists()


def test_two_comparisons_do_not_share_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would time the other one, too."""
    monkeypatch.setattr(run, "wanted_subjects", lambda *_, **__: ([], []))
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    request = exporting.Request(
        model="samedge-nano", output=tmp_path / "c", photos=(tmp_path / "a.png",)
    )
    run.compare(request)
    with locked(tmp_path / "c", LOCK), pytest.raises(OptionError, match="Another process works"):
        run.compare(request)
    run.compare(request)


def test_the_page_tells_every_field() -> None:
    assert untold("compare", pattern(msgspec.inspect.type_info(run.CompareRecord))) == []
