"""Joint positions -> orientations of the body and its bones, and the joint angles of REP-155's human model.

Every joint has a frame (REP-103: x forward, y left, z up) that is parallel to the body's when somebody stands with
hanging arms: z points along the bone towards the trunk for limbs, away from it for neck and head. Pelvis and thorax
get theirs from three points each. Points do not show how a bone is twisted about itself: each other frame is its
parent's, turned by the smallest rotation that brings the bone to where it is, arms counted from level to the side.
"""

from __future__ import annotations

import numpy as np

from pstmo_ros.core import skeleton
from pstmo_ros.core.types import Floats

_X, _Y, _Z = np.eye(3)
# joint -> (end of its bone, joint whose frame it turns with, direction of the bone there at rest, in that frame)
_LIMB = {"hip": ("knee", "pelvis", -_Z), "knee": ("ankle", "hip", -_Z), "elbow": ("wrist", "shoulder", -_Z)}
_ENDS = {"ankle": "knee", "wrist": "elbow"}
# A rotation about x brings a hanging arm level: the arm's frame is counted from there, for overhead it would be torn.
_LEVEL = {"left": np.array([_X, _Z, -_Y]).T, "right": np.array([_X, -_Z, _Y]).T}
_STRAIGHT = 0.1  # sine of a knee's angle below which its hinge is no better known than its joints' places

SIDES = ("left", "right")
ANGLES = (
    "waist",
    *("r_head", "y_head", "p_head"),
    *(f"{s[0]}_{n}" for s in SIDES for n in ("y_shoulder", "p_shoulder", "r_shoulder", "elbow")),
    *(f"{s[0]}_{n}" for s in SIDES for n in ("y_hip", "p_hip", "r_hip", "knee")),
)


def orientations(poses_m: Floats) -> Floats:
    """Joint frames as rotation matrices (P, 17, 3, 3), columns x y z in the axes of poses_m (P, 17, 3)."""
    frames = np.empty((*poses_m.shape, 3))

    def at(name: str) -> Floats:
        return poses_m[:, skeleton.index(name)].astype(np.float64)

    def put(name: str, frame: Floats) -> Floats:
        frames[:, skeleton.index(name)] = frame
        return frame

    pelvis = put("pelvis", _upright(at("spine") - at("pelvis"), at("left_hip") - at("right_hip")))
    put("spine", _swing(pelvis, _Z, at("thorax") - at("spine")))
    thorax = put("thorax", _upright(at("thorax") - at("spine"), at("left_shoulder") - at("right_shoulder")))
    put("head_top", put("neck_nose", _swing(thorax, _Z, at("head_top") - at("neck_nose"))))
    for side in SIDES:
        arm = at(f"{side}_elbow") - at(f"{side}_shoulder")
        put(f"{side}_shoulder", _swing(thorax @ _LEVEL[side], -_Z, arm))
        for joint, (end, parent, rest) in _LIMB.items():
            base = pelvis if parent == "pelvis" else frames[:, skeleton.index(f"{side}_{parent}")]
            put(f"{side}_{joint}", _swing(base, rest, at(f"{side}_{end}") - at(f"{side}_{joint}")))
        for end, joint in _ENDS.items():
            put(f"{side}_{end}", frames[:, skeleton.index(f"{side}_{joint}")])
    return frames


def quaternions(frames: Floats) -> Floats:
    """Rotation matrices (…, 3, 3) -> unit quaternions (…, 4), x y z w."""
    from scipy.spatial.transform import Rotation

    out = np.empty((*frames.shape[:-2], 4))
    if frames.size:  # scipy 1.8, Ubuntu 22.04's, makes no rotations of none
        out[:] = Rotation.from_matrix(frames.reshape(-1, 3, 3)).as_quat().reshape(out.shape)
    return out


