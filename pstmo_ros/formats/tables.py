"""Lifted poses -> CSV, one row per person and frame."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from pstmo_ros.core import skeleton
from pstmo_ros.recording import Lifted

_COLUMNS = ("x", "y", "z", "score", "vx", "vy", "vz", "std")


def write_csv(path: str | Path, lifted: Lifted) -> None:
    """Columns stamp_ns, person_id, then JOINT_x y z (m), score, vx vy vz (m/s), std (m) of each joint; camera axes."""
    columns = [f"{joint}_{column}" for joint in skeleton.JOINTS for column in _COLUMNS]
    joints = [lifted.shown_m, lifted.scores[..., None], lifted.velocities_m_s, lifted.std_m[..., None]]
    table = np.concatenate(joints, -1)
    with open(path, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["stamp_ns", "person_id", *columns])
        for t, p in np.argwhere(lifted.person_ids >= 0):
            values = (f"{v:.6g}" for v in table[t, p].ravel())
            rows.writerow([int(lifted.stamps_ns[t]), int(lifted.person_ids[t, p]), *values])
