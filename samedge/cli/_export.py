"""``samedge export``: a model to a verified bundle for a named platform."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from samedge.cli import output
from samedge.cli.name_types import OneOf
from samedge.cli.refusing import refuse_output

if TYPE_CHECKING:
    from rich.table import Table

    from samedge.export import ExportResult

EPILOG = """\b
Examples:
  samedge export --target intel
  samedge export --target cpu --model mobile-sam -o out/cpu
  samedge export --target intel --checkpoint sam_vit_b.pth --precision fp32 -o vit-b.samedge
  samedge export --target intel --calibration my-photos/ --max-drop 0.02 --json
"""


@click.command("export", epilog=EPILOG)
@click.option(
    "--target", required=True, metavar="T", help="Platform, one of those that `targets` lists."
)
@click.option(
    "--model",
    metavar="M",
    help="Model, one of those that `models` lists. [default: samedge-nano]",
)
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Weights of your own instead: official SAM or MobileSAM, Hugging Face, or samedge's.",
)
@click.option(
    "--precision",
    default="auto",
    show_default=True,
    metavar="P",
    help="auto, fp32, fp16, bf16, int8, ...; `targets` lists what each platform runs.",
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Photos like those that the device will see, or a COCO file beside them: calibrates INT8, "
    "and measures accuracy. [default: samedge's own four]",
)
@click.option(
    "--plan",
    "plan_path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="JSON",
    help="Precisions by module, from `samedge calibrate` and perhaps edited.",
)
@click.option(
    "--input-size",
    type=click.IntRange(64, 4096),
    metavar="PX",
    help="Side of the square input, pixels, a multiple of 32. [default: the model's own]",
)
@click.option(
    "-o",
    "--output",
    "output_path",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The bundle: a folder, or a file that ends in .samedge. [default: out/TARGET]",
)
@click.option(
    "--max-drop",
    type=click.FloatRange(0.0, 1.0),
    metavar="IOU",
    help="Mean mask IoU that may be lost against fp32 with boxes; twice that with clicks. "
    "[default: 0.005]",
)
@click.option(
    "--undecided",
    type=OneOf("verdict", ("pass", "fail")),
    default="pass",
    show_default=True,
    metavar="pass|fail",
    help="What holds where the photos cannot tell whether more than that is lost: the bundle is "
    "written and says so, or refused.",
)
@click.option(
    "--gate-seconds",
    type=click.FloatRange(0.0),
    metavar="S",
    help="How long the accuracy of one precision is measured at most. [default: 60]",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="N",
    help="Of the pictures that accuracy is measured on.",
)
@click.option("--no-gate", is_flag=True, help="Write the bundle even if its masks drift.")
@click.option(
    "--dialect",
    "dialects",
    multiple=True,
    metavar="NAME",
    help="Also write an encoder and a decoder for other programs: meta, with the tensors of Meta's "
    "own export, for programs that expect 1024 px; anylabeling, a folder for AnyLabeling and "
    "X-AnyLabeling, for models of any size. Repeats.",
)
@click.option(
    "--option",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    help="Of the platform's format, such as prompts=apart for apple; docs/apple.md has the list.",
)
@click.option(
    "--runtime",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder of the npm package onnxruntime-web, for target web without network. [default: "
    "fetched once]",
)
@click.option(
    "--minimum-os",
    metavar="OS",
    help="Oldest system that opens Core ML packages: iOS17, macOS15, ... [default: iOS17]",
)
@click.option(
    "--words",
    metavar="M",
    help="A model of words that goes along, for --text: samedge-words, clip-vit-b-32, a folder "
    "as open_clip or transformers writes it, or hf:OWNER/REPOSITORY.",
)
@click.option(
    "--vocabulary",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="TXT",
    help="The words to know, one a line, synonyms after commas. [default: COCO's 80 things]",
)
@click.option(
    "--accept-license",
    "accepts_licence",
    is_flag=True,
    help="Take a model of words whose licence allows research alone.",
)
@output.record_option("--record", "record_path")
@output.standard_options
def export(
    out: output.Output,
    *,
    target: str,
    model: str | None,
    checkpoint: Path | None,
    precision: str,
    calibration: Path | None,
    plan_path: Path | None,
    input_size: int | None,
    output_path: Path | None,
    max_drop: float | None,
    undecided: str,
    gate_seconds: float | None,
    seed: int,
    no_gate: bool,
    dialects: tuple[str, ...],
    options: tuple[str, ...],
    runtime: Path | None,
    minimum_os: str | None,
    words: str | None,
    vocabulary: Path | None,
    accepts_licence: bool,
    record_path: Path | None,
) -> None:
    """Export a model for a platform and prove that what was written still is that model.

    The exported files themselves are run on photos and compared with the model in torch, over every
    kind of prompt. When the masks drift, the exit code is 3 and no bundle is written.
    """
    from samedge.export.named import DEFAULT_MODEL, export_bundle

    refuse_output(record_path)
    if model is not None and checkpoint is not None:
        raise click.UsageError("--model and --checkpoint both name the weights: give one of them.")
    with out.progress("Exporting") as bar:
        result = export_bundle(
            target,
            checkpoint or model or DEFAULT_MODEL,
            output=output_path,
            precision=precision,
            input_size=input_size,
            gate=not no_gate,
            max_drop=max_drop,
            undecided=undecided,
            gate_seconds=gate_seconds,
            seed=seed,
            calibration=calibration,
            plan=plan_path,
            dialects=dialects,
            options=_options(options, minimum_os=minimum_os, runtime=runtime),
            words=words,
            vocabulary=vocabulary,
            accepts_licence=accepts_licence,
            progress=bar.progress,
            stage=bar.stage,
        )
    _report(out, result, record_path)


def _report(out: output.Output, result: ExportResult, record_path: Path | None) -> None:
    import msgspec

    from samedge import records

    record = msgspec.structs.replace(result.record(), command=output.command_line())
    if record_path is not None:
        records.write(record, record_path)
        out.note(f"wrote {record_path}")
    tables = [_artifacts(result), "", _parity(result), *_gained(result), *_footer(result)]
    out.result({**records.fields(record), "skipped_files": result.skipped}, *tables)


def _options(
    pairs: tuple[str, ...], *, minimum_os: str | None, runtime: Path | None
) -> dict[str, str]:
    options = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise click.UsageError(f"--option {pair!r} has no value: write NAME=VALUE.")
        options[name] = value
    named = {"minimum-os": minimum_os, "runtime": None if runtime is None else str(runtime)}
    return options | {name: value for name, value in named.items() if value is not None}


def _artifacts(result: ExportResult) -> Table:
    table = output.table("Graph", "File", "Precision", "MB")
    for graph in result.bundle.manifest.graphs:
        megabytes = f"{result.bundle.artifact(graph.role).bytes / 1e6:.2f}"
        table.add_row(graph.role, graph.artifact, graph.precision, megabytes)
    return table


def _parity(result: ExportResult) -> Table:
    """Mask IoU between the files, as they run here, and the model in torch."""
    table = output.table("Prompts", "n", "Mask IoU, mean", "5th percentile", "Where decided")
    for kind, count, *figures in result.kinds:
        table.add_row(kind, str(count), *(f"{figure:.4f}" for figure in figures))
    parity = result.parity
    if parity is not None:
        table.add_section()
        overall = (parity.mask_iou_mean, parity.mask_iou_p05, parity.decided_iou_mean)
        shown = ("-" if figure is None else f"{figure:.4f}" for figure in overall)
        table.add_row("all", str(parity.prompts), *shown)
    return table


def _gained(result: ExportResult) -> list[Table | str]:
    """What was lost and gained against fp32, and what ``auto`` tried."""
    parts: list[Table | str] = []
    if result.accuracy is not None:
        accuracy = result.accuracy
        heads = ("Prompts", "n", "mIoU fp32", "mIoU", "Drop", "95%", "IoU with fp32", "p05", "")
        table = output.table(*heads)
        for row in accuracy.rows:
            figures = (row.miou_fp32, row.miou, row.drop, row.mask_iou_mean, row.mask_iou_p05)
            shown = [f"{figure:.4f}" for figure in figures]
            shown.insert(3, row.interval)
            found = row.verdict(accuracy.max_drop).value
            table.add_row(row.prompt, str(row.n), *shown, found)
        latency = (
            "latency for the device to tell"
            if accuracy.encode_ratio is None
            else f"encoder {accuracy.encode_ratio:.2f}, decoder {accuracy.decode_ratio:.2f} of the "
            "latency"
        )
        parts += [
            "",
            table,
            f"against fp32: {latency}, {accuracy.size_ratio:.2f} of the size; "
            f"truth: {accuracy.truth} of {accuracy.images} images",
            f"accuracy {accuracy.summary}",
        ]
    if result.choices:
        table = output.table("Precision", "Latency", "Size", "Drop", "Verdict")
        for choice in result.choices:
            names = ("total_ratio", "size_ratio", "drop")
            shown = ["" if choice[n] is None else f"{choice[n]:.3f}" for n in names]
            table.add_row(choice["precision"], *shown, choice["verdict"])
        parts += ["", table]
    return parts


def _footer(result: ExportResult) -> list[str]:
    bundle, parity = result.bundle, result.parity
    lines = [f"note: {note}" for note in bundle.manifest.notes]
    words = bundle.manifest.own_words
    if words is not None:
        found = ", ".join(f"{role} {value:.5f}" for role, value in words.cosine_min.items())
        source = f"{words.model.name}, licence {words.model.licence}, from {words.model.origin}"
        lines.append(f"words by {source}; lowest embedding cosine: {found}")
    if parity is not None:
        verdict = "passed" if parity.passed else "FAILED, and the gate was off"
        lines.append(
            f"parity {verdict}: {parity.images} photos, "
            f"lowest embedding cosine {parity.embedding_cosine_min:.5f}, another candidate "
            f"preferred in {parity.near_ties} near ties and {parity.wrong_choices} other clicks"
        )
    lines.append(f"bundle {bundle.id} at {bundle.path}, {result.seconds:.1f} s")
    return lines


COMMAND = export