def joint_angles(poses_m: Floats, frames: Floats) -> Floats:
    """Angles (P, 20) in radians, in the order of ANGLES: signs and axes of human_description's URDF (REP-155).

    Angles that points cannot show (yaw of the head, and of the hip of a straight leg) are 0.
    """
    bone = {joint: end for joint, (end, _, _) in _LIMB.items()} | {"shoulder": "elbow"}

    def seen_from(frame: str, start: str, end: str) -> Floats:
        """Direction from one joint to another in a joint's frame, (P, 3)."""
        way = _unit(poses_m[:, skeleton.index(end)] - poses_m[:, skeleton.index(start)], _Z)
        return np.einsum("pij,pi->pj", frames[:, skeleton.index(frame)], way)

    angles: dict[str, Floats] = {}
    up = seen_from("pelvis", "spine", "thorax")
    angles["waist"] = np.arctan2(up[:, 0], up[:, 2])
    head = seen_from("thorax", "neck_nose", "head_top")
    angles["r_head"], angles["y_head"] = np.arctan2(-head[:, 1], head[:, 2]), np.zeros(len(head))
    angles["p_head"] = -np.arcsin(np.clip(head[:, 0], -1, 1))
    for side, out in (("left", 1), ("right", -1)):
        thigh, shank = (seen_from("pelvis", f"{side}_{j}", f"{side}_{bone[j]}") for j in ("hip", "knee"))
        hinge = _hinge(thigh, shank)
        forward = np.cross(thigh, hinge)
        angles[f"{side[0]}_y_hip"] = np.arctan2(hinge[:, 0], hinge[:, 1])
        angles[f"{side[0]}_p_hip"] = out * np.arcsin(np.clip(hinge[:, 2], -1, 1))
        angles[f"{side[0]}_r_hip"] = np.arctan2(forward[:, 2], -thigh[:, 2])
        angles[f"{side[0]}_knee"] = -_between(thigh, shank)
        arm, forearm = (seen_from("thorax", f"{side}_{j}", f"{side}_{bone[j]}") for j in ("shoulder", "elbow"))
        yaw = np.where(np.hypot(arm[:, 0], arm[:, 1]) > 0.05, np.arctan2(arm[:, 0], out * arm[:, 1]), 0)
        pitch = np.arctan2(np.hypot(arm[:, 0], arm[:, 1]), -arm[:, 2])
        back = _about(0, -out * pitch) @ (_about(2, out * yaw) @ forearm[..., None])
        angles[f"{side[0]}_y_shoulder"], angles[f"{side[0]}_p_shoulder"] = yaw, pitch
        bent = np.hypot(back[:, 0, 0], back[:, 1, 0]) > 0.05
        angles[f"{side[0]}_r_shoulder"] = np.where(bent, out * np.arctan2(back[:, 1, 0], back[:, 0, 0]), 0)
        angles[f"{side[0]}_elbow"] = _between(arm, forearm)
    return np.stack([angles[name] for name in ANGLES], -1)


def _hinge(thigh: Floats, shank: Floats) -> Floats:
    """Axis that the knee bends about, to the body's left, from directions in the pelvis' frame, (P, 3) each.

    It lies across thigh and shank. A straight leg has none of its own: level then, and never turned to the right.
    """
    across = np.cross(thigh, shank)
    level = np.cross(_X, thigh)
    level *= np.where(level[:, 1:2] < 0, -1, 1)
    least = _STRAIGHT * np.linalg.norm(level, axis=-1, keepdims=True)  # 0 where the thigh points forward
    return _unit(across + np.maximum(least - (across * level).sum(-1, keepdims=True), 0) * level, _Y)


def _upright(up: Floats, left: Floats) -> Floats:
    """Frames whose z is ``up`` and whose y is as near to ``left`` as it can be, (P, 3) -> (P, 3, 3)."""
    z = _unit(up, _Z)
    x = _unit(np.cross(left, z), _unit(np.cross(_Y, z), _X))
    return np.stack([x, np.cross(z, x), z], -1)


def _swing(frames: Floats, rest: Floats, bone: Floats) -> Floats:
    """Frames (P, 3, 3), turned the shortest way so that ``rest``, a direction in them, points along bone (P, 3)."""
    a = frames @ rest
    b = _unit(bone, a)
    axis, cosine = np.cross(a, b), (a * b).sum(-1)[:, None, None]
    zero = np.zeros(len(a))
    x, y, z = axis.T
    skew = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(-1, 3, 3)
    turn = np.eye(3) + skew + skew @ skew / np.maximum(1 + cosine, 1e-6)
    side = frames[..., 1]
    half = 2 * side[:, :, None] * side[:, None, :] - np.eye(3)  # exactly opposite: half a turn about the side
    return np.where(cosine < -0.999999, half, turn) @ frames


def _unit(v: Floats, otherwise: Floats) -> Floats:
    length = np.linalg.norm(v, axis=-1, keepdims=True)
    return np.where(length > 1e-6, v / np.maximum(length, 1e-6), otherwise)


def _between(a: Floats, b: Floats) -> Floats:
    """Angle between unit vectors (P, 3)."""
    return np.arctan2(np.linalg.norm(np.cross(a, b), axis=-1), (a * b).sum(-1))


def _about(axis: int, angle: Floats) -> Floats:
    """Rotations about a coordinate axis, (P,) radians -> (P, 3, 3)."""
    c, s = np.cos(angle), np.sin(angle)
    out = np.zeros((len(angle), 3, 3))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    out[:, axis, axis] = 1
    out[:, i, i] = out[:, j, j] = c
    out[:, i, j], out[:, j, i] = -s, s
    return out
