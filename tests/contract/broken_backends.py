"""A backend that keeps every promise, and for each promise one that breaks it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from samedge import runtimes
from samedge.errors import BackendUnavailableError, InferenceError
from samedge.runtimes.base import Array, Backend, Probe, Session, Shapes, TensorSpec
from samedge.runtimes.options import checked_device, checked_options

_IMAGE = TensorSpec("image", "uint8", (1, 2, 2, 3))


class SoundSession(Session):
    inputs = (TensorSpec("points", "float32", ("B", 3)), _IMAGE)
    outputs = (
        TensorSpec("doubled", "float32", ("B", 3)),
        TensorSpec("halved", "float32", (1, 2, 2, 3)),
    )

    def __init__(self, device: str) -> None:
        self.device, self.closed = device, 0

    def _run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        if self.closed:
            raise InferenceError("The session is closed.")
        doubled = 2 * feeds["points"] + 1
        return {"doubled": doubled, "halved": feeds["image"] / np.float32(2)}

    def close(self) -> None:
        self.closed = 1


class SoundBackend(Backend):
    """Computes the example of the null backend in NumPy."""

    name, formats, selftest = "sound", ("null",), ""
    stand_in = "null"
    session: type[SoundSession] = SoundSession

    def probe(self) -> Probe:
        return Probe(available=True, version="1", devices=("one", "two"), detail="NumPy.")

    def open(
        self,
        model: Path,
        *,
        device: str | None = None,
        options: Mapping[str, Any] | None = None,
        shapes: Sequence[Shapes] = (),
        keep: Sequence[str] = (),
    ) -> Session:
        checked_options(self.name, options, defaults={"threads": 0})
        chosen = checked_device(self, device)
        try:
            json.loads(model.read_bytes())
        except (OSError, ValueError) as error:
            raise InferenceError(f"{model} is not an example: {error}") from error
        return self.session(chosen)

    def write_example(self, folder: Path, artifact_format: str) -> Path:
        return runtimes.get("null").write_example(folder, artifact_format)


class _Lazy(SoundBackend):
    """Opens with the options of a sound backend, whatever it is asked."""

    def open(
        self,
        model: Path,
        *,
        device: str | None = None,
        options: Mapping[str, Any] | None = None,
        shapes: Sequence[Shapes] = (),
        keep: Sequence[str] = (),
    ) -> Session:
        return super().open(model)


class UnknownExtra(SoundBackend):
    extras, packages = ("no-such-extra",), ("numpy",)


class MissingSelftest(SoundBackend):
    selftest = "no-such-file"


class _Version(str):
    """As torch's: a subclass of ``str``."""

    __slots__ = ()


class SubclassOfStr(SoundBackend):
    def probe(self) -> Probe:
        return Probe(available=True, version=_Version("1"), devices=("one",), detail="NumPy.")


class AbsentWithoutCommand(SoundBackend):
    def probe(self) -> Probe:
        return Probe(available=False, detail="It is not here.", fix="pip install numpy")

    def open(
        self,
        model: Path,
        *,
        device: str | None = None,
        options: Mapping[str, Any] | None = None,
        shapes: Sequence[Shapes] = (),
        keep: Sequence[str] = (),
    ) -> Session:
        raise BackendUnavailableError("It is not here.")


class OtherNames(SoundBackend):
    class session(SoundSession):
        inputs = (TensorSpec("input.1", "float32", ("B", 3)), _IMAGE)


class WrongNumbers(SoundBackend):
    class session(SoundSession):
        def _run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
            return {name: array + 1 for name, array in super()._run(feeds).items()}


class SharedResults(SoundBackend):
    class session(SoundSession):
        """Gives its own buffer out, which the next run overwrites."""

        def _run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
            results = super()._run(feeds)
            self.kept = getattr(self, "kept", results["doubled"])
            self.kept[:] = results["doubled"]
            return {**results, "doubled": self.kept}


class WritesIntoFeeds(SoundBackend):
    class session(SoundSession):
        def _run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
            results = super()._run(feeds)
            if feeds["points"].flags.writeable:
                feeds["points"][:] = 0
            return results


class Unchecked(SoundBackend):
    class session(SoundSession):
        def _check(self, feeds: Mapping[str, Array]) -> None:
            del feeds


