"""The node: the newest image of a topic, prompts by topic, masks and boxes out.

| name | type | what |
|---|---|---|
| `image` (in) | `sensor_msgs/Image` | frames, QoS sensor data |
| `~/point` (in) | `geometry_msgs/PointStamped` | a click in pixels: follow what is there, too |
| `~/box` (in) | `vision_msgs/BoundingBox2D` | a box in pixels: follow what is in it, too |
| `~/clear` (service) | `std_srvs/Trigger` | forget all objects |
| `~/masks` (out) | `sensor_msgs/Image` | mono8: 0, or an object's id plus one; the frame's header |
| `~/detections` (out) | `vision_msgs/Detection2DArray` | a box an object, its similarity as score |

Parameters: `bundle`, `backend`, `device`, `max_age_ms`. Tested with a stand-in for rclpy; not yet
run on a robot.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

import numpy as np
import rclpy
from geometry_msgs.msg import PointStamped
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger
from vision_msgs.msg import BoundingBox2D, Detection2D, Detection2DArray, ObjectHypothesisWithPose

import samedge
from samedge.errors import SamedgeError
from samedge.live.mailbox import Intake, Mailbox
from samedge_ros.images import fill_mono, rgb_from_message

_MOST_IDS = 254


class _Letter:
    """A message with its place in the stream, as a mailbox wants it."""

    def __init__(self, number: int, captured_s: float, message: Any) -> None:
        self.number, self.captured_s, self.message = number, captured_s, message


class FollowNode(Node):
    """Callbacks only put things down, and one thread follows: a frame never waits for another."""

    def __init__(self, predictor: Any = None) -> None:
        super().__init__("samedge")
        for name, default in (("bundle", ""), ("backend", ""), ("device", ""), ("max_age_ms", 0.0)):
            self.declare_parameter(name, default)
        self._predictor = predictor or self._open()
        self._tracker = samedge.Tracker(self._predictor)
        oldest = float(self._value("max_age_ms")) / 1e3
        self._box: Mailbox[_Letter] = Mailbox(Intake(max_age_s=oldest or None))
        self._prompts: deque[samedge.Prompt] = deque()
        self._changed = threading.Condition()
        self._closing = self._clearing = False
        self._number = 0
        self._state: Any = None
        self._masks = self.create_publisher(Image, "~/masks", qos_profile_sensor_data)
        self._boxes = self.create_publisher(
            Detection2DArray, "~/detections", qos_profile_sensor_data
        )
        self.create_subscription(Image, "image", self._on_image, qos_profile_sensor_data)
        self.create_subscription(PointStamped, "~/point", self._on_point, 10)
        self.create_subscription(BoundingBox2D, "~/box", self._on_box, 10)
        self.create_service(Trigger, "~/clear", self._on_clear)
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    @property
    def counts(self) -> Any:
        """What became of every image."""
        with self._changed:
            return self._box.counts

    def destroy_node(self) -> None:
        """End the following thread, then the node."""
        with self._changed:
            self._closing = True
            self._box, _ = self._box.close()
            self._changed.notify_all()
        self._thread.join()
        self._predictor.close()
        super().destroy_node()

    def _value(self, name: str) -> Any:
        return self.get_parameter(name).value

    def _open(self) -> samedge.Predictor:
        bundle, backend, device = (
            self._value(name) or None for name in ("bundle", "backend", "device")
        )
        if bundle is None:
            return samedge.load_default(backend=backend, device=device)
        return samedge.Predictor.from_bundle(bundle, backend=backend, device=device)

    def _now_s(self) -> float:
        return float(self.get_clock().now().nanoseconds) / 1e9

    def _on_image(self, message: Any) -> None:
        stamp = message.header.stamp.sec + message.header.stamp.nanosec / 1e9
        with self._changed:
            letter = _Letter(self._number, stamp or self._now_s(), message)
            self._number += 1
            self._box, _ = self._box.put(letter)
            self._changed.notify_all()

    def _on_point(self, message: Any) -> None:
        self._add([message.point.x, message.point.y], None)

    def _on_box(self, message: Any) -> None:
        # vision_msgs 4 (ROS 2 Humble and later) has center.position, version 3 has center.x.
        center = getattr(message.center, "position", message.center)
        half_x, half_y = message.size_x / 2, message.size_y / 2
        self._add(
            None, [center.x - half_x, center.y - half_y, center.x + half_x, center.y + half_y]
        )

    def _add(self, point: list[float] | None, box: list[float] | None) -> None:
        try:
            prompt = samedge.Prompt(points=None if point is None else [point], box=box)
        except SamedgeError as error:
            self.get_logger().error(str(error))
            return
        with self._changed:
            self._prompts.append(prompt)

    def _on_clear(self, request: Any, response: Any) -> Any:
        del request
        with self._changed:
            self._clearing = True
            self._prompts.clear()
        response.success, response.message = True, "all objects are forgotten"
        return response

    def _follow(self) -> None:
        while (letter := self._take()) is not None:
            try:
                self._one(letter.message)
            except (SamedgeError, ValueError) as error:  # noqa: PERF203 - milliseconds are below it
                self.get_logger().error(str(error))
            finally:
                with self._changed:
                    self._box = self._box.done()

    def _take(self) -> _Letter | None:
        with self._changed:
            while not self._closing:
                self._box, letter, _ = self._box.take(self._now_s())
                if letter is not None:
                    return letter
                self._changed.wait(0.1)
        return None

    def _one(self, message: Any) -> None:
        image = rgb_from_message(message)
        with self._changed:
            prompts = list(self._prompts)
            self._prompts.clear()
            if self._clearing:
                self._state, self._clearing = None, False
        objects: tuple[Any, ...] = ()
        if self._state is not None:
            stepped = self._tracker.step(self._state, image)
            self._state, objects = stepped.state, stepped.objects
        for prompt in prompts:
            try:
                begun = self._tracker.begin(image, [prompt], state=self._state)
            except SamedgeError as error:  # one bad click ends nothing else
                self.get_logger().error(str(error))
                continue
            self._state, objects = begun.state, begun.objects
        if self._state is not None:
            self._publish(message.header, image.shape[:2], objects)

    def _publish(self, header: Any, size: tuple[int, int], objects: tuple[Any, ...]) -> None:
        values = np.zeros(size, np.uint8)
        detections = Detection2DArray()
        detections.header = header
        for found in objects:
            values[found.mask] = min(found.id + 1, _MOST_IDS)
            if found.mask.any():
                detections.detections.append(_detection(header, found))
        self._masks.publish(fill_mono(Image(), values, header))
        self._boxes.publish(detections)


def _detection(header: Any, found: Any) -> Any:
    rows, columns = np.flatnonzero(found.mask.any(1)), np.flatnonzero(found.mask.any(0))
    detection = Detection2D()
    detection.header, detection.id = header, str(found.id)
    center = getattr(detection.bbox.center, "position", detection.bbox.center)
    center.x = float(columns[0] + columns[-1] + 1) / 2
    center.y = float(rows[0] + rows[-1] + 1) / 2
    detection.bbox.size_x = float(columns[-1] + 1 - columns[0])
    detection.bbox.size_y = float(rows[-1] + 1 - rows[0])
    hypothesis = ObjectHypothesisWithPose()
    hypothesis.hypothesis.class_id = "object"
    hypothesis.hypothesis.score = 1.0 if found.similarity is None else float(found.similarity)
    detection.results.append(hypothesis)
    return detection


def main() -> None:
    """Run the node until it is interrupted."""
    rclpy.init()
    node = FollowNode()
    try:
        rclpy.spin(node)
    except KeyboardInterrupt:
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
