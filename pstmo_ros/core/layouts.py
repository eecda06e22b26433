"""Detectors' keypoint orders, and how each becomes the model's Human3.6M-17 input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

import numpy as np

from pstmo_ros.core import skeleton
from pstmo_ros.core.types import Floats, Indices

# Each model joint is the mean of the first of these groups that a layout has in full.
# Other joints of the same name are taken as they are.
_DERIVED: dict[str, tuple[tuple[str, ...], ...]] = {
    "pelvis": (("pelvis",), ("left_hip", "right_hip")),
    "thorax": (("thorax",), ("neck",), ("left_shoulder", "right_shoulder")),
    "spine": (("spine",), ("left_hip", "right_hip", "left_shoulder", "right_shoulder")),
    "neck_nose": (("neck_nose",), ("nose",), ("upper_neck",)),
    "head_top": (("head_top",), ("left_eye", "right_eye")),
}
_MOST = 4  # keypoints in a group; every group's number of them divides it


@dataclass(frozen=True)
class Layout:
    """A named keypoint order. ``sources`` (17, 4): row j are the keypoints whose mean model joint j is, repeated where
    they are fewer; ``weights`` (17, J) says the same. ``lacks``: model joints that the layout does not have."""

    name: str
    joints: tuple[str, ...]
    sources: Indices = field(init=False, repr=False, compare=False)
    weights: Floats = field(init=False, repr=False, compare=False)
    lacks: Indices = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        sources = np.zeros((skeleton.J, _MOST), np.intp)
        weights = np.zeros((skeleton.J, len(self.joints)), np.float32)
        for j, joint in enumerate(skeleton.JOINTS):
            groups = _DERIVED.get(joint, ((joint,),))
            for group in groups:
                if all(g in self.joints for g in group):
                    found = [self.joints.index(g) for g in group]
                    sources[j], weights[j, found] = np.resize(found, _MOST), 1 / len(found)
                    break
        for name, value in (("sources", sources), ("weights", weights), ("lacks", np.flatnonzero(~weights.any(-1)))):
            value.flags.writeable = False
            object.__setattr__(self, name, value)


def _both(*names: str) -> tuple[str, ...]:
    return tuple(f"{side}_{n}" for n in names for side in ("left", "right"))


def _side(side: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{side}_{n}" for n in names)


_COCO = ("nose", *_both("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle"))
_ARMS = (*_side("right", "shoulder", "elbow", "wrist"), *_side("left", "shoulder", "elbow", "wrist"))
_LEGS = (*_side("right", "hip", "knee", "ankle"), *_side("left", "hip", "knee", "ankle"))
_FEET = (*_side("left", "big_toe", "small_toe", "heel"), *_side("right", "big_toe", "small_toe", "heel"))
# Of the layouts with face and hands, which the model does not look at.
_FACE_68 = tuple(f"face_{k}" for k in range(68))
_HANDS = tuple(f"{side}_hand_{k}" for side in ("left", "right") for k in range(21))
_HALPE = (*_COCO, "head_top", "neck", "pelvis", *_both("big_toe", "small_toe", "heel"))
_MEDIAPIPE_FACE = (
    "nose",
    *_side("left", "eye_inner", "eye", "eye_outer"),
    *_side("right", "eye_inner", "eye", "eye_outer"),
    *_both("ear", "mouth"),
)
_MEDIAPIPE_BODY = _both(
    "shoulder", "elbow", "wrist", "pinky", "index", "thumb", "hip", "knee", "ankle", "heel", "foot_index"
)


def _zed_arm(side: str) -> tuple[str, ...]:
    return _side(side, "clavicle", "shoulder", "elbow", "wrist", "hand", "handtip", "thumb")


LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout("h36m_17", skeleton.JOINTS),
        Layout("coco_17", _COCO),
        Layout(
            "body_25",
            ("nose", "neck", *_ARMS, "pelvis", *_LEGS, "right_eye", "left_eye", "right_ear", "left_ear", *_FEET),
        ),
        # OpenPose's experimental model: COCO's order and a head.
        Layout("body_25b", (*_COCO, "upper_neck", "head_top", *_FEET)),
        Layout("openpose_18", ("nose", "neck", *_ARMS, *_LEGS, "right_eye", "left_eye", "right_ear", "left_ear")),
        # hri_msgs/Skeleton2D cites OpenPose's order but puts the left eye and ear first.
        Layout("hri_18", ("nose", "neck", *_ARMS, *_LEGS, "left_eye", "right_eye", "left_ear", "right_ear")),
        # COCO's and a neck: NVIDIA's trt_pose, jetson-inference's poseNet.
        Layout("trt_pose_18", (*_COCO, "neck")),
        Layout("wholebody_133", (*_COCO, *_FEET, *_FACE_68, *_HANDS)),  # COCO-WholeBody
        Layout("halpe_26", _HALPE),
        Layout("halpe_136", (*_HALPE, *_FACE_68, *_HANDS)),
        Layout("crowdpose_14", (*_both("shoulder", "elbow", "wrist", "hip", "knee", "ankle"), "head_top", "neck")),
        Layout("aic_14", (*_ARMS, *_LEGS, "head_top", "neck")),  # AI Challenger
        Layout("mediapipe_33", (*_MEDIAPIPE_FACE, *_MEDIAPIPE_BODY)),
        Layout(
            "mpii_16",
            (
                *_side("right", "ankle", "knee", "hip"),
                *_side("left", "hip", "knee", "ankle"),
                *("pelvis", "thorax", "upper_neck", "head_top"),
                *_side("right", "wrist", "elbow", "shoulder"),
                *_side("left", "shoulder", "elbow", "wrist"),
            ),
        ),
        # The ZED SDK's BODY_34 and BODY_38; its BODY_18 is openpose_18.
        Layout(
            "zed_34",
            (
                *("pelvis", "naval_spine", "chest_spine", "neck", *_zed_arm("left"), *_zed_arm("right")),
                *_side("left", "hip", "knee", "ankle", "foot"),
                *_side("right", "hip", "knee", "ankle", "foot"),
                *("head", "nose", "left_eye", "left_ear", "right_eye", "right_ear", "left_heel", "right_heel"),
            ),
        ),
        Layout(
            "zed_38",
            (
                *("pelvis", "spine_1", "spine_2", "spine_3", "neck", "nose", *_both("eye", "ear", "clavicle")),
                *_both("shoulder", "elbow", "wrist", "hip", "knee", "ankle", "big_toe", "small_toe", "heel"),
                *_both("hand_thumb", "hand_index", "hand_middle", "hand_pinky"),
            ),
        ),
    )
}


def nearest(value: str, known: Sequence[str]) -> str:
    """An error message's ending: the closest valid name, then all of them."""
    close = get_close_matches(value, known, 1, 0.4)
    return (f"did you mean {close[0]!r}? " if close else "") + f"known: {', '.join(known)}"


