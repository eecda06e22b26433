"""sensor_msgs/CameraInfo -> Camera."""

from __future__ import annotations

from typing import Any

import numpy as np

from pstmo_ros.core.camera import Camera


def camera_from(message: Any) -> Camera | None:
    """camera_info -> Camera; None for an uncalibrated one (K all zero). ValueError for a lens model not known here."""
    k = np.reshape(message.k, (3, 3))
    if not k.any():
        return None
    distortion = np.array(message.d, float)
    model = message.distortion_model or "plumb_bob"
    if model == "rational_polynomial" and not distortion[5:].any():
        model = "plumb_bob"  # the same lens, its denominator unused: what many depth cameras send
    if distortion.any() and (model != "plumb_bob" or len(distortion) < 5):
        raise ValueError(
            f"camera_info distortion_model is {message.distortion_model!r} with {len(distortion)} coefficients; "
            "plumb_bob with 5 is known here: rectify the image, or recalibrate with that model"
        )
    padded = np.zeros(5)
    padded[: min(len(distortion), 5)] = distortion[:5]
    return Camera.from_matrix(k, (int(message.width), int(message.height)), padded)
