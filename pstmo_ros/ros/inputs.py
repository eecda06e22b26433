"""Listens to a detector, whatever its messages are: finds out their type, and subscribes to what it needs."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from copy import copy
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.exceptions import InvalidTopicNameException
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from std_msgs.msg import Header

from pstmo_ros.adapters import stamp_ns
from pstmo_ros.adapters.detectors import (
    DETECTORS,
    HRI_BODY,
    HRI_IDS,
    HRI_SOURCE,
    KINDS,
    Detector,
    HriBodies,
    from_hri,
    of_form,
)
from pstmo_ros.adapters.forms import load_form
from pstmo_ros.adapters.people import check_pixels, person_id
from pstmo_ros.core import layouts
from pstmo_ros.core.layouts import nearest
from pstmo_ros.core.types import Frame2D

TOPIC = "keypoints"
HRI_TOPIC = "/humans/bodies/tracked"
# Best effort takes what reliable and best-effort publishers send; the depth bridges a slow moment, not a slow machine.
INPUT_QOS = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)
LOOK_EVERY_S = 0.2
Size = tuple[int, int]
OnKeypoints = Callable[[Callable[[str], Header], Callable[[Size], Frame2D]], None]


def overridable(qos: QoSProfile) -> dict[str, Any]:
    """A topic's QoS that users may change by parameters, qos_overrides.TOPIC.subscription.depth and the like."""
    # A copy: rclpy changes the profile that it is given, and the next topic is to have its own.
    return {"qos_profile": copy(qos), "qos_overriding_options": QoSOverridingOptions.with_default_policies()}


class KeypointInput:
    """Gives for each keypoint message what finds its header, given camera_info's frame_id (empty while unknown), and
    what makes it a Frame2D, once the size of the image is known.

    They raise KeypointsError or ValueError for a message that cannot be used.
    """

    def __init__(self, node: Node, kind: str, form: str, layout: str, on_keypoints: OnKeypoints) -> None:
        """kind: one of KINDS; form: YAML file, for generic. ValueError names what is missing and where to get it."""
        self._node, self._on_keypoints, self._layout = node, on_keypoints, layouts.get(layout)
        self._subscriptions: list[Any] = []
        self._hearing: object = None  # what is destroyed is called until the executor hears of that: by then, in vain
        self._hri: _Bodies | None = None
        self._timer: Any = None
        self._unknown: set[str] = set()
        self._looks, self._topic = kind == "auto", HRI_TOPIC if kind == "hri" else TOPIC
        if kind not in KINDS:
            raise ValueError(f"parameter keypoints_type: {kind!r} is unknown; {nearest(kind, KINDS)}")
        if kind == "generic" and not form:
            raise ValueError(
                "parameter keypoints_form is empty; keypoints_type generic needs a YAML file, see config/adapters"
            )
        self._detector = of_form(load_form(form)) if kind == "generic" else DETECTORS.get(kind)
        if kind == "auto":  # until another type shows up: this one needs no package
            self._detector = DETECTORS["pointcloud"]
        if self._detector is not None:
            message_class(self._detector.type, self._detector.source)
        else:
            message_class(HRI_IDS, HRI_SOURCE)

    @property
    def topics(self) -> list[str]:
        """What is listened to now."""
        return [s.topic_name for s in self._subscriptions]

    def body(self, person_id: int) -> str | None:
        """The detector's own name for somebody, where it gives people names (hri)."""
        return None if self._hri is None else self._hri.names.get(person_id)

    def start(self) -> None:
        """Listen."""
        self._listen()
        if self._looks:
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            self._timer = self._node.create_timer(LOOK_EVERY_S, self._look, clock=steady)

    def stop(self) -> None:
        """Listen no more."""
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
            self._timer = None
        self._forget()

    def _listen(self) -> None:
        detector, topic = self._detector, self._topic
        if detector is None:
            folder = PurePosixPath(self._node.resolve_topic_name(topic)).parent
            self._hri = _Bodies(self._node, folder, self._on_keypoints)
            kind, callback = message_class(HRI_IDS, HRI_SOURCE), self._hri.on_ids
        else:
            kind = message_class(detector.type, detector.source)

            def callback(message: Any) -> None:
                self._on_keypoints(partial(_header, detector, message), partial(self._read, detector, message))

        self._hearing = hearing = object()

        def heard(message: Any) -> None:
            if self._hearing is hearing:
                callback(message)

        self._subscriptions.append(
            self._node.create_subscription(kind, topic, callback=heard, **overridable(INPUT_QOS))
        )

    def _read(self, detector: Detector, message: Any, size_px: Size) -> Frame2D:
        frame = detector.adapter(message, self._layout, size_px)
        check_pixels(frame.keypoints_px[frame.scores > 0], size_px)
        return frame

    def _forget(self) -> None:
        self._hearing = None
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.pop())
        if self._hri is not None:
            self._hri.close()
            self._hri = None

    def _look(self) -> None:
        """Take up the type that is published on the topic."""
        if self._timer is None:
            return
        topic = self._node.resolve_topic_name(TOPIC)
        if not self._subscriptions:  # not at once: until a callback returns, what it destroyed may live on
            self._listen()
            return
        current = HRI_IDS if self._detector is None else self._detector.type
        types = {info.topic_type for info in self._node.get_publishers_info_by_topic(topic)}
        if not types or current in types:
            return
        by_type: dict[str, Detector | None] = {d.type: d for d in DETECTORS.values()} | {HRI_IDS: None}
        for name in sorted(types - self._unknown):
            try:
                if name not in by_type:
                    raise ValueError(
                        f"{topic} carries {name}; known are {', '.join(by_type)}; for another one set parameter "
                        "keypoints_type to generic and describe it as in config/adapters"
                    )
                source = HRI_SOURCE if name == HRI_IDS else by_type[name].source  # type: ignore[union-attr]
                message_class(name, source)
            except ValueError as e:
                self._unknown.add(name)  # said once
                self._node.get_logger().warning(str(e))
                continue
            self._detector = by_type[name]
            self._forget()
            self._node.get_logger().info(f"{topic} carries {name}")
            return


