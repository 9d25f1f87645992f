"""What a manifest decides: its id, its words, its bounds, and manifests of the schema before."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from samedge.bundle.bundle import Bundle
from samedge.bundle.manifest import Manifest, bundle_id, check_manifest
from samedge.bundle.reading import decode_manifest
from samedge.bundle.thresholds import EverythingRecord, Thresholds
from samedge.errors import BundleError, IncompatibleArtifactError
from samedge.pixels.frames import Frame
from samedge.predict.predictor import Predictor
from samedge.types import Prompt

pytest.importorskip("onnx")

from tests.toys.bundle import SIDE, shapes_of, write_bundle

KEPT = Path(__file__).parents[1] / "assets" / "bundle-1.json"
"""The manifest of the embedded bundle as schema 1 had it."""

Change = Callable[[dict[str, Any]], Any]


@pytest.fixture
def manifest(toy_bundle: Path) -> Manifest:
    return Bundle.open(toy_bundle).manifest


def edited(manifest: Manifest, change: Change) -> bytes:
    document = msgspec.to_builtins(manifest)
    change(document)
    return json.dumps(document).encode()


def read(data: bytes) -> Manifest:
    return decode_manifest(data, Path("the bundle"))


# ---- the id


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["frame"].update(pad_value=[0, 0, 0]),
        lambda m: m["frame"].update(resize="square_bilinear"),
        lambda m: m["frame"].update(mean=[0.0, 0.0, 0.0]),
        lambda m: m.update(prompts=["point"]),
        lambda m: m["thresholds"].update(mask=0.5),
        lambda m: m["thresholds"].update(stability=0.5),
        lambda m: m["thresholds"].update(everything={"crop_layers": 1}),
        lambda m: m.update(backend="openvino"),
        lambda m: m.update(device=None),
        lambda m: m.update(options={"threads": 1}),
        lambda m: m.update(canary_sha256=None),
        lambda m: m["artifacts"][0].update(sha256="0" * 64),
        lambda m: m["graphs"][1].update(shapes=[shapes_of((1, 2))]),
        lambda m: m["graphs"][1].update(options={"threads": 1}),
        lambda m: m["graphs"][1].update(device="cpu"),
    ],
)
def test_id_covers_what_changes_the_results(manifest: Manifest, change: Change) -> None:
    changed = msgspec.json.decode(edited(manifest, change), type=Manifest)
    assert bundle_id(manifest) == manifest.id
    assert bundle_id(changed) != manifest.id
    with pytest.raises(BundleError, match="edited, or belongs to another bundle"):
        read(edited(manifest, change))


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update(notes=["another"]),
        lambda m: m.update(created="2030-01-01T00:00:00Z"),
        lambda m: m["graphs"].reverse(),
        lambda m: m["versions"].update(onnx="9"),
    ],
)
def test_id_leaves_out_what_only_describes(manifest: Manifest, change: Change) -> None:
    assert read(edited(manifest, change)).id == manifest.id


# ---- what a reader does not know it refuses


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update(novelty=1),
        lambda m: m["frame"].update(gamma=2.2),
        lambda m: m["graphs"][0].update(novelty=1),
        lambda m: m["graphs"][0]["inputs"][0].update(novelty=1),
        lambda m: m["artifacts"][0].update(novelty=1),
        lambda m: m["thresholds"].update(novelty=1),
        lambda m: m["model"].update(novelty=1),
        lambda m: m["graphs"][0].update(role="dreamer"),
        lambda m: m.update(prompts=["point", "gesture"]),
    ],
)
def test_what_a_newer_samedge_wrote(manifest: Manifest, change: Change) -> None:
    with pytest.raises(IncompatibleArtifactError, match=r"newer samedge.*[Uu]pgrade"):
        read(edited(manifest, change))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"resize": "squash"}, "resize is 'squash'.*knows longest_side_bilinear, square_bilinear"),
        ({"color": "BGR"}, "color is 'BGR'.*knows RGB"),
        ({"layout": "NCHW"}, "layout is 'NCHW'.*knows NHWC"),
    ],
)
def test_unknown_words_of_the_frame_are_named(
    manifest: Manifest, change: dict[str, str], reason: str
) -> None:
    with pytest.raises(BundleError, match=f"the bundle: .*{reason}"):
        read(edited(manifest, lambda m: m["frame"].update(change)))
    old = json.loads(KEPT.read_text())
    old["preprocessing"].update(change)
    with pytest.raises(BundleError, match=f"the bundle: .*{reason}"):
        read(json.dumps(old).encode())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m: m["frame"].update(target_length=8208), "to 8192"),
        (lambda m: m["frame"].update(target_length=8), "from 16"),
        (lambda m: m["frame"].update(pad_value=[0, -1, 0]), "from 0 to 255"),
        (lambda m: m["frame"].update(std=[0.0, 1.0, 1.0]), "std above 0"),
        (lambda m: m["thresholds"].update(stability=1.5), "stability"),
        (lambda m: m["thresholds"].update(stability_offset=0.0), "stability_offset"),
        (lambda m: m["thresholds"].update(mask=1e9), "mask"),
        (lambda m: m["artifacts"][0].update(bytes=-1), "bytes"),
        (lambda m: m["graphs"][1].update(shapes=[shapes_of((0, 2))]), ">= 1"),
        (lambda m: m["graphs"][1].update(shapes=[{"colour": [1]}]), "'colour' is no input"),
        (lambda m: m["graphs"][1].update(shapes=[{"point_labels": [1]}]), "2 axes and not 1"),
        (lambda m: m.update(prompts=[]), "no kind of prompt"),
        (lambda m: m["graphs"][0]["inputs"][0].update(shape=[1, 3, 64, 64]), "its frame gives"),
    ],
)
def test_values_out_of_bounds(manifest: Manifest, change: Change, reason: str) -> None:
    with pytest.raises(BundleError, match=reason):
        read(edited(manifest, change))


def test_writer_keeps_to_the_same_rules(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="its frame 128"):
        write_bundle(tmp_path / "b", frame=Frame(target_length=128))
    assert not (tmp_path / "b").exists()


# ---- schema 1


def test_settings_of_everything_mode_are_left_out_where_nobody_measured(
    manifest: Manifest,
) -> None:
    """So that the ids of bundles that were there before stay what they are."""
    assert "everything" not in msgspec.to_builtins(manifest)["thresholds"]
    assert manifest.thresholds.own_everything == EverythingRecord()
    own = EverythingRecord(points_per_side=16, suppression=0.8)
    changed = msgspec.structs.replace(
        manifest, thresholds=msgspec.structs.replace(manifest.thresholds, everything=own)
    )
    assert bundle_id(changed) != bundle_id(manifest)
    named = msgspec.structs.replace(changed, id=bundle_id(changed))
    assert read(msgspec.json.encode(named)).thresholds.own_everything == own


@pytest.mark.parametrize(
    "wrong", [{"suppression": 1.5}, {"crop_layers": 9}, {"points_per_side": 0}, {"unheard_of": 1}]
)
def test_settings_of_everything_mode_are_checked(
    manifest: Manifest, wrong: dict[str, float]
) -> None:
    with pytest.raises(BundleError):
        read(edited(manifest, lambda m: m["thresholds"].update(everything=wrong)))


def test_kept_manifest_of_schema_1() -> None:
    old, found = json.loads(KEPT.read_text()), read(KEPT.read_bytes())
    assert found.id == old["id"]
    assert found.frame == Frame(target_length=512)
    assert found.input_size == 512
    assert found.prompt_buckets == ()
    assert [(g.role, g.artifact, g.format) for g in found.graphs] == [
        ("encoder", "encoder.onnx", "onnx"),
        ("decoder", "decoder.onnx", "onnx"),
    ]
    assert [a.sha256 for a in found.artifacts] == [a["sha256"] for a in old["artifacts"]]
    assert found.thresholds == Thresholds(predicted_iou=0.6, stability=0.75)
    assert found.parity is not None
    assert found.canary_sha256 == old["canary_sha256"]
    check_manifest(found, KEPT)


def test_buckets_of_schema_1_become_shapes() -> None:
    old = json.loads(KEPT.read_text())
    buckets = [[1, 4], [16, 4]]
    old.update(prompt_buckets=buckets, options={"buckets": buckets, "tf32": True})
    found = read(json.dumps(old).encode())
    assert found.prompt_buckets == ((1, 4), (16, 4))
    decoder = found.graph("decoder")
    assert decoder is not None
    assert decoder.shapes[1] == {
        "point_coords": [16, 4, 2],
        "point_labels": [16, 4],
        "mask_input": [16, 1, 128, 128],
        "has_mask_input": [16],
    }
    assert found.options == {"tf32": True}
    old.update(prompt_buckets=[[0, 4]])
    with pytest.raises(BundleError, match="prompt_buckets"):
        read(json.dumps(old).encode())


def as_schema_1(folder: Path) -> None:
    """Rewrite a bundle's manifest and canary as they were before."""
    path = folder / "bundle.json"
    new = json.loads(path.read_text())
    files = {record["path"]: record for record in new.pop("artifacts")}
    artifacts = []
    for graph in new.pop("graphs"):
        graph.pop("shapes")
        held = files[graph.pop("artifact")]
        artifacts.append({**graph, **held})
    frame = new.pop("frame")
    frame.pop("target_length")
    with np.load(folder / "canary.npz") as content:
        arrays = dict(content)
    arrays["embeddings"] = arrays.pop("encoder:image_embeddings")
    arrays["low_res_logits"] = arrays.pop("decoder:low_res_masks")
    np.savez_compressed(folder / "canary.npz", **arrays)
    lines = sorted(f"{record['role']} {record['sha256']}" for record in artifacts)
    old = {key: value for key, value in new.items() if key not in ("prompts", "thresholds")}
    old.update(
        schema="samedge.bundle/1",
        id=hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12],
        artifacts=artifacts,
        preprocessing=frame,
        canary_sha256=hashlib.sha256((folder / "canary.npz").read_bytes()).hexdigest(),
    )
    path.write_text(json.dumps(old))


