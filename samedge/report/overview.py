"""Joins records: accuracy and latency of the same files, machines, claims and warnings."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import PurePath

import msgspec

from samedge.records import (
    BenchRecord,
    Comparison,
    DatasetRecord,
    Environment,
    EvalRecord,
    EvalRow,
    ExportRecord,
    Record,
    StageRow,
    Subject,
)

RUN_STAGES = ("preprocess", "encode", "decode", "postprocess")


@dataclasses.dataclass(frozen=True)
class Machine:
    """One machine and the records that come from it.

    Attributes:
        name: short and unique within the report.
        environment: what it is.
        sources: names of the record files.
    """

    name: str
    environment: Environment
    sources: tuple[str, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class ReportedSubject:
    """One subject on one machine: a line of the summary.

    Attributes:
        label: unique within the report, with the machine where there are several.
        name: the label without the machine.
        subject: its identity.
        machine: name of the machine that its latency comes from, or ``None``.
        accuracy: its evaluation rows by prompt protocol.
        stages: its latency rows by stage.
    """

    label: str
    name: str
    subject: Subject
    machine: str | None
    accuracy: dict[str, EvalRow]
    stages: dict[str, StageRow]

    def p50(self, stage: str) -> float | None:
        """Median of a stage in milliseconds."""
        row = self.stages.get(stage)
        return None if row is None else row.p50_ms

    def miou(self, prompt: str) -> float | None:
        """Mean IoU under a prompt protocol."""
        row = self.accuracy.get(prompt)
        return None if row is None else row.miou


@dataclasses.dataclass(frozen=True, eq=False)
class Overview:
    """Everything that a report shows.

    Attributes:
        subjects: subjects on machines, in the order of their records.
        machines: where the latencies come from.
        evaluations, benches, exports: the records with the names of their files.
        prompts: the prompt protocols that occur, in order.
    """

    subjects: tuple[ReportedSubject, ...]
    machines: tuple[Machine, ...]
    evaluations: tuple[tuple[str, EvalRecord], ...]
    benches: tuple[tuple[str, BenchRecord], ...]
    exports: tuple[tuple[str, ExportRecord], ...]
    prompts: tuple[str, ...]

    def label(self, subject: Subject, machine: str | None = None) -> str:
        """The label of a subject, else the subject's own name."""
        reported = self._reported(subject, machine)
        return subject_label(subject) if reported is None else reported.label

    def name(self, subject: Subject, machine: str | None = None) -> str:
        """As ``label``, without the machine."""
        reported = self._reported(subject, machine)
        return subject_label(subject) if reported is None else reported.name

    def _reported(self, subject: Subject, machine: str | None) -> ReportedSubject | None:
        for reported in self.subjects:
            same_machine = machine is None or reported.machine in (machine, None)
            if same_machine and same_files(reported.subject, subject):
                return reported
        return None

    def machine_of(self, source: str) -> str | None:
        """Name of the machine that a record file comes from."""
        return next((m.name for m in self.machines if source in m.sources), None)


def compare_records(records: Sequence[tuple[str, Record]]) -> Overview:
    """Join records by what they measured.

    Accuracy joins latency when bundle id and backend are the same, or, for what has no id, the
    bundle's name; where it was measured on several machines, the latency's own goes first. Figures
    of different files are never put on one line, nor are those on different images in one column.

    Args:
        records: each with the name of its file.
    """
    evaluations = _told_apart([(n, r) for n, r in records if isinstance(r, EvalRecord)])
    benches = tuple((n, r) for n, r in records if isinstance(r, BenchRecord))
    exports = tuple((n, r) for n, r in records if isinstance(r, ExportRecord))
    machines = _machines(benches)
    scored = [(_evaluated_on(r), row) for _, r in evaluations for row in r.results]
    rows = [row for _, row in scored]
    subjects = list(_timed_subjects(benches, machines, scored))
    subjects += _scored_subjects(rows, subjects)
    return Overview(
        subjects=tuple(_with_labels(subjects, many_machines=len(machines) > 1)),
        machines=machines,
        evaluations=evaluations,
        benches=benches,
        exports=exports,
        prompts=tuple(dict.fromkeys(row.prompt for row in rows)),
    )


def _told_apart(
    evaluations: Sequence[tuple[str, EvalRecord]],
) -> tuple[tuple[str, EvalRecord], ...]:
    """Evaluations whose prompts name what they were measured on, where that differs."""
    names = {dataset_key(record.dataset): dataset_name(record.dataset) for _, record in evaluations}
    if len(names) < 2:
        return tuple(evaluations)
    counts = Counter(names.values())
    shown = {
        key: name if counts[name] == 1 else f"{name}, {key[2]} instances"
        for key, name in names.items()
    }
    return tuple(
        (source, _with_suffix(record, f" on {shown[dataset_key(record.dataset)]}"))
        for source, record in evaluations
    )


def dataset_key(dataset: DatasetRecord) -> tuple[str, int, int]:
    """Tells data apart, also where the same file lies in different places on different machines."""
    return PurePath(dataset.path).name, dataset.images, dataset.instances


def dataset_name(dataset: DatasetRecord) -> str:
    """What people would call a dataset: its folder where the file is called ``instances``."""
    path = PurePath(dataset.path)
    return path.parent.name if path.stem == "instances" and path.parent.name else path.stem


def _with_suffix(record: EvalRecord, suffix: str) -> EvalRecord:
    replace = msgspec.structs.replace
    return replace(
        record,
        results=[replace(row, prompt=row.prompt + suffix) for row in record.results],
        examples=[replace(one, prompt=one.prompt + suffix) for one in record.examples],
        instances=[replace(one, prompt=one.prompt + suffix) for one in record.instances or ()],
    )


