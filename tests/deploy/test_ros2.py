"""The ROS 2 node, on a stand-in for rclpy: topics, newest image, prompts, masks, counts."""

from __future__ import annotations

import importlib
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tracking.toys import BLUE, RED, ColourSegmenter, box_of, scene, truth

PACKAGE = Path(__file__).resolve().parents[2] / "deploy/ros2/samedge_ros"


class Anything:
    """A message: any field can be set, and fields that are read are made."""

    def __init__(self) -> None:
        self.detections: list[Any] = []
        self.results: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        value = Anything()
        setattr(self, name, value)
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        self.__dict__[name] = value


class FakeNode:
    def __init__(self, name: str) -> None:
        self.name, self.errors = name, []  # type: ignore[var-annotated]
        self.topics: dict[str, tuple[Callable[..., Any], Any]] = {}
        self.services: dict[str, Callable[..., Any]] = {}
        self.published: dict[str, list[Any]] = {}
        self.parameters: dict[str, Any] = {}

    def declare_parameter(self, name: str, default: Any) -> None:
        self.parameters.setdefault(name, default)

    def get_parameter(self, name: str) -> Any:
        return types.SimpleNamespace(value=self.parameters[name])

    def create_publisher(self, kind: type, topic: str, qos: Any) -> Any:
        sent = self.published.setdefault(topic, [])
        assert qos == "sensor data"
        return types.SimpleNamespace(publish=sent.append)

    def create_subscription(self, kind: type, topic: str, callback: Any, qos: Any) -> None:
        self.topics[topic] = callback, qos

    def create_service(self, kind: type, name: str, callback: Any) -> None:
        self.services[name] = callback

    def get_clock(self) -> Any:
        now = types.SimpleNamespace(nanoseconds=int(time.time() * 1e9))
        return types.SimpleNamespace(now=lambda: now)

    def get_logger(self) -> Any:
        return types.SimpleNamespace(error=self.errors.append)

    def destroy_node(self) -> None:
        pass


def modules() -> dict[str, types.ModuleType]:
    def module(name: str, **content: Any) -> tuple[str, types.ModuleType]:
        made = types.ModuleType(name)
        made.__dict__.update(content)
        return name, made

    messages = ("BoundingBox2D", "Detection2D", "Detection2DArray", "ObjectHypothesisWithPose")
    return dict(
        [
            module("rclpy"),
            module("rclpy.node", Node=FakeNode),
            module("rclpy.qos", qos_profile_sensor_data="sensor data"),
            module("geometry_msgs"),
            module("geometry_msgs.msg", PointStamped=Anything),
            module("sensor_msgs"),
            module("sensor_msgs.msg", Image=Anything),
            module("std_srvs"),
            module("std_srvs.srv", Trigger=Anything),
            module("vision_msgs"),
            module("vision_msgs.msg", **dict.fromkeys(messages, Anything)),
        ]
    )


class Model(ColourSegmenter):
    closed = False

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name, module in modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.syspath_prepend(str(PACKAGE))
    for name in ("samedge_ros", "samedge_ros.images", "samedge_ros.node"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    made = importlib.import_module("samedge_ros.node").FollowNode(Model())
    yield made
    made.destroy_node()
    assert made._predictor.closed
    counts = made.counts
    assert counts.in_flight == 0
    assert counts.captured == counts.processed + counts.dropped


def image_message(image: np.ndarray, *, encoding: str = "rgb8", padding: int = 5) -> Any:
    pixels = image[..., ::-1] if encoding == "bgr8" else image
    rows = pixels.reshape(image.shape[0], -1)
    message = Anything()
    message.height, message.width = image.shape[:2]
    message.encoding, message.step = encoding, rows.shape[1] + padding
    message.data = np.pad(rows, ((0, 0), (0, padding))).tobytes()
    message.header.stamp.sec, message.header.stamp.nanosec = int(time.time()), 0
    return message


def click(x: float, y: float) -> Any:
    message = Anything()
    message.point.x, message.point.y = x, y
    return message


def send(node: Any, topic: str, message: Any) -> None:
    node.topics[topic][0](message)


def show(node: Any, image: np.ndarray, **options: Any) -> None:
    """Send an image and wait until it has been worked on."""
    before = node.counts.processed
    send(node, "image", image_message(image, **options))
    deadline = time.monotonic() + 600
    while node.counts.processed == before and time.monotonic() < deadline:
        time.sleep(0.002)
    assert node.counts.processed == before + 1


def mask_of(message: Any) -> np.ndarray:
    assert message.encoding == "mono8"
    return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width)


