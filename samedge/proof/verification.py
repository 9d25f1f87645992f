"""Whether a bundle still is what was exported, on this machine: hashes, canary, parity.

Hashes need nothing but the bundle. The canary needs the backend. Parity needs the model in torch as
well, so that on a device it is left out, and says so.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

from samedge.bundle.bundle import verify_archive
from samedge.bundle.manifest import Manifest, file_hash
from samedge.errors import BundleError
from samedge.models import zoo
from samedge.models.checkpoint_head import weights_hash
from samedge.pixels.image_files import PHOTOS, pictures_in
from samedge.pixels.images import load_image
from samedge.predict.predictor import Predictor
from samedge.proof.signature import verify_signature
from samedge.types import ActiveBackend, Progress, Stage, Steps

_ADVICE = (
    "Here the bundle does not compute what its model computes. Use another backend or device, or "
    "export it again with a higher precision, where there is one."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check:
    """One check.

    Attributes:
        name: ``signature``, ``hashes``, ``canary`` or ``parity``.
        passed: ``None`` where it could not be made.
        detail: what was found, or why it could not be made.
        measured: the figures, by name.
    """

    name: str
    passed: bool | None
    detail: str
    measured: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verification:
    """What was found out about a bundle.

    Attributes:
        path: what was opened.
        manifest: the bundle's.
        backend: what executed the graphs.
        checks: one entry a check.
    """

    path: Path
    manifest: Manifest
    backend: ActiveBackend
    checks: tuple[Check, ...]


def verify_bundle(
    path: Path,
    *,
    backend: str | None = None,
    device: str | None = None,
    checkpoint: Path | None = None,
    key: Path | None = None,
    signature: Path | None = None,
    progress: Progress | None = None,
    stage: Stage | None = None,
) -> Verification:
    """Check a bundle again, here.

    Args:
        path: the bundle's folder or ``.samedge`` file.
        backend: another backend than the bundle was made for.
        device: that backend's own device string.
        checkpoint: the weights that it was exported from, a file or a folder, for the parity;
            ``None`` finds those of a named model where they are at hand.
        key: the public key of whoever should have signed it; ``None`` looks at no signature.
        signature: where the signature lies; ``None``: beside the bundle.
        progress: hears of every check.
        stage: is told its name, before it is made.

    Raises:
        SignatureError: not signed by the owner of ``key``; nothing of it was run.
        BundleError: missing or altered, or it computes something else here than at the export.
        ParityError: the masks drift from the model's.
        BackendUnavailableError: the backend or the device is not here.
        CheckpointError: there is no checkpoint at the path.
    """
    steps = Steps(3 if key is None else 4, progress=progress, stage=stage)
    signed: list[Check] = []
    if key is not None:
        steps.step("signature")
        found = verify_signature(path, key=key, signature=signature)
        signed = [Check(name="signature", passed=True, detail=f"{found} is by {key}")]
    steps.step("hashes")
    with Predictor.from_bundle(path, backend=backend, device=device) as predictor:
        verify_archive(predictor.bundle)
        manifest = predictor.manifest
        files = sum(len(artifact.files) for artifact in manifest.artifacts)
        hashes = Check(name="hashes", passed=True, detail=f"{files} files are as exported")
        checks = [*signed, hashes]
        steps.step("canary")
        checks.append(_canary(predictor))
        steps.step("parity")
        checks.append(_parity(predictor, checkpoint))
        active = predictor.active_backend()
    return Verification(path=path, manifest=manifest, backend=active, checks=tuple(checks))


def _canary(predictor: Predictor) -> Check:
    if not predictor.check_canary():
        return Check(name="canary", passed=None, detail="the bundle has none")
    return Check(name="canary", passed=True, detail="both pictures give the expected answers")


def _parity(predictor: Predictor, checkpoint: Path | None) -> Check:
    weights, reason = _weights(predictor.manifest, checkpoint)
    if weights is None:
        return Check(name="parity", passed=None, detail=reason)
    from samedge.proof import parity
    from samedge.proof.decision import kept_limits
    from samedge.proof.reference import TorchReference

    manifest = predictor.manifest
    model = zoo.load_model(weights, image_size=manifest.input_size).eval()
    photos = [load_image(photo) for photo in pictures_in(PHOTOS)]
    limits = kept_limits(manifest)
    measured = parity.measure(TorchReference(model), predictor, photos=photos, limits=limits)
    measured.check(advice=_ADVICE)
    record = measured.record()
    figures = {
        "images": record.images,
        "prompts": record.prompts,
        "mask_iou_mean": record.mask_iou_mean,
        "mask_iou_p05": record.mask_iou_p05,
        "decided_iou_mean": record.decided_iou_mean,
        "embedding_cosine_min": record.embedding_cosine_min,
    }
    detail = (
        f"mask IoU where decided {record.decided_iou_mean:.4f}, plain {record.mask_iou_mean:.4f}, "
        f"embedding cosine {record.embedding_cosine_min:.5f} on {record.images} photos"
    )
    return Check(name="parity", passed=True, detail=detail, measured=figures)


def _weights(manifest: Manifest, checkpoint: Path | None) -> tuple[Path | None, str]:
    """The weights that a bundle was exported from, or why there is nothing to compare with.

    Raises:
        BundleError: the checkpoint is another one.
        CheckpointError: there is none at its path.
    """
    expected = manifest.model.checkpoint_sha256
    if checkpoint is not None and expected is not None and weights_hash(checkpoint) != expected:
        raise BundleError(
            f"{checkpoint} is not the checkpoint of {manifest.model.name} that this bundle was "
            f"exported from: its SHA-256 should be {expected}."
        )
    if importlib.util.find_spec("torch") is None:
        return None, "not measured: needs torch, pip install 'samedge[export]'"
    if checkpoint is not None:
        return checkpoint, ""
    entry = zoo.MODELS.get(manifest.model.name)
    if entry is None or not entry.is_present or file_hash(entry.path) != expected:
        return None, "not measured: the weights are not at hand, name them with --checkpoint"
    return entry.path, ""
