"""Exported bundles against the official SAM ONNX decoder and the plainly exported encoder.

One set of random MobileSAM weights, one process, every round runs every contender a few times, so
that whatever else the machine does hits all alike; medians, and their ratios. Before each of them
there is a pause: ONNX Runtime's threads go on spinning for tens of milliseconds after a run, on the
very cores that the next contender needs.

    python benchmarks/foundation_speed.py --graphs build/speed --export-only
    python benchmarks/foundation_speed.py --graphs build/speed \\
        -o benchmarks/results/foundation_speed.json

The first line writes the graphs, which takes minutes; the second measures them, in about one.

Contenders, one click on a 768x1024 photo:

* official: ``segment_anything.utils.onnx.SamOnnxModel``, exported as Meta's script does, with the
  single mask that its notebook asks for, on ONNX Runtime. It upscales to the photo's size inside.
* cpu, intel: the decoders of samedge's bundles, opened by samedge's own backends. They end at
  low-res logits; ``+ mask`` adds the runtime's selection and upscaling, so that both sides end with
  a mask of the photo's size.
* plain: ``torch.onnx.export`` of the image encoder on normalised float input, on ONNX Runtime.

On a machine that is busy with other things, ``--clock cpu`` runs every contender on one thread and
counts the processor time of that thread, which is what the wall clock would show were it alone.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime
import torch
from torch import nn

from samedge import runtimes
from samedge._version import __version__
from samedge.bundle.bundle import Bundle
from samedge.export.pipeline import export
from samedge.export.sources import photo_paths
from samedge.files.lines import created_now
from samedge.machine.environment import environment
from samedge.models._tinyvit import ENCODER, TinyViTConfig
from samedge.models.keymaps import META
from samedge.models.sam import Sam, build_sam
from samedge.pixels.frames import Frame
from samedge.pixels.prompts import feeds_of
from samedge.predict.predictor import Predictor
from samedge.types import Prompt

ORIGINAL = (768, 1024)
PRECISIONS = {"cpu": "fp32", "intel": "bf16"}
"""The float defaults of both targets; quantized bundles have a benchmark of their own."""
PHOTOS = 2
PAUSE_S = 0.2
REPEATS = 3
BARS = {
    "cpu decoder": ("official decoder", 1.5),
    "intel decoder": ("official decoder", 3.0),
    "intel encoder": ("plain encoder", 1.5),
}
Call = Callable[[], Any]
Times = dict[str, list[float]]


def models() -> tuple[Sam, Any]:
    """Our MobileSAM with random weights, and Meta's decoder with the same ones."""
    from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer
    from segment_anything.modeling import Sam as MetaSam

    torch.manual_seed(0)
    ours = build_sam(ENCODER.build(TinyViTConfig())).eval().requires_grad_(requires_grad=False)
    stand_in = nn.Identity()
    stand_in.img_size = 1024  # type: ignore[assignment]  # all that the export asks of it
    transformer = TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8)
    theirs = MetaSam(
        stand_in,
        PromptEncoder(256, (64, 64), (1024, 1024), 16),
        MaskDecoder(transformer_dim=256, transformer=transformer),
    ).eval()
    state = theirs.state_dict()
    for name, tensor in ours.state_dict().items():
        if not name.startswith("image_encoder."):
            tensor.copy_(torch.cat([state[source] for source in META.sources(name)]))
    return ours, theirs


def some_photos(folder: Path) -> Path:
    """A folder with the first of samedge's own photos: parity is not what is measured here."""
    folder.mkdir()
    for path in photo_paths(None)[:PHOTOS]:
        shutil.copy(path, folder)
    return folder