def _evaluated_on(record: EvalRecord) -> str | None:
    return None if record.environment is None else _machine_name(record.environment)


def subject_label(subject: Subject) -> str:
    """Name, precision and backend of a subject, as short as people would say it."""
    name = subject.model or PurePath(subject.bundle).name or subject.bundle
    if subject.is_baseline:
        return subject.bundle
    device = subject.device if subject.device and subject.device.lower() != "cpu" else None
    parts = [name, subject.precision, subject.backend, device]
    return " ".join(part for part in parts if part)


def same_files(first: Subject, second: Subject) -> bool:
    """Whether two rows speak of the same files on the same backend and device."""
    if first.backend != second.backend or (first.device or "") != (second.device or ""):
        return False
    if first.bundle_id and second.bundle_id:
        return first.bundle_id == second.bundle_id
    return first.bundle == second.bundle


def _machines(benches: Iterable[tuple[str, BenchRecord]]) -> tuple[Machine, ...]:
    found: dict[str, tuple[Environment, list[str]]] = {}
    for source, record in benches:
        env = record.environment
        name = _machine_name(env)
        if name in found and found[name][0].os != env.os:
            name = f"{name} ({env.os})"
        found.setdefault(name, (env, []))[1].append(source)
    return tuple(Machine(name, env, tuple(sources)) for name, (env, sources) in found.items())


_NOISE = re.compile(
    r"\((?:R|TM)\)|\b\d+-Core\b|\bProcessor\b|\bCPU @ [\d.]+ ?GHz"
    r"|\b(?:Engineering )?(?:Reference )?Developer Kit\b",
    re.IGNORECASE,
)


def _machine_name(env: Environment) -> str:
    """A board's or a processor's and GPU's name, without what says nothing about it."""
    gpus = ", ".join(gpu.name for gpu in env.gpus or ())
    cpu, board = (
        " ".join(_NOISE.sub(" ", name or "").split()) or name for name in (env.cpu, env.board)
    )
    return board or " + ".join(filter(None, (cpu, gpus))) or "unknown machine"


def _timed_subjects(
    benches: Sequence[tuple[str, BenchRecord]],
    machines: Sequence[Machine],
    scored: Sequence[tuple[str | None, EvalRow]],
) -> Iterable[ReportedSubject]:
    for source, record in benches:
        machine = next(m.name for m in machines if source in m.sources)
        by_key: dict[tuple[str, str, str], dict[str, StageRow]] = {}
        for stage_row in record.results:
            by_key.setdefault(stage_row.key, {})[stage_row.stage] = stage_row
        for stages in by_key.values():
            subject = next(iter(stages.values()))
            here_last = sorted(scored, key=lambda pair: pair[0] == machine)
            accuracy = {row.prompt: row for _, row in here_last if same_files(row, subject)}
            yield ReportedSubject("", "", subject, machine, accuracy, stages)


def _scored_subjects(
    rows: Sequence[EvalRow], subjects: Sequence[ReportedSubject]
) -> list[ReportedSubject]:
    alone: dict[tuple[str, str, str], dict[str, EvalRow]] = {}
    for row in rows:
        if not any(same_files(row, reported.subject) for reported in subjects):
            alone.setdefault(row.key, {})[row.prompt] = row
    return [ReportedSubject("", "", next(iter(a.values())), None, a, {}) for a in alone.values()]


def _with_labels(
    subjects: Sequence[ReportedSubject], *, many_machines: bool
) -> Iterable[ReportedSubject]:
    """Give every subject a name that none of its machine has, and a label that no other has."""
    taken: set[tuple[str, str | None]] = set()
    names = [subject_label(reported.subject) for reported in subjects]
    for reported, short in zip(subjects, names, strict=True):
        alike = [e.subject.bundle for e, n in zip(subjects, names, strict=True) if n == short]
        name = short
        if len(set(alike)) > 1:
            name = f"{short} [{PurePath(reported.subject.bundle).name}]"
        number = 2
        while (name, reported.machine) in taken:
            name, number = f"{short} #{number}", number + 1
        taken.add((name, reported.machine))
        label = f"{name} @ {reported.machine}" if many_machines and reported.machine else name
        yield dataclasses.replace(reported, name=name, label=label)


def claim(pair: Comparison, *, label_of: dict[tuple[str, ...], str]) -> str | None:
    """A comparison as a sentence, or ``None`` where too few pairs were measured to say anything."""
    if pair.speedup is None or pair.ci95 is None:
        return None
    first, second = (label_of.get(tuple(k), " ".join(k)) for k in (pair.first, pair.second))
    stage = pair.stage.replace("_", " ")
    caveat = f" They differ in {', '.join(pair.differences)}." if pair.differences else ""
    low, high = pair.ci95
    if pair.faster is None:
        return (
            f"{stage}: no difference shown between {first} and {second} "
            f"(ratio {pair.speedup:.2f}, 95% interval {low:.2f} to {high:.2f}).{caveat}"
        )
    if pair.faster == pair.first:
        names, ratio, interval = (first, second), pair.speedup, (low, high)
    else:
        names, ratio, interval = (second, first), 1 / pair.speedup, (1 / high, 1 / low)
    return (
        f"{stage}: {names[0]} is {ratio:.2f} times as fast as {names[1]} "
        f"(95% interval {interval[0]:.2f} to {interval[1]:.2f}).{caveat}"
    )
