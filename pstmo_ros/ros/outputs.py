"""Every output of the node: made, and sent, only while somebody listens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from geometry_msgs.msg import PoseArray
from rclpy.qos import QoSProfile
from sensor_msgs.msg import JointState, PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from pstmo_ros.core.orientation import orientations
from pstmo_ros.core.types import Floats, Pose3D
from pstmo_ros.ros import bodies, messages
from pstmo_ros.ros.inputs import message_class, overridable
from pstmo_ros.ros.parameters import NodeConfig

QOS = QoSProfile(depth=10)
TF_QOS = QoSProfile(depth=100)  # tf2's own
HUMANS = "/humans/bodies"
_SOURCE = "apt install ros-$ROS_DISTRO-{}"
Poses = Sequence[Pose3D]
Make = Callable[[Header, Poses, Callable[[], Floats]], Any]


class Outputs:
    """The publishers of a configured node."""

    def __init__(self, node: Any, config: NodeConfig) -> None:
        """ValueError names the package that a wanted output lacks."""
        tf = message_class("tf2_msgs/msg/TFMessage", _SOURCE.format("tf2-msgs")) if config.publish_tf else None
        ids = message_class("hri_msgs/msg/IdsList", _SOURCE.format("hri-msgs")) if config.rep155 else None
        self._node = node
        self.markers = messages.SkeletonMarkers(config.marker_lifetime_s)
        self._topics: list[tuple[Any, Make]] = []
        self._bodies: dict[str, Any] = {}
        self._rep155 = config.rep155
        self._add("~/skeletons", PointCloud2, lambda header, poses, frames: messages.skeletons(header, poses))
        self._add("~/poses", PoseArray, lambda header, poses, frames: messages.pose_array(header, poses, frames()))
        self._add("~/markers", MarkerArray, lambda header, poses, frames: self.markers.update(header, poses))
        self._add("~/joint_states", JointState, _states)
        self._add("~/closest", PointCloud2, lambda header, poses, frames: bodies.closest(header, poses))
        if tf is not None:
            self._add("/tf", tf, lambda *what: tf(transforms=_transforms(*what)), TF_QOS)
        if ids is not None:
            self._add(f"{HUMANS}/tracked", ids, lambda header, poses, frames: ids(header=header, ids=_ids(poses)))

    def publish(self, header: Header, poses: Poses) -> None:
        """Send what is listened to."""
        frames = cache(lambda: orientations(messages.positions_m(poses)))
        for publisher, make in self._topics:
            if publisher.get_subscription_count():
                publisher.publish(make(header, poses, frames))
        if self._rep155:
            self._publish_bodies(header, poses, frames)

    def close(self) -> None:
        """Let go of the publishers."""
        while self._topics:
            self._node.destroy_lifecycle_publisher(self._topics.pop()[0])
        while self._bodies:
            self._node.destroy_publisher(self._bodies.popitem()[1])

    def _add(self, topic: str, kind: Any, make: Make, qos: QoSProfile = QOS) -> None:
        options = overridable()
        publisher = self._node.create_lifecycle_publisher(kind, topic, qos, qos_overriding_options=options)
        self._topics.append((publisher, make))

    def _publish_bodies(self, header: Header, poses: Poses, frames: Callable[[], Floats]) -> None:
        """REP-155's joint states, on a topic for each body that is there."""
        present = _ids(poses)
        for gone in [i for i in self._bodies if i not in present]:
            self._node.destroy_publisher(self._bodies.pop(gone))
        for p, body in enumerate(present):
            if body not in self._bodies:
                self._bodies[body] = self._node.create_publisher(JointState, f"{HUMANS}/{body}/joint_states", QOS)
            if self._bodies[body].get_subscription_count():
                message = bodies.joint_states(header, poses[p : p + 1], frames()[p : p + 1])
                self._bodies[body].publish(message)


def _ids(poses: Poses) -> list[str]:
    return [bodies.body_id(pose.person_id) for pose in poses]


def _states(header: Header, poses: Poses, frames: Callable[[], Floats]) -> JointState:
    return bodies.joint_states(header, poses, frames())


def _transforms(header: Header, poses: Poses, frames: Callable[[], Floats]) -> list[Any]:
    """Nothing while no camera is known: the poses are in no frame then."""
    placed = all(pose.position_m is not None for pose in poses)
    return bodies.transforms(header, poses, frames()) if placed else []
