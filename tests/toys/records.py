"""Records of two machines, three bundles and a baseline, made up but with every field in use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from samedge import records
from samedge.benchmark import latency
from samedge.pixels import rle
from samedge.records import (
    BenchRecord,
    DatasetRecord,
    Environment,
    EvalRecord,
    EvalRow,
    Example,
    ExampleMask,
    ExportedArtifact,
    ExportedBundle,
    ExportRecord,
    GpuRecord,
    Power,
    RateRow,
    Subject,
    SustainedRow,
    subject_fields,
)

SUBJECTS = tuple(
    Subject(
        bundle=f"out/{target}-{precision}",
        backend=backend,
        device="cpu",
        backend_version="1.0",
        bundle_id=f"{target}{precision}",
        model="samedge-nano",
        target=target,
        precision=precision,
        input_size=1024,
        artifact_sha256=f"{target}{precision}" * 4,
    )
    for target, precision, backend in (
        ("cpu", "fp32", "onnxruntime"),
        ("intel", "bf16", "openvino"),
        ("intel", "int8", "openvino"),
    )
)
BASELINE = Subject(bundle="baseline:box", backend="numpy", device="cpu")
MILLISECONDS = {"fp32": 95.0, "bf16": 48.0, "int8": 31.0}
IMAGE_SIZE = (240, 320)


def _samples(rng: np.random.Generator, scale: float) -> latency.Samples:
    samples = latency.Samples()
    for block in range(84):
        noise = rng.lognormal(0, 0.01) * (1 + 0.004 * rng.gamma(2, 1, 8))
        samples.add((scale * noise).tolist(), image=block % 3)
    return samples


def bench_record(*, slower: float = 1.0, environment: Environment | None = None) -> BenchRecord:
    """A benchmark of all subjects, every latency multiplied by ``slower``."""
    rng = np.random.default_rng(0)
    shares = {"preprocess": 0.05, "encode": 0.7, "decode": 0.18, "postprocess": 0.07}
    rows, rates, verdicts, sustained = [], [], [], []
    for subject in SUBJECTS:
        total = MILLISECONDS[subject.precision or ""] * slower
        costs = {"load": 9 * total, "first": 1.6 * total, "end_to_end": total}
        costs |= {stage: share * total for stage, share in shares.items()}
        for stage in latency.STAGES:
            samples = _samples(rng, costs[stage])
            samples.cold_ms = 3 * costs[stage] if stage in latency.START_STAGES else None
            size = int(40e6 if subject.precision == "fp32" else 15e6)
            rows.append(
                latency.stage_row(
                    subject,
                    stage,
                    samples=samples,
                    peak_rss_bytes=int(180e6 + 2 * size),
                    artifact_bytes=size,
                )
            )
            if stage == "end_to_end":
                verdicts.append(latency.verdict(subject, samples.values, deadline_ms=50))
        for count in (1, 4, 16, 64):
            frame = total * (0.8 + 0.2 * count)
            rates.append(
                RateRow(
                    prompts_per_frame=count,
                    n=9,
                    p50_ms=frame,
                    frames_per_s=1000 / frame,
                    **subject_fields(subject),
                )
            )
        series = [(5.0 * k, total * (1 + 0.1 * (1 - np.exp(-k / 20)))) for k in range(60)]
        sustained.append(
            SustainedRow(
                seconds=300,
                n=5000,
                first_p50_ms=total,
                last_p50_ms=1.1 * total,
                slowdown=1.1,
                series=series,
                **subject_fields(subject),
            )
        )
    return BenchRecord(
        environment=environment
        or Environment(cpu="Some CPU", cores=8, memory_bytes=2**34, os="OS"),
        results=rows,
        comparisons=list(latency.compare(rows)),
        prompt_rate=rates,
        sustained=sustained,
        deadline=verdicts,
        warnings=["The machine runs on battery."] if slower > 1 else [],
        command="samedge bench --effort strict -o latency.json",
    )


def other_machine() -> Environment:
    """A board with a GPU."""
    return Environment(
        board="NVIDIA Jetson Orin NX",
        cpu="Cortex-A78AE",
        cores=8,
        memory_bytes=2**34,
        os="Ubuntu 22.04",
        gpus=[GpuRecord(name="Orin", driver="540.4")],
        power=Power(
            nvpmodel="MAXN", temperature_c=51.2, on_battery=False, rails_mw={"VDD_IN": 4971}
        ),
    )


def disc(shift: int = 0) -> np.ndarray:
    """A disc in the picture, shifted to the right."""
    ys, xs = np.mgrid[: IMAGE_SIZE[0], : IMAGE_SIZE[1]]
    return np.asarray(np.hypot(xs - 150 - shift, ys - 120) < 60)


def eval_record(images_dir: Path) -> EvalRecord:
    """An evaluation of all subjects and the baseline, with one picture written to the folder."""
    images_dir.mkdir(parents=True, exist_ok=True)
    picture = np.where(disc()[..., None], (214, 150, 60), (70, 110, 90)).astype(np.uint8)
    Image.fromarray(picture).save(images_dir / "disc.png")
    rows: list[EvalRow] = []
    for index, subject in enumerate((*SUBJECTS, BASELINE)):
        is_baseline = subject is BASELINE
        rows += [
            _row(subject, prompt, 0.72 - 0.012 * index - drop - 0.1 * is_baseline)
            for prompt, drop in (("box", 0.0), ("center", 0.21), ("clicks:3", 0.06))
            if not (is_baseline and prompt != "box")
        ]
    shown = [(rank, shift) for rank, shift in (("best", 1), ("median", 12), ("worst", 70))]
    return EvalRecord(
        dataset=DatasetRecord(
            path="instances.json",
            images=150,
            instances=1282,
            skipped={"iscrowd": 12},
            images_dir=str(images_dir),
        ),
        results=rows,
        examples=[_example(rank, shift) for rank, shift in shown],
        command="samedge eval --dataset instances.json --images photos -o accuracy.json",
        seconds=100.0,
    )


def _row(subject: Subject, prompt: str, miou: float) -> EvalRow:
    clicks = [miou - 0.15, miou - 0.05, miou] if prompt == "clicks:3" else None
    return EvalRow(
        prompt=prompt,
        n=1282,
        miou=miou,
        miou_small=miou - 0.1,
        miou_medium=miou,
        miou_large=miou + 0.1,
        boundary_iou=miou - 0.12,
        ci95=(miou - 0.018, miou + 0.017),
        miou_oracle=miou + 0.07 if prompt == "center" else None,
        miou_by_click=clicks,
        **subject_fields(subject),
    )


def _example(rank: str, shift: int) -> Example:
    masks = [
        ExampleMask(
            bundle=subject.bundle,
            backend=subject.backend,
            device=subject.device,
            iou=1 - 0.01 * shift,
            rle=rle.rle_from_mask(disc(shift)),
        )
        for subject in (*SUBJECTS, BASELINE)
    ]
    return Example(
        rank=rank,
        prompt="box",
        image="disc.png",
        annotation_id=7,
        truth=rle.rle_from_mask(disc()),
        masks=masks,
    )


def export_record() -> ExportRecord:
    """An export with a precision plan of three kinds."""
    plan: list[dict[str, Any]] = [
        {
            "module": f"image_encoder.stages.{index // 4}.blocks.{index % 4}",
            "precision": "fp32" if index == 9 else "bf16" if index % 5 == 0 else "int8",
            "drop": round(0.02 / (1 + abs(index - 9)), 5),
            "reason": "measured",
        }
        for index in range(16)
    ]
    return ExportRecord(
        bundle=ExportedBundle(path="out/intel-int8", id="intelint8"),
        artifacts=[
            ExportedArtifact(
                role=role,
                path=f"{role}.xml",
                bytes=size,
                sha256="0123456789abcdef" * 4,
                format="openvino",
                precision="int8",
            )
            for role, size in (("encoder", 9_000_000), ("decoder", 6_000_000))
        ],
        parity={
            "images": 4,
            "prompts": 12,
            "mask_iou_mean": 0.981,
            "mask_iou_p05": 0.95,
            "embedding_cosine_min": 0.9971,
            "passed": True,
        },
        plan=plan,
        seconds=81.0,
        command="samedge export --target intel --precision int8 -o out/intel-int8",
    )


def write_all(folder: Path) -> list[Path]:
    """Write every record into a folder and return the paths."""
    made: dict[str, records.Record] = {
        "accuracy.json": eval_record(folder / "images"),
        "laptop.json": bench_record(),
        "jetson.json": bench_record(slower=2.5, environment=other_machine()),
        "export.json": export_record(),
    }
    for name, record in made.items():
        records.write(record, folder / name)
    return [folder / name for name in made]