def test_bundle_of_schema_1_gives_the_same_masks(
    toy_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    monkeypatch.setenv("SAMEDGE_CACHE", str(tmp_path / "cache"))
    old = Path(shutil.copytree(toy_bundle, tmp_path / "old"))
    as_schema_1(old)
    image = rng.integers(0, 256, (40, SIDE, 3), dtype=np.uint8)
    prompt = Prompt(points=[[20, 20]])
    with Predictor.from_bundle(toy_bundle) as new, Predictor.from_bundle(old) as one:
        assert one.check_canary()
        given, wanted = one.predict(image, prompt), new.predict(image, prompt)
    assert np.array_equal(given.low_res_logits, wanted.low_res_logits)
    assert np.array_equal(given.masks, wanted.masks)


def test_edited_id_of_schema_1() -> None:
    old = json.loads(KEPT.read_text())
    old["id"] = "0" * 12
    with pytest.raises(BundleError, match="its artifacts make"):
        read(json.dumps(old).encode())


# ---- how pictures are made smaller


def test_a_frame_without_a_rule_is_exact_and_keeps_its_id(manifest: Manifest) -> None:
    document = msgspec.to_builtins(manifest)
    document["frame"].pop("preprocess", None)
    old = msgspec.convert(document, Manifest)
    assert old.frame.rule == "exact"
    assert "preprocess" not in msgspec.to_builtins(old)["frame"]
    assert bundle_id(old) != bundle_id(
        msgspec.structs.replace(old, frame=old.frame.with_rule("fast"))
    )


def test_an_unknown_rule_is_named(manifest: Manifest) -> None:
    with pytest.raises(BundleError, match=r"preprocess is 'guess'.*knows exact, fast"):
        read(edited(manifest, lambda m: m["frame"].update(preprocess="guess")))
