"""Every output of the node: made, and sent, only while somebody listens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from geometry_msgs.msg import PoseArray
from rclpy.qos import QoSProfile
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from pstmo_ros.core.types import Pose3D
from pstmo_ros.ros import messages
from pstmo_ros.ros.inputs import overridable
from pstmo_ros.ros.parameters import NodeConfig

QOS = QoSProfile(depth=10)
Make = Callable[[Header, Sequence[Pose3D]], Any]


class Outputs:
    """The publishers of a configured node."""

    def __init__(self, node: Any, config: NodeConfig) -> None:
        self._node = node
        self.markers = messages.SkeletonMarkers(config.marker_lifetime_s)
        self._topics: list[tuple[Any, Make]] = []
        for name, kind, make in (
            ("skeletons", PointCloud2, messages.skeletons),
            ("poses", PoseArray, messages.pose_array),
            ("markers", MarkerArray, self.markers.update),
        ):
            publisher = node.create_lifecycle_publisher(kind, f"~/{name}", QOS, qos_overriding_options=overridable())
            self._topics.append((publisher, make))

    def publish(self, header: Header, poses: Sequence[Pose3D]) -> None:
        """Send what is listened to."""
        for publisher, make in self._topics:
            if publisher.get_subscription_count():
                publisher.publish(make(header, poses))

    def close(self) -> None:
        """Let go of the publishers."""
        while self._topics:
            self._node.destroy_lifecycle_publisher(self._topics.pop()[0])
