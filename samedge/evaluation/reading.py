"""Reads a dataset's images for whoever measures, and keeps those that cannot be read."""

from __future__ import annotations

from samedge.errors import DatasetError, ImageError
from samedge.evaluation.ground_truth import GroundTruth, TruthImage
from samedge.files.error_documents import ErrorRecord, error_record
from samedge.records import DatasetRecord, FailedImage
from samedge.types import Array


class Readings:
    """The images of a dataset as one measurement reads them.

    An image that cannot be read, or is of another size than the masks, is left out and named in the
    dataset's record.

    Args:
        truth: from ``load_ground_truth``.

    Raises:
        DatasetError: an image's file is missing, which is found before any work.
    """

    def __init__(self, truth: GroundTruth) -> None:
        self._truth = truth
        self._failed: dict[str, ErrorRecord] = {}
        for image in truth.images:
            image.check_file()

    def pixels(self, image: TruthImage) -> Array | None:
        """The image; ``None``, and its reason kept, where it cannot be used."""
        try:
            return image.pixels()
        except (DatasetError, ImageError, OSError) as error:
            self._failed[image.name] = error_record(error)
            return None

    def record(self) -> DatasetRecord:
        """What was measured on, after the last image.

        Raises:
            DatasetError: none of the images can be read.
        """
        truth, failed = self._truth, self._failed
        if failed and len(failed) == len(truth.images):
            reason = next(iter(failed.values())).message
            raise DatasetError(f"No image of {truth.path} can be read: {reason}")
        lost = [image for image in truth.images if image.name in failed]
        return DatasetRecord(
            path=str(truth.path),
            images=len(truth.images) - len(lost),
            instances=truth.instance_count - sum(len(image.annotations) for image in lost),
            skipped=truth.skipped,
            images_dir=str(truth.images_dir),
            failed={name: error.message for name, error in failed.items()},
            failures=[FailedImage(image=name, error=error) for name, error in failed.items()],
        )
