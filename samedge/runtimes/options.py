"""Reading the options mapping of ``Backend.open`` strictly: an unknown name is an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from samedge.errors import BackendUnavailableError, OptionError, UnknownNameError
from samedge.runtimes.base import Backend, FoundDevice, Probe
from samedge.types import Options


def checked_options(
    backend: str, options: Mapping[str, Any] | None, *, defaults: Mapping[str, Any]
) -> Options:
    """Fill ``options`` up with a backend's defaults.

    Args:
        backend: the backend's name, for the message.
        options: what the caller wants.
        defaults: every option that the backend has; its value's type is the option's type.

    Raises:
        UnknownNameError: an option that the backend does not have.
        OptionError: a value of another type than the default's.
    """
    given = dict(options or {})
    for name, value in given.items():
        if name not in defaults:
            raise UnknownNameError(f"option of backend {backend!r}", name, defaults)
        wanted = type(defaults[name])
        if type(value) is not wanted:
            raise OptionError(
                f"Option {name!r} of backend {backend!r} is {value!r}, "
                f"expected {wanted.__name__}, such as {defaults[name]!r}."
            )
    return {**defaults, **given}


def checked_choice(backend: str, name: str, *, value: str, choices: Mapping[str, Any]) -> Any:
    """The meaning of an option that is one of a few words.

    Raises:
        UnknownNameError: another word.
    """
    if value not in choices:
        raise UnknownNameError(f"{name} of backend {backend!r}", value, choices)
    return choices[value]


def required_probe(backend: Backend) -> Probe:
    """What a backend finds here, if its library is here.

    Raises:
        BackendUnavailableError: it is not.
    """
    probe = backend.probe()
    if not probe.available:
        raise BackendUnavailableError(
            f"Backend {backend.name!r} is not available: {probe.detail} Fix: {probe.fix}"
        )
    return probe


def checked_device(backend: Backend, device: str | None) -> str:
    """The device to open a graph on: the best one, or the wish if it is here.

    Raises:
        BackendUnavailableError: the library or the device is not here.
    """
    if isinstance(device, FoundDevice):
        return str(device)
    return str(found_device(backend, required_probe(backend), device=device))


def found_device(backend: Backend, probe: Probe, *, device: str | None) -> FoundDevice:
    """The same with what a probe has found.

    Raises:
        BackendUnavailableError: the device is not here.
    """
    if device is None:
        return FoundDevice(probe.devices[0])
    known = backend.spelled(device, probe)
    if known is not None:
        return FoundDevice(known)
    raise BackendUnavailableError(
        f"Backend {backend.name!r} has no device {device!r} here, only "
        f"{', '.join(probe.devices)}: choose one of them, or install its driver."
        + (f" Fix: {probe.fix}" if probe.fix else "")
    )
