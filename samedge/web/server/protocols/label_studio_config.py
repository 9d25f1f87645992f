"""Label Studio's labelling configuration: which tag draws on which image, and how."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET

from samedge.errors import PromptError
from samedge.formats.xml_files import element_from_text

_DRAWING = {"BrushLabels": "brushlabels", "PolygonLabels": "polygonlabels"}
"""Tags that can hold a mask, the exact one first, and the type of their results."""


@dataclasses.dataclass(frozen=True)
class Drawing:
    """Where masks go.

    Attributes:
        from_name: of the tag that draws.
        to_name: of the image.
        kind: type of its results.
        key: the image's key in a task's data.
        labels: that the tag offers.
    """

    from_name: str
    to_name: str
    kind: str
    key: str
    labels: tuple[str, ...]


def drawing_from_config(text: str) -> Drawing:
    """The first tag of a configuration that can hold a mask; brushes before polygons.

    Raises:
        PromptError: it is no configuration, or none of its tags can.
    """
    root = element_from_text(text, error=PromptError)
    images = {tag.get("name"): tag for tag in root.iter("Image")}
    for tag_name, kind in _DRAWING.items():
        for tag in root.iter(tag_name):
            image = images.get(tag.get("toName"))
            if image is not None and tag.get("name"):
                return Drawing(
                    from_name=str(tag.get("name")),
                    to_name=str(tag.get("toName")),
                    kind=kind,
                    key=str(image.get("value", "$image")).removeprefix("$"),
                    labels=tuple(_label(one) for one in tag.iter("Label")),
                )
    raise PromptError(
        f"The labelling configuration has no {' or '.join(_DRAWING)} on an Image: add one, so that "
        "there is something to draw masks with."
    )


def _label(tag: ET.Element) -> str:
    return str(tag.get("alias") or tag.get("value") or "")
