"""The Human3.6M-17 skeleton: every joint index in this project is derived here, by name."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

# name -> parent name; the order of this table is the joint order of every (…, 17, …) array.
_TREE: Final = {
    "pelvis": None,
    "right_hip": "pelvis",
    "right_knee": "right_hip",
    "right_ankle": "right_knee",
    "left_hip": "pelvis",
    "left_knee": "left_hip",
    "left_ankle": "left_knee",
    "spine": "pelvis",
    "thorax": "spine",
    "neck_nose": "thorax",
    "head_top": "neck_nose",
    "left_shoulder": "thorax",
    "left_elbow": "left_shoulder",
    "left_wrist": "left_elbow",
    "right_shoulder": "thorax",
    "right_elbow": "right_shoulder",
    "right_wrist": "right_elbow",
}

JOINTS: Final[tuple[str, ...]] = tuple(_TREE)
J: Final = len(JOINTS)


def index(name: str) -> int:
    """Index of a joint in JOINTS; KeyError with the known names if there is no such joint."""
    try:
        return JOINTS.index(name)
    except ValueError:
        raise KeyError(f"joint {name!r} is not one of {', '.join(JOINTS)}") from None


def mirrored_name(name: str) -> str:
    """The joint on the other side of the body; midline joints are their own mirror."""
    if name.startswith("left_"):
        return "right_" + name.removeprefix("left_")
    if name.startswith("right_"):
        return "left_" + name.removeprefix("right_")
    return name


ROOT: Final = index("pelvis")
PARENTS: Final[tuple[int, ...]] = tuple(-1 if p is None else index(p) for p in _TREE.values())
BONES: Final[tuple[tuple[int, int], ...]] = tuple((p, j) for j, p in enumerate(PARENTS) if p >= 0)
LEFT: Final[tuple[int, ...]] = tuple(j for j, n in enumerate(JOINTS) if n.startswith("left_"))
RIGHT: Final[tuple[int, ...]] = tuple(j for j, n in enumerate(JOINTS) if n.startswith("right_"))
MIRROR: Final[tuple[int, ...]] = tuple(index(mirrored_name(n)) for n in JOINTS)
# Limb joints mean the same point of the body for every detector; head and trunk joints do not.
LIMBS: Final[tuple[int, ...]] = tuple(sorted(LEFT + RIGHT))
# What a side's limbs are made of, in every layout: names without the side.
ARM: Final = ("shoulder", "elbow", "wrist")
LEG: Final = ("hip", "knee", "ankle")


def mirror(points: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Mirror left and right: points (…, 17, C) with x first -> the same shape, x negated."""
    out = points[..., list(MIRROR), :].copy()
    out[..., 0] *= -1
    return out
