"""MPI-INF-3DHP in the npz format of P-STMO's authors (paper section 4.1)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pstmo_ros.core import skeleton
from pstmo_ros.core.types import Floats
from training.datasets.clips import Clip, DataError, check_file, check_finite, checked_dictionary, shaped_array
from training.datasets.pickled import load_dictionary

# The files' joint order, in this project's names; their 14 is the root.
JOINTS = (
    *("head_top", "thorax"),
    *("right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist"),
    *("right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle"),
    *("pelvis", "spine", "neck_nose"),
)
_ORDER = [JOINTS.index(name) for name in skeleton.JOINTS]
SPLITS = ("train", "test")
_SIZE_PX, _OUTDOOR_SIZE_PX, _OUTDOOR = (2048, 2048), (1920, 1080), ("TS5", "TS6")
_HOW = (
    "MPI-INF-3DHP is licensed: request it at https://vcai.mpi-inf.mpg.de/3dhp-dataset/, then make data_train_3dhp.npz "
    "and data_test_3dhp.npz with common/data_to_npz_3dhp.py and common/data_to_npz_3dhp_test.py of P-STMO's authors."
)


def load_dhp(folder: str | Path, split: str) -> list[Clip]:
    """Clips of 'train' (every camera) or 'test' (TS1 … TS6). DataError for a missing or broken file.

    A test sequence is cut where its frames are not valid: each run of valid frames is a clip, so no window looks
    at or across a frame without a valid annotation.
    """
    if split not in SPLITS:
        raise DataError(f"MPI-INF-3DHP split {split!r} is unknown; known: {', '.join(SPLITS)}")
    path = check_file(Path(folder) / f"data_{split}_3dhp.npz", "MPI-INF-3DHP", _HOW)
    try:
        data = load_dictionary(path, "data")
    except ValueError as e:
        raise DataError(f"MPI-INF-3DHP file {e}") from None
    read = _train_sequence if split == "train" else _test_sequence
    return [clip for name, value in data.items() for clip in read(str(name), value, f"{path.name} {name}")]


def _train_sequence(name: str, value: Any, where: str) -> list[Clip]:
    """One entry "S1 Seq1": [{camera: {data_2d, data_3d}}, frames per second]."""
    subject, _, action = name.partition(" ")
    if not isinstance(value, list | tuple | np.ndarray) or len(value) != 2:
        raise DataError(f"{where} is {type(value).__name__}; expected [cameras, frames per second]")
    cameras, rate = checked_dictionary(value[0], where), _rate_hz(value[1], where)
    clips = []
    for view, arrays in cameras.items():
        pixels, poses = _arrays(arrays, f"{where}, camera {view},")
        clips.append(Clip(pixels, poses, _SIZE_PX, "h36m_17", None, subject, action, str(view), rate))
    return clips


def _test_sequence(name: str, value: Any, where: str) -> list[Clip]:
    """One entry "TS1": {data_2d, data_3d, valid}; a clip for each run of valid frames."""
    valid = np.asarray(checked_dictionary(value, where).get("valid")).ravel()
    pixels, poses = _arrays(value, where, valid)
    steps = np.diff(np.concatenate([[0], (valid == 1).astype(int), [0]]))
    runs = zip(np.flatnonzero(steps == 1), np.flatnonzero(steps == -1), strict=True)
    size = _OUTDOOR_SIZE_PX if name in _OUTDOOR else _SIZE_PX
    return [
        Clip(pixels[first:end], poses[first:end], size, "h36m_17", None, name, name, f"frame {first}", None)
        for first, end in runs
    ]


def _rate_hz(value: Any, where: str) -> float:
    try:
        rate = float(np.asarray(value).item())
    except (TypeError, ValueError):
        rate = np.nan
    if not 0 < rate < np.inf:
        raise DataError(f"{where}: frames per second are {value!r}; expected a number above 0")
    return rate


def _arrays(value: Any, where: str, valid: npt.NDArray[Any] | None = None) -> tuple[Floats, Floats]:
    """2D (T, 17, 2) pixels and 3D (T, 17, 3) metres, in this project's joint order.

    valid: (T,) 1 for the frames that must hold numbers; None for all.
    """
    arrays = checked_dictionary(value, where)
    if missing := [k for k in ("data_2d", "data_3d") if k not in arrays]:
        raise DataError(f"{where} lacks {missing}; it has {', '.join(map(str, arrays))}")
    pixels = np.asarray(arrays["data_2d"])
    pixels = shaped_array(pixels[..., :2] if pixels.ndim else pixels, (17, 2), f"{where}: data_2d")
    poses = shaped_array(arrays["data_3d"], (17, 3), f"{where}: data_3d")
    if len(pixels) != len(poses):
        raise DataError(f"{where}: {len(pixels)} frames of 2D for {len(poses)} of 3D")
    if valid is not None and (len(valid) != len(poses) or valid.dtype.kind not in "fiub"):
        raise DataError(f"{where}: 'valid' has {len(valid)} entries for {len(poses)} frames")
    for name, array in (("data_2d", pixels), ("data_3d", poses)):
        check_finite(array, f"{where}: {name}", None if valid is None else valid == 1)
    return pixels[:, _ORDER], poses[:, _ORDER] / 1000
