"""Every exception that samedge raises on purpose.

    SamedgeError
    ├── UnknownNameError (LookupError)          lists the known names, suggests the nearest
    ├── BackendUnavailableError (ImportError)   ends in the command that installs what is missing
    ├── BundleError (ValueError)                manifest missing, hash wrong, half a bundle
    │   ├── IncompatibleArtifactError           made for another TensorRT, GPU or schema version
    │   └── SignatureError                      not signed, or not by the owner of the key
    ├── OptionError (ValueError)                an option with a value that its backend cannot use
    ├── TensorMismatchError (ValueError)        a feed does not fit the graph's tensor specs
    ├── PromptError (ValueError)                a prompt that no image could satisfy
    ├── ImageError (ValueError)                 a file or array that is not a usable image
    ├── WriteError (OSError)                    a result that cannot be written; names its path
    ├── CalibrationError (ValueError)           a calibration set that cannot calibrate
    ├── DatasetError (ValueError)               names the file and the annotation
    ├── RecipeError (ValueError)                names the recipe's key and the nearest known one
    ├── CheckpointError (ValueError)            names missing, extra and wrongly shaped keys
    │   └── DownloadError                       says where to put the file by hand
    ├── ExportError (RuntimeError)              names stage and format
    │   └── GateError                           a measured value is past its limit (exit code 3)
    │       └── ParityError                     measured value, threshold, tensor
    ├── SourceError (RuntimeError)              a camera or a video that cannot be read
    ├── InferenceError (RuntimeError)           wraps the native exception
    └── NotPicklableError (TypeError)           an open predictor is no value to send elsewhere

Every message says what is wrong with the actual value, what was expected and what to do.
"""

from __future__ import annotations

from collections.abc import Iterable

_ONE_TYPO = 3
"""In names of so few letters, a letter more or less is another name: ``fp8`` is not ``p8``."""


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """The known name that a wrong one most likely is a slip of, ``None`` where none is near."""
    import difflib  # for a name that is wrong only

    for near in difflib.get_close_matches(name, list(known), n=3, cutoff=0.5):
        if len(near) == len(name) or min(len(near), len(name)) >= _ONE_TYPO:
            return near
    return None


class SamedgeError(Exception):
    """Base of every error that samedge raises on purpose.

    Attributes:
        exit_code: what the command line exits with when this error ends a command.
    """

    exit_code: int = 1


class UnknownNameError(SamedgeError, LookupError):
    """A name that is in no table; the message lists the known ones and suggests the nearest.

    Args:
        kind: what it should name, such as ``"target"``.
        name: as it was given.
        known: all names.
        meant: those that it may stand for, where it is not just misspelt.
    """

    def __init__(
        self, kind: str, name: str, known: Iterable[str], *, meant: Iterable[str] = ()
    ) -> None:
        self.kind, self.name, self.known = kind, name, tuple(sorted(known))
        nearest = nearest_name(str(name), self.known)  # whatever a caller gave
        near = tuple(meant) or ((nearest,) if nearest else ())
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        listing = ", ".join(self.known) or "none"
        super().__init__(f"Unknown {kind} {name!r}.{hint} Known: {listing}.")


class BackendUnavailableError(SamedgeError, ImportError):
    """A backend, or a device of it, that is not on this machine; ends in the install command."""


class BundleError(SamedgeError, ValueError):
    """A bundle that is missing, incomplete or altered."""


class IncompatibleArtifactError(BundleError):
    """A sound artifact made for another TensorRT, GPU or schema version."""


class SignatureError(BundleError):
    """A bundle that is not signed, or not by the owner of the key; or a key that is none."""


class OptionError(SamedgeError, ValueError):
    """An option of a backend with a value that it cannot use."""


class TensorMismatchError(SamedgeError, ValueError):
    """Feeds whose names, dtypes or shapes do not fit the graph."""


class PromptError(SamedgeError, ValueError):
    """A prompt that no image could satisfy."""


class ImageError(SamedgeError, ValueError):
    """A file or an array that is not a usable image."""


class WriteError(SamedgeError, OSError):
    """A file that cannot be written; what was there before is untouched.

    Attributes:
        errno: the system's number of the reason, where it gave one.
    """

    def __init__(self, message: str, *, errno: int | None = None) -> None:
        super().__init__(message)
        self.errno = errno


class CalibrationError(SamedgeError, ValueError):
    """A calibration set that cannot calibrate."""


class DatasetError(SamedgeError, ValueError):
    """A dataset that cannot be read; names the file and the annotation."""


class RecipeError(SamedgeError, ValueError):
    """A training recipe with an unknown, missing or contradictory key."""


class CheckpointError(SamedgeError, ValueError):
    """A checkpoint that does not fit its model."""


class DownloadError(CheckpointError):
    """A checkpoint that could not be fetched; says where to put the file by hand."""


class ExportError(SamedgeError, RuntimeError):
    """An export that failed; names the stage and the format."""


class GateError(ExportError):
    """A measured value past its limit: parity or accuracy."""

    exit_code = 3


class ParityError(GateError):
    """The exported graphs do not give the reference's masks."""

    def __init__(self, tensor: str, measured: float, threshold: float, advice: str) -> None:
        self.tensor, self.measured, self.threshold = tensor, measured, threshold
        super().__init__(
            f"Parity of {tensor} is {measured:.4f}, below the gate of {threshold:.4f}. {advice}"
        )


class InferenceError(SamedgeError, RuntimeError):
    """A native runtime failed; the original exception is the cause."""


class SourceError(SamedgeError, RuntimeError):
    """A camera or a video that cannot be opened, or not be read on."""


class NotPicklableError(SamedgeError, TypeError):
    """What holds native sessions cannot be copied or sent to another process."""


def error_named(kind: str, message: str, *, default: type[SamedgeError]) -> SamedgeError:
    """An error that another process told of, again.

    Args:
        kind: name of its class.
        message: its message.
        default: the class where ``kind`` is none of ours, or takes more than a message.
    """
    found = globals().get(kind)
    if not (isinstance(found, type) and issubclass(found, SamedgeError)):
        return default(message)
    try:
        return found(message)
    except TypeError:
        return default(message)
