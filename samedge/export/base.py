"""What an exporter is: a file ``_name.py`` that exposes ``EXPORTER``, named after its format."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from samedge import _discovery
from samedge.bundle.bundle import Bundle
from samedge.bundle.manifest import GraphRecord, ModelRecord, ParityRecord
from samedge.bundle.words import WordTable
from samedge.calibration.plan import PrecisionPlan
from samedge.errors import ExportError, SamedgeError, UnknownNameError
from samedge.export.anylabeling_dialect import AnyLabelingDecoderGraph, AnyLabelingEncoderGraph
from samedge.export.dialect_gate import DialectGraph
from samedge.export.graphs import DecoderGraph, EncoderGraph, Graph, RegionGraph, TextGraph
from samedge.export.meta_dialect import MetaDecoderGraph, MetaEncoderGraph
from samedge.models.promptable import PromptableModel
from samedge.models.words.base import WordModel
from samedge.pixels.folder_listing import SkippedFiles
from samedge.pixels.frames import LONGEST_SIDE
from samedge.pixels.prompts import Bucket
from samedge.proof.accuracy import Accuracy
from samedge.proof.photos import CalibrationSet
from samedge.records import ExportedArtifact, ExportedBundle, ExportRecord
from samedge.targets import Target
from samedge.types import IMAGE_EMBEDDINGS, WEIGHTS_ONLY, Options, Precision, Steps

META_DIALECT, ANYLABELING_DIALECT = "meta", "anylabeling"
DIALECTS = (META_DIALECT, ANYLABELING_DIALECT)
"""Tensors of other projects that an extra decoder can be written for."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class WordsRequest:
    """A model of words and what a bundle is to know by it.

    Attributes:
        model: in evaluation mode.
        table: the words and their embeddings.
        merges: of the tokenizer, where the model reads text.
    """

    model: WordModel
    table: WordTable
    merges: bytes | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """What is to be exported, for which platform, and how.

    Attributes:
        model: the model, in evaluation mode.
        source: where its weights come from.
        target: the platform.
        precision: one of the target's, never ``auto``.
        buckets: fixed ``(B, N)`` shapes of the decoder; empty leaves both dynamic.
        dialects: extra decoders, of :data:`DIALECTS`.
        images: photos to measure on.
        calibration: images that quantizers see; ``None`` takes those that come with samedge.
        plan: precisions by module; ``None`` takes the precision's default plan.
        options: of the exporter, by name.
        words: a model of words that goes along, with the words to know.
        steps: counts the steps and says what each is about.
    """

    model: PromptableModel
    source: ModelRecord
    target: Target
    precision: Precision
    buckets: tuple[Bucket, ...] = ()
    dialects: tuple[str, ...] = ()
    images: tuple[Path, ...] = ()
    calibration: CalibrationSet | None = None
    plan: PrecisionPlan | None = None
    options: Mapping[str, str] = dataclasses.field(default_factory=dict)
    words: WordsRequest | None = None
    steps: Steps = dataclasses.field(default_factory=Steps)

    def backend_options(self) -> Options:
        """What the backend is given: with a plan of INT8, to compute the rest as that says."""
        if self.plan is None or self.precision is not Precision.INT8:
            return self.target.backend_options(self.precision)
        options = self.target.backend_options(self.precision)
        return options | self.target.backend_options(Precision(self.plan.rest))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportedGraph:
    """One graph in a bundle's folder.

    Attributes:
        graph: what was exported.
        path: what the backend opens, relative to the folder.
        format: name of the file's format.
        precision: what it computes in.
        extra_files: files that belong to it, such as the ``.bin`` beside an ``.xml``.
        options: given to ``Backend.open`` for this file alone.
        device: where this file alone runs; ``None``: on the target's device.
        notes: what the manifest and the export's table say about it.
    """

    graph: Graph
    path: str
    format: str
    precision: Precision
    extra_files: tuple[str, ...] = ()
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    device: str | None = None
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportResult:
    """A finished bundle and what is known of it.

    Attributes:
        bundle: the bundle, in its place.
        parity: how it compares with the torch reference; ``None`` if that was not measured.
        kinds: the same by kind of prompt, worst first: name, prompts, mean and 5th percentile of
            the mask IoU, and its mean where the reference is decided.
        accuracy: what it loses and gains against fp32; ``None`` if that was not measured.
        choices: the precisions that ``auto`` tried, with the reasons.
        seconds: how long the export took.
        skipped: what of the calibration set was left out, by reason.
    """

    bundle: Bundle
    parity: ParityRecord | None
    kinds: tuple[tuple[str, int, float, float, float], ...] = ()
    accuracy: Accuracy | None = None
    choices: tuple[dict[str, Any], ...] = ()
    seconds: float = 0.0
    skipped: tuple[SkippedFiles, ...] = ()

    def record(self) -> ExportRecord:
        """The document of ``samedge export``."""
        manifest = self.bundle.manifest
        names = ("kind", "prompts", "mask_iou_mean", "mask_iou_p05", "decided_iou_mean")
        parity = None if self.parity is None else msgspec.to_builtins(self.parity)
        if parity is not None:
            parity["kinds"] = [dict(zip(names, row, strict=True)) for row in self.kinds]
        return ExportRecord(
            bundle=ExportedBundle(path=str(self.bundle.path), id=manifest.id),
            artifacts=[_artifact(self.bundle, graph) for graph in manifest.graphs],
            parity=parity,
            plan=manifest.plan,
            accuracy=None if self.accuracy is None else msgspec.to_builtins(self.accuracy),
            choices=list(self.choices),
            seconds=self.seconds,
            samedge_version=manifest.samedge_version,
            created=manifest.created,
        )


