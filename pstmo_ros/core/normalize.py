"""Pixels <-> model coordinates, an inverse pair. The model file says which normalisation its weights expect.

``screen``: x/w*2 - 1, y/w*2 - h/w (both by the image width w), as the P-STMO authors train.
``rays``:   the undistorted ray (x/z, y/z), which no longer depends on focal length, lens or resolution.
"""

from __future__ import annotations

import numpy as np

from pstmo_ros.core.camera import Camera
from pstmo_ros.core.types import Floats

NORMALIZATIONS = ("screen", "rays")
# Without camera_info a ray normalisation needs some field of view; most webcams and depth cameras are near this.
ASSUMED_FIELD_OF_VIEW_DEG = 65.0


def normalize(points_px: Floats, size_px: tuple[int, int], camera: Camera | None, kind: str) -> Floats:
    """Pixels (…, 2) -> model coordinates (…, 2) float32; NaN stays NaN."""
    if kind == "rays":
        return _ray_camera(size_px, camera).rays(points_px).astype(np.float32)
    w, h = size_px
    return (np.asarray(points_px) / w * 2 - (1, h / w)).astype(np.float32)


def denormalize(points: Floats, size_px: tuple[int, int], camera: Camera | None, kind: str) -> Floats:
    """Model coordinates (…, 2) -> pixels (…, 2), the inverse of ``normalize``."""
    if kind == "rays":
        return _ray_camera(size_px, camera).pixels(points)
    w, h = size_px
    return np.add(points, (1, h / w)) * (w / 2)


def _ray_camera(size_px: tuple[int, int], camera: Camera | None) -> Camera:
    return camera or Camera.from_field_of_view(size_px, ASSUMED_FIELD_OF_VIEW_DEG)
