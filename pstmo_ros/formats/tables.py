"""Lifted poses -> CSV, one row per person and frame."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pstmo_ros.core import skeleton
from pstmo_ros.core.types import Floats


def write_csv(
    path: str | Path, stamps_ns: npt.NDArray[np.int64], ids: npt.NDArray[np.int64], poses_m: Floats, scores: Floats
) -> None:
    """Columns stamp_ns, person_id, then JOINT_x, JOINT_y, JOINT_z (metres, camera axes) and JOINT_score of each joint.

    stamps (T,), ids (T, P), poses (T, P, 17, 3), scores (T, P, 17); people with id -1 are nobody.
    """
    columns = [f"{joint}_{column}" for joint in skeleton.JOINTS for column in ("x", "y", "z", "score")]
    with open(path, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["stamp_ns", "person_id", *columns])
        for t, p in np.argwhere(ids >= 0):
            values = np.concatenate([poses_m[t, p], scores[t, p, :, None]], -1).ravel()
            rows.writerow([int(stamps_ns[t]), int(ids[t, p]), *(f"{v:.6g}" for v in values)])