def onnx_session(path: Path, threads: int) -> Any:
    """ONNX Runtime as anybody opens it; ``threads`` is 0 for its default."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(
        str(path), sess_options=options, providers=["CPUExecutionProvider"]
    )


def official_decoder(theirs: Any, path: Path) -> None:
    """Meta's ``export_onnx_model.py --return-single-mask``."""
    from segment_anything.utils.onnx import SamOnnxModel

    inputs = {
        "image_embeddings": torch.randn(1, 256, 64, 64),
        "point_coords": torch.randint(0, 1024, (1, 5, 2)).float(),
        "point_labels": torch.randint(0, 4, (1, 5)).float(),
        "mask_input": torch.randn(1, 1, 256, 256),
        "has_mask_input": torch.tensor([1.0]),
        "orig_im_size": torch.tensor([1500.0, 2250.0]),
    }
    points = {1: "num_points"}
    _plain_export(
        SamOnnxModel(theirs, return_single_mask=True),
        inputs,
        path,
        outputs=["masks", "iou_predictions", "low_res_masks"],
        axes={"point_coords": points, "point_labels": points},
    )


def plain_encoder(ours: Sam, path: Path) -> None:
    """The image encoder as it is, on normalised float input."""
    inputs = {"x": torch.randn(1, 3, 1024, 1024)}
    _plain_export(ours.image_encoder, inputs, path, outputs=["image_embeddings"], axes={})


def _plain_export(
    module: nn.Module,
    inputs: dict[str, torch.Tensor],
    path: Path,
    *,
    outputs: list[str],
    axes: dict[str, dict[int, str]],
) -> None:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            tuple(inputs.values()),
            str(path),
            opset_version=17,
            do_constant_folding=True,
            input_names=list(inputs),
            output_names=outputs,
            dynamic_axes=axes,
            dynamo=False,
        )


def decoder_contenders(
    official: Any, bundles: dict[str, Bundle], stack: list[Any], threads: int
) -> dict[str, Call]:
    """Every way to decode one click, on the same embedding and the same click."""
    prompt = Prompt(points=[[400.0, 300.0]])
    embedding = np.random.default_rng(0).standard_normal((1, 256, 64, 64)).astype(np.float32)
    feeds = feeds_of([prompt], Frame(target_length=1024).view(ORIGINAL))
    ours = {"image_embeddings": embedding, **feeds}
    theirs = {**ours, "orig_im_size": np.array(ORIGINAL, np.float32)}
    calls: dict[str, Call] = {"official decoder": functools.partial(official.run, None, theirs)}
    image = np.random.default_rng(1).integers(0, 255, (*ORIGINAL, 3), np.uint8)
    for name, bundle in bundles.items():
        session = opened(bundle, "decoder", stack, threads)
        calls[f"{name} decoder"] = functools.partial(session.run, ours)
        predictor = Predictor.from_bundle(bundle.path, threads=threads or None)
        stack.append(predictor)
        encoded = predictor.encode(image)
        calls[f"{name} decoder + mask"] = functools.partial(predictor.decode, encoded, prompt)
    return calls


def encoder_contenders(
    plain: Any, bundles: dict[str, Bundle], stack: list[Any], threads: int
) -> dict[str, Call]:
    """Every way to encode one padded picture."""
    image = np.random.default_rng(1).integers(0, 255, (*ORIGINAL, 3), np.uint8)
    pixels = Frame(target_length=1024).view_of(image).encoder_input(image)
    normalised = np.random.default_rng(2).standard_normal((1, 3, 1024, 1024)).astype(np.float32)
    calls: dict[str, Call] = {
        "plain encoder": functools.partial(plain.run, None, {"x": normalised})
    }
    for name, bundle in bundles.items():
        session = opened(bundle, "encoder", stack, threads)
        calls[f"{name} encoder"] = functools.partial(session.run, {"image": pixels})
    return calls


def opened(bundle: Bundle, role: str, stack: list[Any], threads: int) -> Any:
    """A graph of a bundle on the bundle's own backend, with the bundle's own options."""
    manifest = bundle.manifest
    options = {**manifest.options, "threads": threads}
    session = runtimes.get(manifest.backend).open(
        bundle.artifact_path(role), device=manifest.device, options=options
    )
    stack.append(session)
    return session


