"""Poses in another frame than the camera's, by tf2."""

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
    """tf2 does not know the way from the camera to the target frame at a frame's stamp."""


class TargetFrame:
    """Moves poses to a frame, at their stamp; waits at most ``wait_s`` for a transform that is still to come."""

    def __init__(self, node: Any, frame: str, wait_s: float) -> None:
        """ValueError where tf2_ros is not installed."""
        try:
            import tf2_ros
        except ImportError:
            raise ValueError(
                f"parameter target_frame is {frame!r}, but tf2_ros is not installed: "
                "apt install ros-$ROS_DISTRO-tf2-ros-py, or leave target_frame empty"
            ) from None
        self._node, self._frame, self._wait = node, frame, Duration(nanoseconds=int(wait_s * 1e9))
        self._buffer = tf2_ros.Buffer(node=node)
        self._listener = tf2_ros.TransformListener(self._buffer, node)
        self._failure = tf2_ros.TransformException

    def move(self, header: Header, poses: Sequence[Pose3D]) -> tuple[Header, list[Pose3D]]:
        """Poses and header in the target frame. NoTransform says which transform is missing."""
        if header.frame_id == self._frame:
            return header, list(poses)
        try:
            found = self._buffer.lookup_transform(
                self._frame, header.frame_id, Time.from_msg(header.stamp), timeout=self._wait
            )
        except self._failure as e:
            raise NoTransform(f"no transform from {header.frame_id} to target_frame {self._frame} ({e})") from None
        to, turn = found.transform.translation, found.transform.rotation
        rotation = Rotation.from_quat([turn.x, turn.y, turn.z, turn.w]).as_matrix()
        moved = [_moved(pose, rotation, np.array([to.x, to.y, to.z])) for pose in poses]
        return Header(stamp=header.stamp, frame_id=self._frame), moved

    def forget(self) -> None:
        """Time went back: tf2 would refuse what is older than what it knows. Static transforms stay."""
        self._buffer.clear()

    def close(self) -> None:
        """Listen no more."""
        self._listener.unregister()
        self._node.destroy_service(self._buffer.srv)  # tf2_frames: the next buffer makes its own


def _moved(pose: Pose3D, rotation: Floats, translation: Floats) -> Pose3D:
    return dataclasses.replace(
        pose,
        root_relative_m=pose.root_relative_m @ rotation.T,
        position_m=None if pose.position_m is None else pose.position_m @ rotation.T + translation,
        velocity_m_s=pose.velocity_m_s @ rotation.T,
    )