class _Bodies:
    """REP-155: a list of body ids, and each body's skeleton on a topic of its own beside it."""

    def __init__(self, node: Node, folder: PurePosixPath, on_keypoints: OnKeypoints) -> None:
        self._node, self._folder, self._on_keypoints = node, folder, on_keypoints
        self._class = message_class(HRI_BODY, HRI_SOURCE)
        self._bodies = HriBodies()
        self._subscriptions: dict[str, Any] = {}
        self.names: dict[int, str] = {}  # of the tracked bodies: their ids, by the number that stands for each

    def on_ids(self, message: Any) -> None:
        """The bodies that are now tracked: listen to the new ones, and no longer to those that left."""
        tracked = set(message.ids)
        self.names = {number: body for body in tracked if (number := person_id(body)) is not None}
        for body in [b for b in self._subscriptions if b not in tracked]:
            self._leave(body)
        for body in sorted(tracked - set(self._subscriptions)):
            self._follow(body)
        self._give(self._bodies.track(tracked))
        if not tracked:
            header = message.header
            self._on_keypoints(lambda _: header, partial(from_hri, stamp_ns(header), {}))

    def close(self) -> None:
        """Listen no more."""
        for body in list(self._subscriptions):
            self._leave(body)

    def _leave(self, body: str) -> None:
        subscription = self._subscriptions.pop(body)
        if subscription is not None:
            self._node.destroy_subscription(subscription)

    def _follow(self, body: str) -> None:
        topic = str(self._folder / body / "skeleton2d")
        try:
            self._subscriptions[body] = self._node.create_subscription(
                self._class, topic, lambda skeleton: self._on_body(body, skeleton), INPUT_QOS
            )
        except InvalidTopicNameException as e:
            self._subscriptions[body] = None  # said once
            self._node.get_logger().warning(f"body {body!r} is not followed: {e}")

    def _on_body(self, body: str, skeleton: Any) -> None:
        if body in self._subscriptions:  # else it left, and the executor has not heard of that yet
            self._give(self._bodies.add(body, skeleton))

    def _give(self, frames: list[dict[str, Any]]) -> None:
        for bodies in frames:
            header = next(iter(bodies.values())).header
            self._on_keypoints(lambda _, header=header: header, partial(from_hri, stamp_ns(header), bodies))


def _header(detector: Detector, message: Any, camera_frame: str) -> Header:
    """A message's header, its frame the camera's optical one as far as that is known."""
    header = detector.header(message)
    return header if detector.optical or not camera_frame else Header(stamp=header.stamp, frame_id=camera_frame)


def message_class(name: str, source: str) -> Any:
    """The class of "package/msg/Name". ValueError says where the package comes from when it is not there."""
    package, _, kind = name.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), kind)
    except (ImportError, AttributeError):
        raise ValueError(f"{name} is not installed here: {source}; then source the workspace") from None
