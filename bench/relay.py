"""The least that a node can do with the same messages: what comes in as keypoints goes out as an empty skeleton."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, PointCloud2

from pstmo_ros.adapters.point_cloud import SKELETON_POINT
from pstmo_ros.core import skeleton
from pstmo_ros.ros.inputs import INPUT_QOS
from pstmo_ros.ros.messages import cloud
from pstmo_ros.ros.outputs import QOS
from pstmo_ros.ros.spin import init, spin


class Relay(Node):
    """Topics, types, sizes, QoS and executor are the lifter's."""

    def __init__(self) -> None:
        super().__init__("relay")
        self._skeletons = self.create_publisher(PointCloud2, "/lifter/skeletons", QOS)
        self.create_subscription(CameraInfo, "/camera_info", lambda _: None, INPUT_QOS)
        self.create_subscription(PointCloud2, "/keypoints", self._pass_on, INPUT_QOS)
        self._points: dict[int, PointCloud2] = {}  # by number of people

    def _pass_on(self, message: PointCloud2) -> None:
        people = message.height
        if people not in self._points:
            self._points[people] = cloud(message.header, np.zeros((people, skeleton.J), SKELETON_POINT))
        out = self._points[people]
        out.header = message.header
        self._skeletons.publish(out)


def main() -> None:
    with suppress(KeyboardInterrupt):
        init(None)
        spin(Relay())


if __name__ == "__main__":
    main()
