"""What every recorded data set gives: clips of 2D keypoints and the 3D poses behind them, seen by one camera."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pstmo_ros.core import layouts, skeleton
from pstmo_ros.core.camera import Camera
from pstmo_ros.core.normalize import normalize
from pstmo_ros.core.types import Floats


class DataError(ValueError):
    """A data file that is missing or cannot be used; the message names it, what is wrong and what to do."""


@dataclass(frozen=True)
class Clip:
    """Consecutive frames of one person before one static camera.

    keypoints_px: (T, J, 2) float32 pixels in ``layout``'s order, NaN where unseen.
    poses_m: (T, 17, 3) float32 metres, camera axes (x right, y down, z away), Human3.6M-17 order; where the data set
    says where the person stands the root is there, else at 0.
    view: which camera; rate_hz: None where the data set does not say.
    """

    keypoints_px: Floats
    poses_m: Floats
    size_px: tuple[int, int]
    layout: str
    camera: Camera | None
    subject: str
    action: str
    view: str
    rate_hz: float | None

    @property
    def name(self) -> str:
        """How messages and tables refer to the clip."""
        return f"{self.subject} {self.action} {self.view}"

    def root_relative_m(self) -> Tensor:
        """Poses (T, 17, 3) with the pelvis at 0: what the model is trained to give."""
        return torch.from_numpy(self.poses_m - self.poses_m[:, skeleton.ROOT, None])

    def model_input(self, normalization: str, as_detected: bool = False) -> Tensor:
        """Keypoints in model coordinates, (T, 17, 2).

        as_detected: in the detector's own order (17 keypoints), as the paper's in-the-wild model takes COCO;
        otherwise in the model's joint order (core.layouts).
        """
        points = self.keypoints_px
        if not as_detected:
            scores = np.isfinite(points[..., 0]).astype(np.float32)
            points, _ = layouts.to_model_joints(layouts.get(self.layout), points, scores)
        return torch.from_numpy(normalize(points, self.size_px, self.camera, normalization))


def check_file(path: Path, what: str, how: str) -> Path:
    """The path if there is such a file; DataError saying what it is, where it was looked for and how to make it."""
    if not path.is_file():
        raise DataError(f"{what} file {path.name!r} is not in {str(path.parent)!r}. {how}")
    return path


def checked_array(value: Any, shape: tuple[int, ...], where: str) -> Floats:
    """Numbers (T, *shape) as float32; DataError naming ``where`` for another shape, type, or a NaN."""
    array = shaped_array(value, shape, where)
    check_finite(array, where)
    return array


def shaped_array(value: Any, shape: tuple[int, ...], where: str) -> Floats:
    """Numbers (T, *shape) as float32, NaN among them or not; DataError naming ``where`` for another shape or type."""
    array = np.asarray(value)
    if array.dtype.kind not in "fiu" or array.ndim != 1 + len(shape) or array.shape[1:] != shape or len(array) == 0:
        expected = ", ".join(map(str, shape))
        raise DataError(
            f"{where} is {array.dtype} of shape {array.shape}; expected numbers of shape (frames, {expected})"
        )
    return array.astype(np.float32)


def check_finite(array: Floats, where: str, used: npt.NDArray[np.bool_] | None = None) -> None:
    """DataError naming ``where`` and the first frame of (T, …) with a NaN, of those that are ``used``, (T,)."""
    broken = ~np.isfinite(array.reshape(len(array), -1)).all(1)
    if used is not None:
        broken &= used
    if broken.any():
        frame = int(np.flatnonzero(broken)[0])
        raise DataError(f"{where} holds NaN or infinity, first in frame {frame}; take the frames out or mend the file")


def checked_dictionary(value: Any, where: str) -> dict[Any, Any]:
    """The dictionary, or a DataError naming ``where``."""
    if not isinstance(value, dict) or not value:
        raise DataError(f"{where} is {type(value).__name__}; expected a dictionary with entries")
    return value
