"""sensor_msgs/PointCloud2 -> Frame2D: this project's own way of sending keypoints."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from pstmo_ros.adapters import KeypointsError, stamp_ns
from pstmo_ros.adapters.people import seen_people
from pstmo_ros.core.layouts import Layout, with_joints
from pstmo_ros.core.types import Frame2D

_NUMPY = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}  # sensor_msgs/PointField's datatypes
SKELETON_POINT = np.dtype(
    [(name, "<f4") for name in ("x", "y", "z", "score")]
    + [("person_id", "<i4")]
    + [(name, "<f4") for name in ("vx", "vy", "vz", "std")]
)
ROOT_RELATIVE = "_root_relative"  # frame_id suffix of poses about the pelvis, sent while no camera is known
KEYPOINT = np.dtype([("x", "<f4"), ("y", "<f4"), ("score", "<f4"), ("person_id", "<i4")])
_FORM = "x, y, score float32 in pixels, optional person_id int32; height = people, width = joints"


def from_point_cloud(message: Any, layout: Layout, size_px: tuple[int, int]) -> Frame2D:
    """keypoints (PointCloud2): fields x y score in pixels, optional person_id; height = people, width = joints.

    People of whom no joint was seen are left out. Negative person ids mean that the detector has none: when
    anybody in the message has one, people are told apart by their position. KeypointsError otherwise.
    """
    joints = len(layout.joints)
    if not message.height or not message.width:
        nobody = np.empty((0, joints, 2), np.float32)
        return Frame2D(stamp_ns(message.header), size_px, layout.name, nobody, nobody[..., 0])
    if message.width != joints:
        fitting = with_joints(message.width)
        fix = f"set it to {' or '.join(fitting)}" if fitting else "send one point per joint of it"
        raise KeypointsError(
            f"keypoints width is {message.width}, but parameter layout is {layout.name!r} with {joints} joints: {fix}"
        )
    points = _points(message)
    xy = np.empty((*points.shape, 2), np.float32)
    xy[..., 0], xy[..., 1] = points["x"], points["y"]
    has_ids = "person_id" in (points.dtype.names or ())
    ids = points["person_id"][:, 0].tolist() if has_ids else [None] * len(points)
    return seen_people(stamp_ns(message.header), size_px, layout.name, xy, points["score"], ids)


def _points(message: Any) -> npt.NDArray[np.void]:
    """A view (height, width) of the message's points, by field name."""
    fields = tuple((f.name, f.offset, f.datatype) for f in message.fields)
    dtype = _dtype(fields, message.is_bigendian, message.point_step)
    if message.row_step < message.width * message.point_step:
        raise KeypointsError(
            f"keypoints row_step is {message.row_step}; {message.width} points of {message.point_step} bytes need "
            f"{message.width * message.point_step}"
        )
    if len(message.data) < message.height * message.row_step:
        raise KeypointsError(
            f"keypoints data has {len(message.data)} bytes; {message.height} rows of {message.row_step} need "
            f"{message.height * message.row_step}"
        )
    shape, strides = (message.height, message.width), (message.row_step, message.point_step)
    return np.ndarray(shape, dtype, memoryview(message.data), 0, strides)


@lru_cache(16)
def _dtype(given: tuple[tuple[str, int, int], ...], bigendian: bool, point_step: int) -> np.dtype[np.void]:
    """What a point is made of; given: each field's name, offset and datatype."""
    fields = {name: (offset, datatype) for name, offset, datatype in given}
    if missing := [name for name in ("x", "y", "score") if name not in fields]:
        raise KeypointsError(
            f"keypoints lack the field {', '.join(map(repr, missing))}; they have {', '.join(fields) or 'none'}; "
            f"send {_FORM}"
        )
    names = [name for name in ("x", "y", "score", "person_id") if name in fields]
    for name in names:
        offset, datatype = fields[name]
        if datatype not in _NUMPY:
            raise KeypointsError(f"keypoints field {name!r} has unknown datatype {datatype}; send {_FORM}")
        end = offset + np.dtype(_NUMPY[datatype]).itemsize
        if end > point_step:
            raise KeypointsError(f"keypoints field {name!r} ends at byte {end} of a point_step of {point_step}")
    formats = [(">" if bigendian else "<") + _NUMPY[fields[name][1]] for name in names]
    offsets = [fields[name][0] for name in names]
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": point_step})