def interleaved(
    calls: dict[str, Call], rounds: int, *, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Milliseconds of every call, ``REPEATS`` a round, in an order that rotates.

    The first call of each turn does not count, so that caches hold the contender's own weights, and
    neither does the first round.
    """
    names = list(calls)
    times: dict[str, list[float]] = {name: [] for name in names}
    for index in range(1 + rounds):
        shift = index % len(names)
        for name in names[shift:] + names[:shift]:
            time.sleep(PAUSE_S)
            calls[name]()
            for _ in range(REPEATS if index else 0):
                start = clock()
                calls[name]()
                times[name].append((clock() - start) * 1e3)
    return times


def summary(times: dict[str, list[float]]) -> dict[str, dict[str, float | int]]:
    """Median, quartiles and minimum of every contender."""
    return {
        name: {
            "n": len(values),
            "p50_ms": round(float(np.median(values)), 3),
            "p25_ms": round(float(np.percentile(values, 25)), 3),
            "p75_ms": round(float(np.percentile(values, 75)), 3),
            "min_ms": round(min(values), 3),
        }
        for name, values in times.items()
    }


def verdicts(rows: dict[str, dict[str, float | int]]) -> list[dict[str, Any]]:
    """Each bar with the ratio of the medians."""
    return [
        {
            "contender": name,
            "against": against,
            "bar": bar,
            "ratio_of_medians": round(rows[against]["p50_ms"] / rows[name]["p50_ms"], 3),
            "ratio_of_minima": round(rows[against]["min_ms"] / rows[name]["min_ms"], 3),
            "held": rows[against]["p50_ms"] / rows[name]["p50_ms"] >= bar,
        }
        for name, (against, bar) in BARS.items()
    ]


def written(folder: Path, ours: Sam, theirs: Any) -> dict[str, Bundle]:
    """Export every graph that ``folder`` lacks; samedge's bundles by target."""
    photos = folder / "photos"
    if not photos.is_dir():
        some_photos(photos)
        official_decoder(theirs, folder / "official.onnx")
        plain_encoder(ours, folder / "plain.onnx")
    for target, wish in PRECISIONS.items():
        if not (folder / target).is_dir():
            export(ours, target, precision=wish, output=folder / target, images=photos)
    return {target: Bundle.open(folder / target) for target in PRECISIONS}


def measured(folder: Path, bundles: dict[str, Bundle], arguments: argparse.Namespace) -> Times:
    """Times of every contender."""
    clock = time.process_time if arguments.clock == "cpu" else time.perf_counter
    threads = 1 if arguments.clock == "cpu" else 0
    stack: list[Any] = []
    official = onnx_session(folder / "official.onnx", threads)
    decoders = decoder_contenders(official, bundles, stack, threads)
    times = interleaved(decoders, arguments.decoder_rounds, clock=clock)
    plain = onnx_session(folder / "plain.onnx", threads)
    encoders = encoder_contenders(plain, bundles, stack, threads)
    times |= interleaved(encoders, arguments.encoder_rounds, clock=clock)
    for item in stack:
        item.close()
    return times


def record(times: Times, bundles: dict[str, Bundle], load: tuple[float, float, float]) -> Any:
    """The document: what was measured, on what, and how it stands against the bars."""
    rows = summary(times)
    manifests = {name: bundle.manifest for name, bundle in bundles.items()}
    return {
        "benchmark": "foundation_speed",
        "created": created_now(),
        "samedge_version": __version__,
        "environment": msgspec.to_builtins(environment()),
        "load_average": {"before": load, "after": os.getloadavg()},
        "bundles": {
            name: {"precision": m.precision, "parity": msgspec.to_builtins(m.parity)}
            for name, m in manifests.items()
        },
        "results": rows,
        "bars": verdicts(rows),
    }


def main() -> None:
    """Export, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--graphs", type=Path, help="folder of the graphs, kept for the next time")
    parser.add_argument("--export-only", action="store_true")
    parser.add_argument("--decoder-rounds", type=int, default=20)
    parser.add_argument("--encoder-rounds", type=int, default=5)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder: Path = arguments.graphs or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        bundles = written(folder, *models())
        if arguments.export_only:
            return
        load = os.getloadavg()
        times = measured(folder, bundles, arguments)
    document = {"clock": arguments.clock, **record(times, bundles, load)}
    print(json.dumps({"results": document["results"], "bars": document["bars"]}, indent=1))
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
