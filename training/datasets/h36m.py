"""Human3.6M in VideoPose3D's npz format (paper section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy.spatial.transform import Rotation

from pstmo_ros.core.camera import Camera
from pstmo_ros.core.layouts import nearest
from pstmo_ros.core.types import Floats
from training.datasets.clips import Clip, DataError, check_file, checked_array, checked_dictionary
from training.datasets.pickled import load_dictionary

CAMERAS_FILE = Path(__file__).parents[2] / "config" / "h36m_cameras.yaml"
RATE_HZ = 50.0
# Which of the 32 recorded joints are the model's 17, in the model's order.
JOINTS_OF_32 = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)
# Keypoint files by detector, and the order of their keypoints. COCO's are from Detectron, not tuned on Human3.6M.
KEYPOINTS = {"gt": "h36m_17", "cpn_ft_h36m_dbb": "h36m_17", "detectron_pt_coco": "coco_17"}
TRAIN, TEST, VIEWS = ("S1", "S5", "S6", "S7", "S8"), ("S9", "S11"), (0, 1, 2, 3)
# Table 1's columns: how the paper heads them, and how the files name the actions ("Walking 1" counts as "Walking").
ACTIONS = {
    "Directions": "Dir.", "Discussion": "Disc.", "Eating": "Eat", "Greeting": "Greet", "Phoning": "Phone",
    "Photo": "Photo", "Posing": "Pose", "Purchases": "Pur.", "Sitting": "Sit", "SittingDown": "SitD.",
    "Smoking": "Smoke", "Waiting": "Wait", "WalkDog": "WalkD.", "Walking": "Walk", "WalkTogether": "WalkT.",
}  # fmt: skip
_ALIASES = {"TakingPhoto": "Photo", "WalkingDog": "WalkDog", "WalkingTogether": "WalkTogether"}
_HOW = (
    "Human3.6M is licensed: register at http://vision.imar.ro/human3.6m, then make data_3d_h36m.npz and "
    "data_2d_h36m_gt.npz with VideoPose3D's data/prepare_data_h36m.py, and see its DATASETS.md for the detected "
    "keypoints (cpn_ft_h36m_dbb, detectron_pt_coco)."
)


@dataclass(frozen=True)
class Split:
    """Whose clips, and from which of the four cameras."""

    subjects: tuple[str, ...]
    views: tuple[int, ...] = VIEWS


SPLITS = {
    "train": Split(TRAIN),
    "test": Split(TEST),
    # Paper A.7: Stage I sees cameras 0-2, Stage II camera 3.
    "cross_camera_pretrain": Split(TRAIN, (0, 1, 2)),
    "cross_camera_finetune": Split(TRAIN, (3,)),
    "cross_camera_test": Split(TEST, (3,)),
    # The same question across people: Stage I sees four of them, Stage II the fifth.
    "cross_subject_pretrain": Split(TRAIN[1:]),
    "cross_subject_finetune": Split(TRAIN[:1]),
}


@dataclass(frozen=True)
class View:
    """One camera as it stood for one subject: points in the camera are (world - position) @ rotation, metres."""

    camera: Camera
    rotation: Floats
    position_m: Floats


def load_h36m(folder: str | Path, split: str | Split, keypoints: str = "cpn_ft_h36m_dbb") -> list[Clip]:
    """Clips of a split (a name of SPLITS, or subjects and views), with the 2D keypoints of one of KEYPOINTS.

    DataError for a missing, broken or inconsistent file.
    """
    if keypoints not in KEYPOINTS:
        raise DataError(f"keypoints {keypoints!r} are unknown; {nearest(keypoints, tuple(KEYPOINTS))}")
    split = _split(split)
    folder = Path(folder)
    path_3d, path_2d = (
        check_file(folder / f"data_{name}.npz", "Human3.6M", _HOW) for name in ("3d_h36m", f"2d_h36m_{keypoints}")
    )
    try:
        poses, points = load_dictionary(path_3d, "positions_3d"), load_dictionary(path_2d, "positions_2d")
    except ValueError as e:
        raise DataError(f"Human3.6M file {e}") from None
    views = load_views()
    clips = []
    for subject in split.subjects:
        if subject not in poses or subject not in points:
            raise DataError(f"Human3.6M: subject {subject} is not in both {path_3d.name} and {path_2d.name}")
        for action, world in checked_dictionary(poses[subject], f"{path_3d.name} {subject}").items():
            where = f"{subject} {action}"
            world_m = checked_array(world, (32, 3), f"{path_3d.name} {where}")[:, list(JOINTS_OF_32)]
            for v in split.views:
                pixels = _pixels(points[subject], action, v, len(world_m), f"{path_2d.name} {where}")
                clips.append(_clip(world_m, pixels, views[subject][v], subject, action, str(v), KEYPOINTS[keypoints]))
    return clips


def action_of(name: str) -> str:
    """The one of the 15 actions that a file's action belongs to: "Walking 1" -> "Walking"."""
    first = name.split(" ")[0]
    return _ALIASES.get(first, first)


def load_views(path: Path = CAMERAS_FILE) -> dict[str, list[View]]:
    """The published calibration: for each subject, the four cameras in the order of the 2D files."""
    data = yaml.safe_load(check_file(path, "camera", "It ships with the project.").read_text())
    cameras = []
    for c in data["intrinsics"]:
        (k1, k2, k3), (p1, p2), (fx, fy), (cx, cy) = c["radial"], c["tangential"], c["focal"], c["center"]
        width, height = c["size"]
        cameras.append(Camera(width, height, fx, fy, cx, cy, (k1, k2, p1, p2, k3)))
    out = {}
    for subject, extrinsics in data["extrinsics"].items():
        rotations = [Rotation.from_quat(np.roll(e["orientation"], -1)).as_matrix() for e in extrinsics]
        positions = [np.array(e["position"]) / 1000 for e in extrinsics]
        out[subject] = [View(*v) for v in zip(cameras, rotations, positions, strict=True)]
    return out


def _split(split: str | Split) -> Split:
    if isinstance(split, Split):
        return split
    if split not in SPLITS:
        raise DataError(f"Human3.6M split {split!r} is unknown; {nearest(split, tuple(SPLITS))}")
    return SPLITS[split]


def _pixels(subject: Any, action: str, view: int, frames: int, where: str) -> Floats:
    """2D keypoints (frames, 17, 2), cut to the 3D recording's length: the videos run on after it."""
    cameras: Sequence[Any] = checked_dictionary(subject, where).get(action, ())
    if len(cameras) != len(VIEWS):
        raise DataError(f"{where} has {len(cameras)} cameras; expected {len(VIEWS)}")
    pixels = np.asarray(cameras[view])
    pixels = checked_array(pixels[..., :2] if pixels.ndim == 3 else pixels, (17, 2), f"{where}, camera {view},")
    if len(pixels) < frames:
        raise DataError(f"{where}, camera {view}, has {len(pixels)} frames for {frames} of 3D: not the same recording")
    return pixels[:frames]


def _clip(world_m: Floats, pixels: Floats, view: View, subject: str, action: str, name: str, layout: str) -> Clip:
    poses = ((world_m - view.position_m) @ view.rotation).astype(np.float32)
    size = (view.camera.width, view.camera.height)
    return Clip(pixels, poses, size, layout, view.camera, subject, action_of(action), name, RATE_HZ)