def _artifact(bundle: Bundle, graph: GraphRecord) -> ExportedArtifact:
    files = bundle.artifact(graph.role)
    return ExportedArtifact(
        role=graph.role,
        path=files.path,
        bytes=files.bytes,
        sha256=files.sha256,
        format=graph.format,
        precision=graph.precision,
    )


class Exporter(ABC):
    """Writes graphs in one format. Stateless; one instance a module, named ``EXPORTER``.

    Attributes:
        name: the file's name without its underscore, which is the format's.
        precisions: what it can write.
        artifact_format: what backends call the files; ``None``: as the exporter is called.
        packages: distributions whose versions shape the files.
        max_buckets: fixed shapes that one decoder file can hold.
        tries_precisions: whether ``auto`` compares the target's default with fp32 and others;
            otherwise it is taken, and only held against the budget.
        option_help: what a request may set, by name, each with its values and their meaning.
        int8_rest: precision of what INT8 leaves in float; ``None`` leaves it to the target.
        region_batch: regions in one call of a region encoder; ``None`` leaves it open.
        plans_halves: whether half precision follows a plan, too, which then only says what stays
            in fp32; INT8 always does.
        check_device: where the files are checked; ``None``: on the target's own device.
        check_options: given to ``Backend.open`` beside the target's, and the backend's own for
            files that live for minutes, while the files are checked.
    """

    name: ClassVar[str]
    precisions: ClassVar[tuple[Precision, ...]]
    artifact_format: ClassVar[str | None] = None
    packages: ClassVar[tuple[str, ...]] = ("torch",)
    max_buckets: ClassVar[int] = 1
    tries_precisions: ClassVar[bool] = True
    option_help: ClassVar[Mapping[str, str]] = {}
    int8_rest: ClassVar[Precision | None] = None
    region_batch: ClassVar[int | None] = None
    plans_halves: ClassVar[bool] = False
    check_device: ClassVar[str | None] = None
    check_options: ClassVar[Mapping[str, Any]] = {}

    def export(self, request: ExportRequest, folder: Path) -> tuple[ExportedGraph, ...]:
        """Write every graph of a request.

        Args:
            request: what to export.
            folder: an existing folder for the files.

        Raises:
            ExportError: the format cannot hold what is asked for, or a library failed; names the
                graph and the format.
        """
        self._check(request)
        return self.written(self.graphs(request), request, folder=folder)

    def written(
        self, graphs: Iterable[Graph], request: ExportRequest, *, folder: Path
    ) -> tuple[ExportedGraph, ...]:
        """Write some graphs of a request; arguments and errors are those of :meth:`export`."""
        written = []
        for graph in graphs:
            request.steps.step(f"{graph.role} to {self.name}")
            graph.eval()
            try:
                exported = self._export(graph, request, folder)
            except SamedgeError:
                raise
            except Exception as error:
                raise ExportError(
                    f"The {graph.role} of {request.source.name} could not be written as "
                    f"{self.name}: {error}"
                ) from error
            written.append(_with_companions(exported, request, folder))
        return tuple(written)

    def heeds(self, plan: PrecisionPlan, precision: Precision) -> bool:
        """Whether a plan is followed in an export of this precision; see ``plans_halves``."""
        if precision is Precision.INT8:
            return True
        is_of_floats = Precision.INT8 not in plan.precisions
        return self.plans_halves and is_of_floats and precision is not Precision.FP32

    def prepared(self, request: ExportRequest) -> ExportRequest:
        """The request with what its options change of it.

        Raises:
            UnknownNameError: an unknown option or value.
            ExportError: options that do not go together.
        """
        return request

    def provide(self, request: ExportRequest) -> None:
        """Get what :meth:`accompany` will need, so that its lack is an error before the long work.

        Raises:
            SamedgeError: it is not to be had.
        """

    def accompany(self, request: ExportRequest, folder: Path) -> None:
        """Put files beside the graphs of a bundle that has passed; nothing unless overridden.

        Args:
            request: what was exported.
            folder: of the bundle, not yet in its place.
        """

    def check_backend(self, target: Target) -> str:
        """Name of the backend that the files are checked with on this machine.

        The target's own, unless a format has a reader that works where the platform is not.
        """
        return target.backend

    def check_settings(self, request: ExportRequest) -> Mapping[str, Any]:
        """What is given to ``Backend.open`` for the check; ``check_options`` unless overridden."""
        del request
        return self.check_options

    def options(self, request: ExportRequest) -> Options:
        """What the bundle passes to ``Backend.open`` on the device: the target's own."""
        return request.backend_options()

    def versions(self) -> dict[str, str]:
        """Versions of the libraries that shape the files."""
        return {name: importlib.metadata.version(name) for name in self.packages}

    def graphs(self, request: ExportRequest) -> Iterator[Graph]:
        """The graphs of a request, one at a time to spare memory."""
        yield EncoderGraph(request.model)
        yield DecoderGraph(request.model, bucket=self._bucket(request))
        yield from self.dialect_graphs(request)
        yield from self.word_graphs(request)

    def dialect_graphs(self, request: ExportRequest) -> Iterator[DialectGraph]:
        """The graphs of a request in other projects' dialects."""
        if META_DIALECT in request.dialects:
            yield MetaEncoderGraph(request.model)
            yield MetaDecoderGraph(request.model)
        if ANYLABELING_DIALECT in request.dialects:
            yield AnyLabelingEncoderGraph(request.model)
            yield AnyLabelingDecoderGraph(request.model)

    def word_graphs(self, request: ExportRequest) -> Iterator[Graph]:
        """The graphs of a request's model of words, where it has one."""
        if request.words is None:
            return
        model = request.words.model
        yield RegionGraph(model, batch=self.region_batch)
        if model.reads_text:
            yield TextGraph(model)

    def _bucket(self, request: ExportRequest) -> Bucket | None:
        return request.buckets[0] if request.buckets else None

    def _check(self, request: ExportRequest) -> None:
        if request.precision not in self.precisions:
            choices = ", ".join(precision.value for precision in self.precisions)
            raise ExportError(
                f"Format {self.name!r} is not written in precision {request.precision.value!r}: "
                f"choose {choices}."
            )
        if len(request.buckets) > self.max_buckets:
            raise ExportError(
                f"{len(request.buckets)} prompt buckets were asked for, and a decoder in format "
                f"{self.name!r} holds at most {self.max_buckets}: give the largest alone, or none."
            )

        for name in request.options:
            if name not in self.option_help:
                raise UnknownNameError(f"option of format {self.name}", name, self.option_help)
        self._check_dialects(request)
        planned = set() if request.plan is None else request.plan.precisions
        for precision in sorted(planned & set(WEIGHTS_ONLY) - set(self.precisions)):
            raise ExportError(
                f"The plan wants {precision.value!r}, which format {self.name!r} does not store."
            )

    @staticmethod
    def _check_dialects(request: ExportRequest) -> None:
        """Other projects' tensors have one embedding, of an image with its longest side resized."""
        model = request.model
        fits = model.embedding_names == (IMAGE_EMBEDDINGS,) and model.frame.resize == LONGEST_SIDE
        if request.dialects and not fits:
            raise ExportError(
                f"{request.source.name} cannot be written in dialect {request.dialects[0]}: its "
                f"encoder gives {', '.join(model.embedding_names)} of an image resized by "
                f"{model.frame.resize}; programs of that dialect expect {IMAGE_EMBEDDINGS} and "
                f"{LONGEST_SIDE}. Leave the dialect out."
            )

    @abstractmethod
    def _export(self, graph: Graph, request: ExportRequest, folder: Path) -> ExportedGraph:
        """Write one graph."""


def _with_companions(
    exported: ExportedGraph, request: ExportRequest, folder: Path
) -> ExportedGraph:
    """Write the files of text that go with a graph."""
    texts = exported.graph.companions(request.source.name)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return dataclasses.replace(exported, extra_files=(*exported.extra_files, *texts))


def names() -> tuple[str, ...]:
    """Names of all formats that can be written."""
    return _discovery.names("samedge.export")


def get(name: str) -> Exporter:
    """The exporter of format ``name``.

    Raises:
        UnknownNameError: there is none; the message lists the known names.
    """
    exporter: Exporter = _discovery.load("samedge.export", name, attribute="EXPORTER")
    return exporter
