"""ROS' camera calibration files, as camera_calibration writes them and camera drivers read them -> Camera."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pstmo_ros.adapters.camera_info import lens_name
from pstmo_ros.core.camera import Camera
from pstmo_ros.core.types import Floats


def read_calibration(path: str | Path, rectified: bool = False) -> Camera:
    """The camera of the raw or the rectified image. ValueError names the file, the field and what it should be."""
    try:
        values = yaml.safe_load(Path(path).read_bytes())
    except (OSError, yaml.YAMLError, ValueError) as e:
        raise ValueError(f"calibration {str(path)!r} cannot be read: {' '.join(str(e).split())}") from None
    values = values if isinstance(values, dict) else {}
    try:
        size_px = _whole(values, "image_width"), _whole(values, "image_height")
        if rectified:
            return Camera.from_matrix(_numbers(values, "projection_matrix", 12).reshape(3, 4)[:, :3], size_px)
        lens = lens_name(str(values.get("distortion_model") or ""))
        k, distortion = _numbers(values, "camera_matrix", 9), _numbers(values, "distortion_coefficients")
        return Camera.from_matrix(k.reshape(3, 3), size_px, distortion, lens)
    except ValueError as e:
        raise ValueError(f"calibration {str(path)!r}: {e}") from None


def _whole(values: dict[str, Any], name: str) -> int:
    if type(value := values.get(name)) is not int or value <= 0:
        raise ValueError(f"{name} is {value!r}; give the image's in pixels")
    return value


def _numbers(values: dict[str, Any], name: str, count: int | None = None) -> Floats:
    given = values.get(name)
    try:
        numbers: Floats = np.array(given["data"], np.float64).ravel()  # type: ignore[index]
    except (TypeError, KeyError, ValueError):
        raise ValueError(f"{name} is {given!r}; give its numbers as data: [...]") from None
    if not np.isfinite(numbers).all() or count not in (None, len(numbers)):
        raise ValueError(f"{name} holds {numbers.tolist()}; give {count or 'finite'} numbers")
    return numbers
