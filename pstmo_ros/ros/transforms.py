"""What tf2 knows: poses in another frame than the camera's, and where down is for the camera."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from rclpy.duration import Duration
from rclpy.time import Time
from scipy.spatial.transform import Rotation
from std_msgs.msg import Header

from pstmo_ros.core.types import Floats, Pose3D


class NoTransform(RuntimeError):
    """tf2 does not know the way between two frames; the message says which."""


class Transforms:
    """A node's buffer of transforms, and the two questions that it is asked."""

    def __init__(self, node: Any, target_frame: str, gravity_frame: str, wait_s: float) -> None:
        """Frames may be empty: that question is then not asked. ValueError where tf2_ros is not installed."""
        try:
            import tf2_ros
        except ImportError:
            name, frame = ("target_frame", target_frame) if target_frame else ("gravity_frame", gravity_frame)
            raise ValueError(
                f"parameter {name} is {frame!r}, but tf2_ros is not installed: "
                f"apt install ros-$ROS_DISTRO-tf2-ros-py, or leave {name} empty"
            ) from None
        self.target_frame, self.gravity_frame = target_frame, gravity_frame
        self._node, self._wait = node, Duration(nanoseconds=int(wait_s * 1e9))
        self._buffer = tf2_ros.Buffer(node=node)
        self._listener = tf2_ros.TransformListener(self._buffer, node)
        self._failure = tf2_ros.TransformException

    def move(self, header: Header, poses: Sequence[Pose3D]) -> tuple[Header, list[Pose3D]]:
        """Poses and header in the target frame, at their stamp; waits at most ``wait_s`` for a transform to come."""
        if header.frame_id == self.target_frame:
            return header, list(poses)
        translation, rotation = self._look_up(
            "target_frame", self.target_frame, header.frame_id, Time.from_msg(header.stamp), self._wait
        )
        moved = [_moved(pose, rotation, translation) for pose in poses]
        return Header(stamp=header.stamp, frame_id=self.target_frame), moved

    def down(self, camera_frame: str) -> tuple[float, float, float]:
        """The direction opposite to the gravity frame's z, in the camera's axes, by the newest transform; no waiting:
        a camera tilts slowly."""
        _, rotation = self._look_up("gravity_frame", camera_frame, self.gravity_frame, Time(), Duration())
        x, y, z = (-rotation[:, 2]).tolist()
        return x, y, z

    def forget(self) -> None:
        """Time went back: tf2 would refuse what is older than what it knows. Static transforms stay."""
        self._buffer.clear()

    def close(self) -> None:
        """Listen no more."""
        self._listener.unregister()
        self._node.destroy_service(self._buffer.srv)  # tf2_frames: the next buffer makes its own

    def _look_up(self, name: str, to: str, source: str, at: Time, wait: Duration) -> tuple[Floats, Floats]:
        """Translation (3,) m and rotation (3, 3) to one frame from another; name: the parameter that asks."""
        try:
            found = self._buffer.lookup_transform(to, source, at, timeout=wait).transform
        except self._failure as e:
            camera = source if name == "target_frame" else to
            frame = to if name == "target_frame" else source
            raise NoTransform(f"no transform from {camera} to {name} {frame} ({e})") from None
        by, turn = found.translation, found.rotation
        rotation = Rotation.from_quat([turn.x, turn.y, turn.z, turn.w]).as_matrix()
        return np.array([by.x, by.y, by.z]), rotation


def _moved(pose: Pose3D, rotation: Floats, translation: Floats) -> Pose3D:
    return dataclasses.replace(
        pose,
        root_relative_m=pose.root_relative_m @ rotation.T,
        position_m=None if pose.position_m is None else pose.position_m @ rotation.T + translation,
        velocity_m_s=pose.velocity_m_s @ rotation.T,
    )
