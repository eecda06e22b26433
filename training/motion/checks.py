"""Is it a person, and which way round? Checks on imported clips that say what looks wrong and what would mend it.

Poses are (T, 17, 3) metres in a right-handed world with z up.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pstmo_ros.core import skeleton
from pstmo_ros.core.types import Floats
from training.datasets.clips import DataError

UNITS_M = {"mm": 0.001, "cm": 0.01, "inch": 0.0254, "m": 1.0}
_LEG_M = (0.5, 1.2)  # hip to ankle along the bones, child to giant
_BENT_DEG, _FEWEST_BENT = 25.0, 10
_STRAIGHT_DEG = 20.0
# No joint moves faster about the pelvis, and no pelvis through the room: what does is a glitch of the recording.
_FASTEST_M_S, _FASTEST_PELVIS_M_S = 14.0, 8.0
_T_POSE_FRAMES = 3


def check_size(poses_m: Floats, unit_m: float) -> None:
    """DataError when the legs have no person's length, naming the units that would give them one."""
    leg = float(np.median(_length(poses_m, "hip", "knee") + _length(poses_m, "knee", "ankle")))
    if _LEG_M[0] <= leg <= _LEG_M[1]:
        return
    fitting = [n for n, u in UNITS_M.items() if _LEG_M[0] <= leg / unit_m * u <= _LEG_M[1]]
    advice = f"--unit {' or '.join(fitting)} would fit" if fitting else "give the right metres per unit with --unit"
    raise DataError(f"its legs are {leg:.3g} m long when one unit is {unit_m:g} m: wrong unit? {advice}")


def check_upright(poses_m: Floats, up: str) -> None:
    """DataError when the head is never well above the ankles."""
    ankles = (_joint(poses_m, "left_ankle") + _joint(poses_m, "right_ankle")) / 2
    body = _joint(poses_m, "head_top") - ankles
    highest = float((body[:, 2] / np.linalg.norm(body, axis=1)).max())
    if highest < 0.5:
        raise DataError(
            f"nobody ever stands in it when {up} points up (the head is at most {100 * highest:.0f} % of the body's "
            "length above the ankles): give --up y or --up z; naming the axis also lets a clip of lying people in"
        )


def check_sides(poses_m: Floats) -> None:
    """DataError when the knees bend backwards: left and right are swapped, or the file's axes are left-handed."""
    bend = np.concatenate([_forward_bend(poses_m, side) for side in ("left", "right")])
    if len(bend) >= _FEWEST_BENT and (bend > 0).mean() < 0.5:
        raise DataError(
            f"its knees bend backwards in {100 * (bend < 0).mean():.0f} % of the frames that bend them: left and right "
            "are swapped in the rig (or the file is left-handed); exchange them in a rig of your own, --rig FILE.yaml"
        )


def t_pose_frames(poses_m: Floats, rate_hz: float) -> int:
    """How many leading frames are a T-pose that the motion then jumps out of: a rest pose, not part of the motion."""
    jumps = np.flatnonzero(too_fast(poses_m[: _T_POSE_FRAMES + 1], rate_hz))
    if len(jumps) == 0:
        return 0
    first = int(jumps[0]) + 1
    return first if is_t_pose(poses_m[:first]).all() else 0


def is_t_pose(poses_m: Floats) -> npt.NDArray[np.bool_]:
    """Which frames hold both arms out sideways, straight, and both legs straight down, (T,)."""
    across = _unit(_joint(poses_m, "left_hip") - _joint(poses_m, "right_hip"))
    trunk = _unit(_joint(poses_m, "thorax") - _joint(poses_m, "pelvis"))
    held = np.ones(len(poses_m), bool)
    for side, out in (("left", across), ("right", -across)):
        for upper, lower, along in (("shoulder", "elbow", out), ("elbow", "wrist", out), ("hip", "knee", -trunk)):
            bone = _unit(_joint(poses_m, f"{side}_{lower}") - _joint(poses_m, f"{side}_{upper}"))
            held &= (bone * along).sum(-1) > np.cos(np.radians(_STRAIGHT_DEG))
    return held


def too_fast(poses_m: Floats, rate_hz: float) -> npt.NDArray[np.bool_]:
    """Which steps between frames no person makes, (T - 1,)."""
    pelvis = poses_m[:, skeleton.ROOT]
    about = np.linalg.norm(np.diff(poses_m - pelvis[:, None], axis=0), axis=-1).max(-1, initial=0)
    return (about * rate_hz > _FASTEST_M_S) | (
        np.linalg.norm(np.diff(pelvis, axis=0), axis=-1) * rate_hz > _FASTEST_PELVIS_M_S
    )


def _forward_bend(poses_m: Floats, side: str) -> Floats:
    """How far each bent knee lies before the line from hip to ankle, (frames that bend it,) metres."""
    hip, knee, ankle = (_joint(poses_m, f"{side}_{n}") for n in ("hip", "knee", "ankle"))
    right = _joint(poses_m, "right_hip") - _joint(poses_m, "left_hip")
    up = _joint(poses_m, "thorax") - _joint(poses_m, "pelvis")
    forward = _unit(np.cross(up, right))
    cosine = (_unit(knee - hip) * _unit(ankle - knee)).sum(-1)
    bent = cosine < np.cos(np.radians(_BENT_DEG))
    return ((knee - (hip + ankle) / 2) * forward).sum(-1)[bent]


def _length(poses_m: Floats, upper: str, lower: str) -> Floats:
    sides = [_joint(poses_m, f"{s}_{lower}") - _joint(poses_m, f"{s}_{upper}") for s in ("left", "right")]
    return np.linalg.norm(sides, axis=-1).mean(0)


def _joint(poses_m: Floats, name: str) -> Floats:
    return poses_m[:, skeleton.index(name)]


def _unit(vectors: Floats) -> Floats:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
