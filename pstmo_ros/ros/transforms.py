"""What tf2 knows: poses in another frame than the camera's, where down is for the camera, and how it stands."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rclpy.duration import Duration
from rclpy.time import Time
from scipy.spatial.transform import Rotation
from std_msgs.msg import Header

from pstmo_ros.core.steady import OLDEST_S
from pstmo_ros.core.types import Floats, Pose3D, Stand


class NoTransform(RuntimeError):
    """tf2 does not know the way between two frames; the message says which."""


class Transforms:
    """A node's buffer of transforms, and the questions that it is asked, each about the frame of one parameter."""

    def __init__(self, node: Any, frames: Mapping[str, str], wait_s: float) -> None:
        """frames: of the parameters that name one. ValueError where tf2_ros is not installed."""
        try:
            import tf2_ros
        except ImportError:
            name, frame = next(iter(frames.items()))
            raise ValueError(
                f"parameter {name} is {frame!r}, but tf2_ros is not installed: "
                f"apt install ros-$ROS_DISTRO-tf2-ros-py, or leave {name} empty"
            ) from None
        self._frames = frames
        self._node, self._wait = node, Duration(nanoseconds=int(wait_s * 1e9))
        self._buffer = tf2_ros.Buffer(node=node)
        self._listener = tf2_ros.TransformListener(self._buffer, node)
        self._failure = tf2_ros.TransformException

    def move(self, header: Header, poses: Sequence[Pose3D]) -> tuple[Header, list[Pose3D]]:
        """Poses and header in the target frame, at their stamp; waits at most ``wait_s`` for a transform to come."""
        target = self._frames["target_frame"]
        if header.frame_id == target:
            return header, list(poses)
        at = Time.from_msg(header.stamp)
        translation, rotation, _ = self._look_up("target_frame", header.frame_id, at, self._wait)
        moved = [_moved(pose, rotation, translation) for pose in poses]
        return Header(stamp=header.stamp, frame_id=target), moved

    def down(self, camera_frame: str) -> tuple[float, float, float]:
        """The direction opposite to the gravity frame's z, in the camera's axes, by the newest transform; no waiting:
        a camera tilts slowly."""
        _, rotation, _ = self._look_up("gravity_frame", camera_frame, Time(), Duration())
        x, y, z = (-rotation[2]).tolist()
        return x, y, z

    def stand(self, header: Header) -> Stand:
        """How the camera stood in the odometry frame at a frame's stamp, or where that transform has not come yet, by
        the newest; no waiting."""
        at = Time.from_msg(header.stamp)
        try:
            position, rotation, _ = self._look_up("odom_frame", header.frame_id, at, Duration())
        except NoTransform:
            position, rotation, found = self._look_up("odom_frame", header.frame_id, Time(), Duration())
            if (old := abs((at - found).nanoseconds) * 1e-9) > OLDEST_S:
                frame = self._frames["odom_frame"]
                raise NoTransform(
                    f"the newest transform from {header.frame_id} to odom_frame {frame} is {old:.1f} s away"
                ) from None
        return Stand(rotation.T, position)

    def forget(self) -> None:
        """Time went back: tf2 would refuse what is older than what it knows. Static transforms stay."""
        self._buffer.clear()

    def close(self) -> None:
        """Listen no more."""
        self._listener.unregister()
        self._node.destroy_service(self._buffer.srv)  # tf2_frames: the next buffer makes its own

    def _look_up(self, name: str, camera_frame: str, at: Time, wait: Duration) -> tuple[Floats, Floats, Time]:
        """Translation (3,) m and rotation (3, 3) from the camera's frame to that of parameter ``name``, and when."""
        to = self._frames[name]
        try:
            found = self._buffer.lookup_transform(to, camera_frame, at, timeout=wait)
        except self._failure as e:
            raise NoTransform(f"no transform from {camera_frame} to {name} {to} ({e})") from None
        by, turn = found.transform.translation, found.transform.rotation
        rotation = Rotation.from_quat([turn.x, turn.y, turn.z, turn.w]).as_matrix()
        return np.array([by.x, by.y, by.z]), rotation, Time.from_msg(found.header.stamp)


def _moved(pose: Pose3D, rotation: Floats, translation: Floats) -> Pose3D:
    return dataclasses.replace(
        pose,
        root_relative_m=pose.root_relative_m @ rotation.T,
        position_m=None if pose.position_m is None else pose.position_m @ rotation.T + translation,
        velocity_m_s=pose.velocity_m_s @ rotation.T,
    )
