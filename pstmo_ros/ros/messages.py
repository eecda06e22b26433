"""Poses -> messages, and back. P people, 17 joints."""

from __future__ import annotations

import array
from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import Point, PoseArray
from geometry_msgs.msg import Pose as PoseMessage
from sensor_msgs.msg import CameraInfo, PointCloud2, PointField
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from pstmo_ros.adapters.point_cloud import KEYPOINT, SKELETON_POINT
from pstmo_ros.core import skeleton
from pstmo_ros.core.camera import Camera
from pstmo_ros.core.orientation import quaternions
from pstmo_ros.core.types import Floats, Pose3D
from pstmo_ros.render import JOINT_RGB

_JOINT_DIAMETER_M, _BONE_WIDTH_M, _TEXT_HEIGHT_M, _TEXT_ABOVE_M = 0.05, 0.025, 0.12, 0.15
_HEAD = skeleton.index("head_top")


def stamp(ns: int) -> Time:
    """Nanoseconds as a header's stamp, the inverse of ``adapters.stamp_ns``."""
    return Time(sec=ns // 10**9, nanosec=ns % 10**9)


def shown_m(pose: Pose3D) -> Floats:
    """What the outputs carry: the pose in the camera frame, or about the pelvis while no camera is known, (17, 3)."""
    return pose.root_relative_m if pose.position_m is None else pose.position_m


def positions_m(poses: Sequence[Pose3D]) -> Floats:
    """``shown_m`` of everyone, (P, 17, 3)."""
    return np.array([shown_m(p) for p in poses], np.float64).reshape(-1, skeleton.J, 3)


def skeletons(header: Header, poses: Sequence[Pose3D], message: PointCloud2 | None = None) -> PointCloud2:
    """~/skeletons: height = people, width = 17; x y z (m) score person_id vx vy vz (m/s) std (m); NaN if not known.

    message: one that was sent, to be used again: rclpy is slow at making them.
    """
    points = np.empty((len(poses), skeleton.J), SKELETON_POINT)
    for row, pose in zip(points, poses, strict=True):
        row["x"], row["y"], row["z"] = shown_m(pose).T
        row["score"], row["person_id"] = pose.scores, pose.person_id
        row["vx"], row["vy"], row["vz"] = pose.velocity_m_s.T
        row["std"] = np.nan if pose.std_m is None else pose.std_m
    return cloud(header, points, message)


def keypoints(header: Header, frame: Floats, person_ids: npt.NDArray[np.int64] | None) -> PointCloud2:
    """The node's input: frame (P, J, 3) pixels and score, ids (P,) or None for a detector without."""
    points = np.empty(frame.shape[:2], KEYPOINT)
    points["x"], points["y"], points["score"] = np.moveaxis(frame, -1, 0)
    points["person_id"] = -1 if person_ids is None else person_ids[:, None]
    return cloud(header, points)


def skeletons_to_arrays(message: PointCloud2) -> tuple[npt.NDArray[np.int32], Floats, Floats]:
    """A ~/skeletons message -> person ids (P,), poses (P, 17, 3) metres, scores (P, 17): for subscribers in Python."""
    names = ["x", "y", "z", "score", "person_id"]  # other fields may follow, and do not matter here
    kinds, offsets = zip(*(SKELETON_POINT.fields[name][:2] for name in names), strict=True)
    dtype = np.dtype({"names": names, "formats": kinds, "offsets": offsets, "itemsize": message.point_step})
    points = np.frombuffer(message.data, dtype).reshape(message.height, message.width)
    poses = np.stack([points[axis] for axis in "xyz"], -1)
    return points["person_id"][:, :1].ravel(), poses, points["score"]


def pose_array(header: Header, poses: Sequence[Pose3D], frames: Floats) -> PoseArray:
    """~/poses: 17 poses per person, people in the order of ~/skeletons; frames (P, 17, 3, 3), see core.orientation."""
    message = PoseArray(header=header)
    places, turns = positions_m(poses).reshape(-1, 3), quaternions(frames).reshape(-1, 4)
    for (x, y, z), turn in zip(places.tolist(), turns.tolist(), strict=True):
        at = PoseMessage()
        at.position.x, at.position.y, at.position.z = x, y, z
        at.orientation.x, at.orientation.y, at.orientation.z, at.orientation.w = turn
        message.poses.append(at)
    return message


def camera_info(header: Header, camera: Camera) -> CameraInfo:
    """What a calibrated camera's driver sends."""
    k = [camera.fx, 0.0, camera.cx, 0.0, camera.fy, camera.cy, 0.0, 0.0, 1.0]
    p = [*k[:3], 0.0, *k[3:6], 0.0, *k[6:], 0.0]
    return CameraInfo(
        header=header,
        width=camera.width,
        height=camera.height,
        distortion_model=camera.lens,
        d=list(map(float, camera.distortion)),
        k=list(map(float, k)),
        r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p=list(map(float, p)),
    )


class SkeletonMarkers:
    """~/markers. Messages are made once per person and only their points change: rclpy is slow at making them."""

    def __init__(self, lifetime_s: float) -> None:
        self._people: dict[int, _PersonMarkers] = {}
        self._lifetime = Duration()  # one for all markers: it may change
        self.set_lifetime(lifetime_s)

    def set_lifetime(self, lifetime_s: float) -> None:
        """Seconds after which a viewer removes what is not renewed; 0 keeps it."""
        self._lifetime.sec, self._lifetime.nanosec = divmod(round(lifetime_s * 1e9), 10**9)

    def update(self, header: Header, poses: Sequence[Pose3D]) -> MarkerArray:
        """Everyone present, and a DELETE for each marker of those who have left since the last call."""
        message = MarkerArray()
        present = {pose.person_id for pose in poses}
        for person_id in [i for i in self._people if i not in present]:
            message.markers += self._people.pop(person_id).deleted(header)
        for pose in poses:
            if pose.person_id not in self._people:
                self._people[pose.person_id] = _PersonMarkers(pose.person_id, self._lifetime)
            message.markers += self._people[pose.person_id].moved(header, shown_m(pose))
        return message


class _PersonMarkers:
    """One SPHERE_LIST, one LINE_LIST and the id above the head."""

    def __init__(self, person_id: int, lifetime: Duration) -> None:
        self._joints = _marker("joints", Marker.SPHERE_LIST, person_id, lifetime, _JOINT_DIAMETER_M)
        self._bones = _marker("bones", Marker.LINE_LIST, person_id, lifetime, _BONE_WIDTH_M)
        self._text = _marker("ids", Marker.TEXT_VIEW_FACING, person_id, lifetime, _TEXT_HEIGHT_M)
        self._points = [Point() for _ in range(skeleton.J)]
        colours = [ColorRGBA(r=r, g=g, b=b, a=1.0) for r, g, b in JOINT_RGB]
        self._joints.points, self._joints.colors = self._points, colours
        self._bones.points = [self._points[j] for bone in skeleton.BONES for j in bone]
        self._bones.colors = [colours[child] for _, child in skeleton.BONES for _ in range(2)]
        self._text.text, self._text.color = str(person_id), ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0)
        self.markers = [self._joints, self._bones, self._text]

    def moved(self, header: Header, pose_m: Floats) -> list[Marker]:
        for point, (x, y, z) in zip(self._points, pose_m.tolist(), strict=True):
            point.x, point.y, point.z = x, y, z
        text, up = self._text.pose.position, pose_m[_HEAD] - pose_m[skeleton.ROOT]  # whichever way the frame's axes go
        text.x, text.y, text.z = (pose_m[_HEAD] + up * (_TEXT_ABOVE_M / max(float(np.linalg.norm(up)), 0.1))).tolist()
        for marker in self.markers:
            marker.header = header
        return self.markers

    def deleted(self, header: Header) -> list[Marker]:
        return [Marker(header=header, ns=m.ns, id=m.id, action=Marker.DELETE) for m in self.markers]


