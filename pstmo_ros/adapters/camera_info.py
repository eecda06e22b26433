"""sensor_msgs/CameraInfo -> Camera."""

from __future__ import annotations

from typing import Any

import numpy as np

from pstmo_ros.core.camera import Camera

_NAMES = {"": "plumb_bob", "fisheye": "equidistant", "kannala_brandt": "equidistant"}


def lens_name(model: str) -> str:
    """A distortion model by the name that it has here; drivers and their calibration files call some otherwise."""
    return _NAMES.get(model, model)


def image_size(message: Any) -> tuple[int, int]:
    """(width, height) of the image that the camera sends: the region of interest of it, binned."""
    x, y = _binning(message)
    roi = message.roi
    return (roi.width or message.width) // x, (roi.height or message.height) // y


def camera_from(message: Any, rectified: bool = False) -> Camera | None:
    """camera_info -> Camera of the image that the camera sends; None for an uncalibrated one (K all zero).

    rectified: the image was undistorted (image_rect), so P holds and no distortion. Region of interest and binning
    count, as camera_info gives K and P for the full image. ValueError for a lens model not known here.
    """
    if not np.any(message.k):
        return None
    if rectified:
        matrix, distortion, lens = np.reshape(message.p, (3, 4))[:, :3].copy(), None, "plumb_bob"
        if not matrix.any():
            raise ValueError("camera_info has P all zero: it does not say how the image was rectified")
    else:
        matrix, distortion = np.reshape(message.k, (3, 3)).astype(float), np.array(message.d, float)
        lens = lens_name(message.distortion_model)
        if lens != "equidistant" and not distortion.any():
            lens = "plumb_bob"  # an undistorted image, whatever its lens is called
        elif lens == "rational_polynomial" and not distortion[5:].any():
            lens = "plumb_bob"  # the same lens, its denominator unused: what many depth cameras send
    matrix[:2, 2] -= (message.roi.x_offset, message.roi.y_offset)
    matrix[:2] /= np.array(_binning(message))[:, None]
    return Camera.from_matrix(matrix, image_size(message), distortion, lens)


def _binning(message: Any) -> tuple[int, int]:
    return max(message.binning_x, 1), max(message.binning_y, 1)