def test_images_come_with_sensor_data_quality(node: Any) -> None:
    assert node.topics["image"][1] == "sensor data"


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8"])
def test_a_click_is_followed(node: Any, encoding: str) -> None:
    send(node, "~/point", click(40, 60))
    for step in range(5):
        image = scene((40 + 3 * step, 60, RED), seed=step)
        show(node, image, encoding=encoding)
    masks = node.published["~/masks"]
    assert len(masks) == 5
    wanted = truth(image, RED)
    found = mask_of(masks[-1]) == 1
    assert (found & wanted).sum() / (found | wanted).sum() > 0.8
    box = node.published["~/detections"][-1].detections[0].bbox
    assert box.center.position.x == pytest.approx(52, abs=3)
    assert box.size_x == pytest.approx(30, abs=4)


def test_objects_join_by_box_and_are_cleared(node: Any) -> None:
    image = scene((40, 40, RED), (120, 90, BLUE))
    show(node, image)
    assert node.published["~/masks"] == []  # nothing to follow, nothing to say
    send(node, "~/point", click(40, 40))
    show(node, image)
    x0, y0, x1, y1 = box_of(image, BLUE)
    box = Anything()
    box.center.position.x, box.center.position.y = (x0 + x1) / 2, (y0 + y1) / 2
    box.size_x, box.size_y = float(x1 - x0), float(y1 - y0)
    send(node, "~/box", box)
    show(node, image)
    assert set(np.unique(mask_of(node.published["~/masks"][-1]))) == {0, 1, 2}
    answer = node.services["~/clear"](Anything(), Anything())
    assert answer.success
    count = len(node.published["~/masks"])
    show(node, image)
    assert len(node.published["~/masks"]) == count


def test_the_newest_image_wins(node: Any) -> None:
    send(node, "~/point", click(40, 60))
    show(node, scene((40, 60, RED)))
    with node._changed:  # the following thread cannot take while the burst comes
        for step in range(20):
            message = image_message(scene((40 + step, 60, RED)))
            message.header.stamp.nanosec = step
            node._box, _ = node._box.put(
                sys.modules["samedge_ros.node"]._Letter(100 + step, time.time(), message)
            )
    deadline = time.monotonic() + 600
    while node.counts.processed < 2 and time.monotonic() < deadline:
        time.sleep(0.002)
    assert node.counts.processed == 2
    assert node.counts.dropped == 19
    assert node.published["~/masks"][-1].header.stamp.nanosec == 19


def test_what_is_no_image_is_said_and_survived(node: Any) -> None:
    send(node, "~/point", click(40, 60))
    bad = image_message(scene((40, 60, RED)))
    bad.encoding = "yuv422"
    half = image_message(scene((40, 60, RED)))
    half.data = half.data[: len(half.data) // 2]
    for message in (bad, half):
        before = node.counts.processed
        send(node, "image", message)
        while node.counts.processed == before:
            time.sleep(0.002)
    assert "yuv422" in node.errors[0]
    assert "expected" in node.errors[1]
    show(node, scene((40, 60, RED)))
    assert len(node.published["~/masks"]) == 1


def test_a_click_beside_the_image_ends_nothing(node: Any) -> None:
    empty = Anything()
    empty.center.position.x, empty.center.position.y = 5.0, 5.0
    empty.size_x, empty.size_y = 0.0, 0.0
    send(node, "~/box", empty)
    send(node, "~/point", click(40, 60))
    show(node, scene((40, 60, RED)))
    assert len(node.errors) == 1
    assert len(node.published["~/masks"]) == 1
