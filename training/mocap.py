"""Open motion capture as Human3.6M-17 clips, whole in memory (see training/data/README.md)."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pstmo_ros.core import skeleton

CMU = Path(__file__).parent / "data" / "cmu_h36m17_50hz.npz"
CMU_CREDIT = (
    "The data used in this project was obtained from mocap.cs.cmu.edu. "
    "The database was created with funding from NSF EIA-0196217."
)
_NEEDED = (
    *("positions", "clip_start", "clip_len", "clip_name", "subject", "split", "quality", "action"),
    *("joint_names", "fps"),
)
_TRUNK_M = (0.1, 1.5)  # nobody's trunk is shorter or longer: another unit is
_SHORT = [name.replace("right_", "r").replace("left_", "l") for name in skeleton.JOINTS]  # as the open set names them


@dataclass(frozen=True)
class Mocap:
    """Clips of one split, concatenated.

    positions_m: (F, 17, 3) float32 metres, world frame, right-handed, z up.
    start, length: (clips,) int64; clip i is positions_m[start[i] : start[i] + length[i]].
    """

    positions_m: Tensor
    start: Tensor
    length: Tensor
    names: tuple[str, ...]
    subjects: tuple[str, ...]
    actions: tuple[str, ...]
    rate_hz: float

    def clip(self, i: int) -> Tensor:
        """Positions (T, 17, 3) of clip i."""
        return self.positions_m[self.start[i] : self.start[i] + self.length[i]]

    def to(self, device: torch.device) -> Mocap:
        """The same clips in another device's memory."""
        return Mocap(
            self.positions_m.to(device),
            self.start.to(device),
            self.length.to(device),
            self.names,
            self.subjects,
            self.actions,
            self.rate_hz,
        )


def load_mocap(path: str | Path, split: str, min_quality: int = 0) -> Mocap:
    """Clips of one split ('train', 'val', 'test'; subject-disjoint). ValueError says what is wrong with the file."""
    data = read_mocap(path)
    where = f"mocap file {str(path)!r}"
    keep = np.flatnonzero((data["split"] == split) & (data["quality"] >= min_quality))
    if len(keep) == 0:
        raise ValueError(
            f"{where} has no clip in split {split!r} with quality >= {min_quality}; "
            f"splits: {sorted(set(data['split'].tolist()))}; training.prepare puts subjects there with --val or --test"
        )
    length = data["clip_len"][keep].astype(np.int64)
    rows = np.concatenate([np.arange(s, s + n) for s, n in zip(data["clip_start"][keep], length, strict=True)])
    positions = data["positions"][rows].astype(np.float32) / 1000
    if not np.isfinite(positions).all():
        raise ValueError(f"{where}: positions holds NaN or infinity in split {split!r}")
    trunk_m = np.median(np.linalg.norm(positions[:, skeleton.index("thorax")] - positions[:, skeleton.ROOT], axis=-1))
    if not _TRUNK_M[0] < trunk_m < _TRUNK_M[1]:
        raise ValueError(f"{where}: from pelvis to thorax it is {1000 * trunk_m:.4g} mm; give positions in mm")
    start = np.concatenate([[0], np.cumsum(length)[:-1]])
    names, subjects, actions = (tuple(map(str, data[k][keep])) for k in ("clip_name", "subject", "action"))
    return Mocap(
        torch.from_numpy(positions),
        torch.from_numpy(start),
        torch.from_numpy(length),
        names,
        subjects,
        actions,
        float(data["fps"]),
    )


def read_mocap(path: str | Path) -> dict[str, npt.NDArray[Any]]:
    """All fields of a mocap file, of every split. ValueError says what is wrong with the file."""
    where = f"mocap file {str(path)!r}"
    if not Path(path).is_file():
        raise ValueError(f"{where} does not exist; the open set ships as training/data/{CMU.name}")
    try:
        with np.load(path, allow_pickle=False) as z:
            data = {k: z[k] for k in z.files}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as e:
        raise ValueError(f"{where} cannot be read ({e}); it may be truncated or hold pickled objects") from None
    if missing := [k for k in _NEEDED if k not in data]:
        raise ValueError(f"{where} lacks {missing}")
    if data["positions"].ndim != 3 or data["positions"].shape[1:] != (skeleton.J, 3):
        raise ValueError(f"{where}: positions has shape {data['positions'].shape}; give (frames, 17, 3)")
    if (data["clip_start"] + data["clip_len"]).max(initial=0) > len(data["positions"]):
        raise ValueError(f"{where}: a clip ends after the {len(data['positions'])} frames of positions")
    if (joints := data["joint_names"].tolist()) not in (list(skeleton.JOINTS), _SHORT):
        raise ValueError(
            f"{where}: joint_names is {joints}; put positions into this order, under these names: {', '.join(_SHORT)}"
        )
    if data["fps"].shape != () or data["fps"].dtype.kind not in "fiu" or not 0 < data["fps"] < np.inf:
        raise ValueError(f"{where}: fps is {data['fps'].tolist()}; give one number above 0")
    return data
