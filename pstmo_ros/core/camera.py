"""Pinhole camera with plumb_bob distortion: pixels <-> rays, an inverse pair."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pstmo_ros.core.types import Floats

_UNDISTORT_STEPS = 12  # fixed-point steps; to 1e-6 of a ray within the image of lenses up to about 100 degrees


@dataclass(frozen=True, slots=True)
class Camera:
    """Intrinsics in pixels; distortion (k1, k2, p1, p2, k3) as in ROS's plumb_bob model.

    A ray is (x/z, y/z) of the points that fall on a pixel, in the camera optical frame.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        if not (self.fx > 0 and self.fy > 0):
            raise ValueError(f"focal length fx={self.fx}, fy={self.fy} is not positive: the camera is not calibrated")
        if len(self.distortion) != 5:
            raise ValueError(f"distortion has {len(self.distortion)} numbers; plumb_bob takes k1, k2, p1, p2, k3")

    @classmethod
    def from_matrix(cls, matrix: Floats, size_px: tuple[int, int], distortion: Floats | None = None) -> Camera:
        """From a 3x3 camera matrix in pixels and the image's (width, height)."""
        k = np.asarray(matrix, float)
        if k.shape != (3, 3):
            raise ValueError(f"camera_matrix has shape {k.shape}; give (3, 3)")
        d = np.zeros(5) if distortion is None or len(distortion) == 0 else np.asarray(distortion, float)
        return cls(*size_px, k[0, 0], k[1, 1], k[0, 2], k[1, 2], tuple(map(float, d)))

    @classmethod
    def from_field_of_view(cls, size_px: tuple[int, int], horizontal_deg: float) -> Camera:
        """An undistorted camera with square pixels and a centred principal point."""
        w, h = size_px
        f = w / 2 / math.tan(math.radians(horizontal_deg) / 2)
        return cls(w, h, f, f, w / 2, h / 2)

    @property
    def distorted(self) -> bool:
        """Whether any distortion coefficient differs from zero."""
        return any(self.distortion)

    def rays(self, points_px: Floats) -> Floats:
        """Pixels (…, 2) -> undistorted rays (…, 2); NaN stays NaN."""
        distorted = (np.asarray(points_px, np.float64) - (self.cx, self.cy)) / (self.fx, self.fy)
        if not self.distorted:
            return distorted
        rays = distorted
        for _ in range(_UNDISTORT_STEPS):
            radial, tangential = self._distortion(rays)
            rays = (distorted - tangential) / radial
        return rays

    def pixels(self, rays: Floats) -> Floats:
        """Rays (…, 2) -> pixels (…, 2), the inverse of ``rays``."""
        rays = np.asarray(rays, np.float64)
        if self.distorted:
            radial, tangential = self._distortion(rays)
            rays = rays * radial + tangential
        return rays * (self.fx, self.fy) + (self.cx, self.cy)

    def project(self, points_m: Floats) -> Floats:
        """Points (…, 3) in the camera optical frame, metres -> pixels (…, 2); NaN behind the camera."""
        points_m = np.asarray(points_m, np.float64)
        z = np.where(points_m[..., 2:] > 0, points_m[..., 2:], np.nan)
        return self.pixels(points_m[..., :2] / z)

    def _distortion(self, rays: Floats) -> tuple[Floats, Floats]:
        k1, k2, p1, p2, k3 = self.distortion
        x, y = rays[..., :1], rays[..., 1:]
        r2 = x * x + y * y
        radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
        tangential = np.concatenate(
            [2 * p1 * x * y + p2 * (r2 + 2 * x * x), p1 * (r2 + 2 * y * y) + 2 * p2 * x * y], -1
        )
        return radial, tangential
