"""What follows from tf2: poses in another frame than the camera's, where down is for the camera, and how it stands."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from rclpy.duration import Duration
from rclpy.time import Time
from scipy.spatial.transform import Rotation
from std_msgs.msg import Header

from pstmo_ros.core.camera import Camera
from pstmo_ros.core.steady import OLDEST_S
from pstmo_ros.core.types import Floats, Frame2D, Pose3D, Stand

_STALE_S = 1.0  # a transform that is so much older than a frame is not followed by that frame's at once


class NoTransform(RuntimeError):
    """tf2 does not know the way between two frames; the message says which."""


class Transforms:
    """A node's buffer of transforms, and what follows from them, each by the frame that one parameter names."""

    def __init__(self, node: Any, frames: Mapping[str, str], wait_s: float, warn: Callable[[str, str], None]) -> None:
        """frames: of the parameters that name one; without any, nothing follows. warn: text, and what it is about.

        ValueError where tf2_ros is needed and not installed.
        """
        self._node, self._frames, self._wait, self._warn = node, frames, Duration(nanoseconds=int(wait_s * 1e9)), warn
        self._buffer: Any = None
        self._missed = False  # whether the last transform to the target frame did not come
        if not frames:
            return
        try:
            import tf2_ros
        except ImportError:
            name, frame = next(iter(frames.items()))
            raise ValueError(
                f"parameter {name} is {frame!r}, but tf2_ros is not installed: "
                f"apt install ros-$ROS_DISTRO-tf2-ros-py, or leave {name} empty"
            ) from None
        self._buffer = tf2_ros.Buffer(node=node)
        self._listener = tf2_ros.TransformListener(self._buffer, node)
        self._failure = tf2_ros.TransformException

    def move(self, header: Header, poses: Sequence[Pose3D]) -> tuple[Header, list[Pose3D]]:
        """Poses and header in the target frame, at their stamp; waits at most ``wait_s`` for a transform to come.

        NoTransform when none does.
        """
        target = self._frames.get("target_frame", header.frame_id)
        if header.frame_id == target:
            return header, list(poses)
        at = Time.from_msg(header.stamp)
        # Waiting for what does not come would hold up every frame, as if the machine were too slow.
        wait = self._wait if not self._missed or self._follows(header.frame_id, at) else Duration()
        self._missed = True
        translation, rotation, _ = self._look_up("target_frame", header.frame_id, at, wait)
        self._missed = False
        moved = [_moved(pose, rotation, translation) for pose in poses]
        return Header(stamp=header.stamp, frame_id=target), moved

    def _follows(self, camera_frame: str, at: Time) -> bool:
        """Whether transforms to the target frame come at all: the newest is not much older than ``at``."""
        try:
            *_, newest = self._look_up("target_frame", camera_frame, Time(), Duration())
        except NoTransform:
            return False
        return (at - newest).nanoseconds * 1e-9 < _STALE_S

    def upright(self, camera: Camera, header: Header) -> Camera:
        """The camera, and where down is for it: opposite to the gravity frame's z, by the newest transform; no waiting,
        a camera tilts slowly."""
        if "gravity_frame" not in self._frames:
            return camera
        try:
            _, rotation, _ = self._look_up("gravity_frame", header.frame_id, Time(), Duration())
        except NoTransform as e:
            self._warn(f"poses are lifted without knowing where down is: {e}", "gravity")
            return camera
        x, y, z = (-rotation[2]).tolist()
        return dataclasses.replace(camera, down=(x, y, z))

    def standing(self, frame: Frame2D, header: Header) -> Frame2D:
        """The frame, and how the camera stood in the odometry frame at its stamp, or where that transform has not come
        yet, by the newest; no waiting."""
        if "odom_frame" not in self._frames:
            return frame
        try:
            return dataclasses.replace(frame, stand=self._stand(header))
        except NoTransform as e:
            self._warn(f"the camera is taken to stand as before: {e}", "odom")
            return frame

    def _stand(self, header: Header) -> Stand:
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
        if self._buffer is not None:
            self._buffer.clear()

    def close(self) -> None:
        """Listen no more."""
        if self._buffer is None:
            return
        self._listener.unregister()
        if hasattr(self._buffer, "jump_handle"):  # since Jazzy; rclpy's clock would go on calling what is gone
            self._buffer.jump_handle.unregister()
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