def get(name: str) -> Layout:
    """The layout of that name; ValueError naming the nearest one otherwise."""
    if name not in LAYOUTS:
        raise ValueError(f"layout {name!r} is unknown; {nearest(name, tuple(LAYOUTS))}")
    return LAYOUTS[name]


def with_joints(count: int) -> list[str]:
    """Names of the layouts of so many keypoints."""
    return [layout.name for layout in LAYOUTS.values() if len(layout.joints) == count]


def to_model_joints(layout: Layout, points: Floats, scores: Floats) -> tuple[Floats, Floats]:
    """Put a detector's keypoints in the model's joint order.

    points (…, J, C) pixels, scores (…, J) -> points (…, 17, C) and scores (…, 17), float32.
    A model joint made of several keypoints is their mean and takes their lowest score; it is NaN with
    score 0 when one of them is missing (NaN, or score 0) or the layout has no such joint.
    """
    seen = np.isfinite(points).all(-1) & (scores > 0)
    points = np.where(seen[..., None], points, np.nan)[..., layout.sources, :]
    out = (points * (1 / _MOST)).sum(-2).astype(np.float32)
    lowest = np.where(seen, scores, 0)[..., layout.sources].min(-1).astype(np.float32)
    if len(layout.lacks):
        out[..., layout.lacks, :], lowest[..., layout.lacks] = np.nan, 0
    return out, lowest