class SaysAnotherDevice(SoundBackend):
    class session(SoundSession):
        def __init__(self, device: str) -> None:
            super().__init__("somewhere")


class OnlyTheFirstDevice(_Lazy):
    """Another device steps in, silently."""


class NoThreads(SoundBackend):
    def open(
        self,
        model: Path,
        *,
        device: str | None = None,
        options: Mapping[str, Any] | None = None,
        shapes: Sequence[Shapes] = (),
        keep: Sequence[str] = (),
    ) -> Session:
        checked_options(self.name, options, defaults={})
        return super().open(model, device=device)


class OneShapeOnly(SoundBackend):
    """Runs the first of the shapes, whatever comes."""

    class session(SoundSession):
        def _run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
            return {name: array[:2] for name, array in super()._run(feeds).items()}


class LooksAgain(SoundBackend):
    def open(
        self,
        model: Path,
        *,
        device: str | None = None,
        options: Mapping[str, Any] | None = None,
        shapes: Sequence[Shapes] = (),
        keep: Sequence[str] = (),
    ) -> Session:
        self.probe()
        return super().open(model, device=device, options=options)


class OptionsThatItLacks(SoundBackend):
    scratch_options = {"cache": False}  # noqa: RUF012 - as plug-ins write it


class ArithmeticOfAnother(SoundBackend):
    arithmetic = frozenset({"inference_precision"})


class IgnoresOptions(_Lazy):
    """Takes any option and any value."""


class OpensAnything(SoundBackend):
    def open(
        self,
        model: Path,
        *,
        device: str | None = None,
        options: Mapping[str, Any] | None = None,
        shapes: Sequence[Shapes] = (),
        keep: Sequence[str] = (),
    ) -> Session:
        checked_options(self.name, options, defaults={"threads": 0})
        return self.session(checked_device(self, device))


class RunsWhenClosed(SoundBackend):
    class session(SoundSession):
        def close(self) -> None:
            pass


class Chatters(SoundBackend):
    class session(SoundSession):
        def _run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
            os.write(1, b"running\n")  # as native libraries do
            return super()._run(feeds)


class OneBufferForAll(SoundBackend):
    class session(SoundSession):
        last: dict[str, Array] = {}  # noqa: RUF012 - shared on purpose

        def _run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
            for array in self.last.values():
                array[:] = 0
            type(self).last = super()._run(feeds)
            return type(self).last


class MixesCallers(SoundBackend):
    class session(SoundSession):
        def _run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
            self.given = feeds
            time.sleep(0.001)  # the other callers' turn
            return super()._run(self.given)


BREAKS: Mapping[str, type[SoundBackend]] = {
    "shapes_and_kept_tensors_change_no_result": OneShapeOnly,
    "a_device_that_was_found_is_not_looked_for_again": LooksAgain,
    "declares_itself": UnknownExtra,
    "names_files_and_stand_ins_that_exist": MissingSelftest,
    "probe_says_what_is_here": SubclassOfStr,
    "absence_ends_in_the_command_that_installs": AbsentWithoutCommand,
    "specs_are_the_graphs": OtherNames,
    "run_computes_the_graph": WrongNumbers,
    "results_outlive_the_next_run_and_the_session": SharedResults,
    "feeds_are_left_alone_and_may_be_views": WritesIntoFeeds,
    "wrong_feeds_are_named": Unchecked,
    "device_is_one_of_the_probed": SaysAnotherDevice,
    "no_other_device_steps_in": OnlyTheFirstDevice,
    "threads_are_understood": NoThreads,
    "its_own_options_are_understood": OptionsThatItLacks,
    "options_of_its_arithmetic_are_its_own": ArithmeticOfAnother,
    "wrong_options_are_errors": IgnoresOptions,
    "missing_file_is_an_error": OpensAnything,
    "file_that_is_no_graph_is_an_error": OpensAnything,
    "closing_twice_is_harmless_and_running_afterwards_is_not": RunsWhenClosed,
    "stdout_stays_clean": Chatters,
    "two_sessions_do_not_disturb_each_other": OneBufferForAll,
    "callers_at_a_time_get_their_own": MixesCallers,
}
"""By the name of the check that must find it."""