def _marker(namespace: str, kind: int, person_id: int, lifetime: Duration, size_m: float) -> Marker:
    marker = Marker(ns=namespace, id=person_id, type=kind, action=Marker.ADD, lifetime=lifetime)
    marker.pose.orientation.w = 1.0
    marker.scale.x = marker.scale.y = marker.scale.z = size_m
    return marker


def cloud(header: Header, points: npt.NDArray[np.void], message: PointCloud2 | None = None) -> PointCloud2:
    """A (P, J) structured array as an organised cloud, to be sent as it is: clouds of one type share their fields.

    message: another cloud of this type, to be used again.
    """
    if message is None:
        message = PointCloud2(fields=[*_fields(points.dtype)], point_step=points.dtype.itemsize)
    message.header, (message.height, message.width) = header, points.shape
    message.row_step = message.point_step * message.width
    message.is_dense = bool(np.isfinite(points["x"]).all())
    message.data = array.array("B", points.tobytes())
    return message


@cache
def _fields(dtype: np.dtype[np.void]) -> tuple[PointField, ...]:
    """A structured type's fields, made once: rclpy is slow at making them."""
    assert dtype.fields is not None
    return tuple(
        PointField(
            name=name,
            offset=int(entry[1]),
            datatype=PointField.INT32 if name == "person_id" else PointField.FLOAT32,
            count=1,
        )
        for name, entry in dtype.fields.items()
    )
