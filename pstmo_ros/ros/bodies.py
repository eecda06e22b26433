"""Poses -> what REP-155 and tf2 call a body: transforms, joint angles, ids; and the body that is closest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from geometry_msgs.msg import TransformStamped
from sensor_msgs.msg import JointState, PointCloud2
from std_msgs.msg import Header

from pstmo_ros.core import layouts, skeleton
from pstmo_ros.core.orientation import ANGLES, joint_angles, quaternions
from pstmo_ros.core.types import Floats, Frame2D, Pose3D
from pstmo_ros.ros.messages import cloud, positions_m

_CLOSEST = np.dtype([(name, "<f4") for name in ("x", "y", "z", "distance", "speed")] + [("person_id", "<i4")])
Name = Callable[[int], str]  # of a person's body, by their id


def body_id(person_id: int) -> str:
    """A person's id as REP-155 wants it in topic and frame names: a letter first."""
    return f"p{person_id}"


def joint_states(header: Header, poses: Sequence[Pose3D], frames: Floats, name: Name) -> JointState:
    """~/joint_states: everyone's angles, named as in human_description's URDF (l_elbow_p1); rad."""
    angles = joint_angles(positions_m(poses), frames)
    names = [f"{angle}_{name(pose.person_id)}" for pose in poses for angle in ANGLES]
    return JointState(header=header, name=names, position=angles.ravel().tolist())


def skeleton2d(header: Header, frame: Frame2D, row: int, kind: Any, point: Any) -> Any:
    """REP-155's skeleton2d of one of a frame's people: hri_msgs' 18 joints as shares of the image.

    kind, point: hri_msgs' Skeleton2D and NormalizedPointOfInterest2D. x, y and c are 0, as OpenPose has it, for a joint
    that was not seen or that the detector does not know; the neck is then taken from the shoulders.
    """
    source = layouts.get(frame.layout)
    xy, scores = frame.keypoints_px[row], frame.scores[row]
    model_xy, model_scores = layouts.to_model_joints(source, xy, scores)
    named = dict(zip(source.joints, zip(xy, scores, strict=True), strict=True))
    neck = skeleton.index("thorax")
    named.setdefault("neck", (model_xy[neck], model_scores[neck]))
    points = []
    for joint in layouts.get("hri_18").joints:
        at, score = named.get(joint, (None, 0))
        if at is None or score <= 0 or not np.isfinite(at).all():
            points.append(point())
        else:
            x, y = at / frame.size_px
            points.append(point(x=float(x), y=float(y), c=float(score)))
    return kind(header=header, skeleton=points)


def transforms(header: Header, poses: Sequence[Pose3D], frames: Floats, name: Name) -> list[TransformStamped]:
    """body_<id> in the header's frame (mid-hip, x out of the body, z to the head), and its joints below it."""
    out = []
    for pose, axes, at in zip(poses, frames, positions_m(poses), strict=True):
        suffix, root = name(pose.person_id), axes[skeleton.ROOT]
        out.append(transform(header, f"body_{suffix}", at[skeleton.ROOT], quaternions(root)))
        below = Header(stamp=header.stamp, frame_id=f"body_{suffix}")
        offsets, turns = (at - at[skeleton.ROOT]) @ root, quaternions(root.T @ axes)
        out += [
            transform(below, f"{joint}_{suffix}", offsets[j], turns[j])
            for j, joint in enumerate(skeleton.JOINTS)
            if j != skeleton.ROOT
        ]
    return out


def closest(header: Header, poses: Sequence[Pose3D]) -> PointCloud2:
    """~/closest: one point, the joint nearest to the frame's origin; its distance (m), the speed at which it comes
    nearer (m/s, negative when it goes away, NaN if not known) and whose it is. No point when nobody's position is."""
    placed = [p for p in poses if p.position_m is not None]
    point = np.zeros((1, min(len(placed), 1)), _CLOSEST)
    if placed:
        at = positions_m(placed)
        distances = np.linalg.norm(at, axis=-1)
        p, j = np.unravel_index(distances.argmin(), distances.shape)
        point["x"], point["y"], point["z"] = at[p, j]
        point["distance"], point["person_id"] = distances[p, j], placed[p].person_id
        point["speed"] = -placed[p].velocity_m_s[j] @ at[p, j] / max(distances[p, j], 1e-6)
    return cloud(header, point)


def transform(header: Header, child: str, at: Floats, quaternion: Floats) -> TransformStamped:
    """Where a frame is in the header's: at (3,) m, quaternion (4,) x y z w."""
    message: Any = TransformStamped(header=header, child_frame_id=child)
    to, turn = message.transform.translation, message.transform.rotation
    to.x, to.y, to.z = at.tolist()
    turn.x, turn.y, turn.z, turn.w = quaternion.tolist()
    return message
