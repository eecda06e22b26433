"""What can befall a recording before it is lifted: hidden keypoints, swapped sides, a slow detector, no camera_info."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from pstmo_ros.core import layouts, skeleton
from pstmo_ros.recording import Recording

Change = Callable[[Recording, int], Recording]  # a recording and a seed -> what the node gets instead
_HIDDEN_S = 1.6  # which keypoints are hidden is drawn anew this often
_SWAPPED_S, _EVERY_S = (0.1, 0.5), 2.0


def hide_some(count: int) -> Change:
    """Hide so many keypoints, drawn anew every ``_HIDDEN_S``."""

    def change(recording: Recording, seed: int) -> Recording:
        random = np.random.default_rng(seed)
        keypoints = recording.keypoints.copy()
        seconds = (recording.stamps_ns - recording.stamps_ns[0]) / 1e9
        for part in range(int(seconds[-1] / _HIDDEN_S) + 1):
            rows = np.flatnonzero(seconds // _HIDDEN_S == part)
            _hide(keypoints, rows, random.permutation(keypoints.shape[2])[:count])
        return dataclasses.replace(recording, keypoints=keypoints)

    return change


def hide(ends: tuple[str, ...]) -> Change:
    """Hide the keypoints whose names end so, throughout."""

    def change(recording: Recording, _: int) -> Recording:
        names = layouts.get(recording.layout).joints
        keypoints = recording.keypoints.copy()
        _hide(keypoints, np.arange(len(keypoints)), np.array([i for i, n in enumerate(names) if n.endswith(ends)]))
        return dataclasses.replace(recording, keypoints=keypoints)

    return change


def swap_sides(recording: Recording, seed: int) -> Recording:
    """Left is taken for right in the arms, the legs or everything, once in ``_EVERY_S``, for ``_SWAPPED_S``."""
    random = np.random.default_rng(seed)
    names = layouts.get(recording.layout).joints
    keypoints = recording.keypoints.copy()
    seconds = (recording.stamps_ns - recording.stamps_ns[0]) / 1e9
    for part in range(int(seconds[-1] / _EVERY_S) + 1):
        ends = (skeleton.ARM, skeleton.LEG, ("",))[random.integers(3)]
        length = random.uniform(*_SWAPPED_S)
        begin = part * _EVERY_S + random.uniform(0.5, _EVERY_S - length)
        rows = (begin <= seconds) & (seconds < begin + length)
        other = [names.index(skeleton.mirrored_name(n)) if n.endswith(ends) else k for k, n in enumerate(names)]
        keypoints[rows] = keypoints[rows][:, :, other]
    return dataclasses.replace(recording, keypoints=keypoints)


def every(step: int) -> Change:
    """A detector that is so many times slower."""

    def change(recording: Recording, _: int) -> Recording:
        assert recording.truth_m is not None
        assert recording.person_ids is not None
        moves = recording.odom_from_camera
        return dataclasses.replace(
            recording,
            odom_from_camera=None if moves is None else moves[::step],
            keypoints=recording.keypoints[::step],
            stamps_ns=recording.stamps_ns[::step],
            person_ids=recording.person_ids[::step],
            truth_m=recording.truth_m[::step],
        )

    return change


def forget_camera(recording: Recording, _: int) -> Recording:
    """No camera_info: the field of view is assumed, and nobody can be placed in space."""
    return dataclasses.replace(recording, camera=None)


def forget_odometry(recording: Recording, _: int) -> Recording:
    """Nobody knows how the camera moves."""
    return dataclasses.replace(recording, odom_from_camera=None)


def _hide(keypoints: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> None:
    keypoints[rows[:, None], :, columns] = (np.nan, np.nan, 0)
