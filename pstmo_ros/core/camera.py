"""Pinhole and fisheye cameras with the distortion models of camera_info: pixels <-> rays, an inverse pair."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from pstmo_ros.core.layouts import nearest
from pstmo_ros.core.types import Floats

# How many coefficients each model has. plumb_bob: k1 k2 p1 p2 k3. rational_polynomial: those and k4 k5 k6.
# equidistant (fisheye): k1 k2 k3 k4 of the angle.
LENSES = {"plumb_bob": 5, "rational_polynomial": 8, "equidistant": 4}
_STEPS, _DONE = 30, 1e-7  # of Newton's method: at most so many, or until no ray moves further than that
_FLAT, _FAR, _WRONG = 0.05, 0.5, 1e-6  # its least slope and longest step, and what is no solution
_SMALL = 0.05  # share of a ray by which its first guess may be longer or shorter: further out, lenses fold
# Whoever is so near is there with the next step, whose error is as the square of this one's; where the lens is flat,
# towards its fold, this one is the longer for it.
_NEAR = 1e-3
_OUTERMOST = math.tan(math.radians(85))  # of the rays that any but a fisheye's lens could show
_WIDEST = math.radians(89)  # a fisheye's rays beyond have no x/z that the model could use


@dataclass(frozen=True, slots=True)
class Camera:
    """Intrinsics in pixels; lens: a name of LENSES, with its distortion coefficients as ROS orders them.

    A ray is (x/z, y/z) of the points that fall on a pixel, in the camera optical frame. down: where gravity pulls, in
    that frame, of any length; None when nobody knows. A level camera's is (0, 1, 0).
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0, 0.0)
    lens: str = "plumb_bob"
    down: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        if self.down is not None and not 0 < math.hypot(*self.down) < math.inf:
            raise ValueError(f"down is {self.down}; give a direction in the camera's axes, (0, 1, 0) for a level one")
        if not (self.fx > 0 and self.fy > 0):
            raise ValueError(f"focal length fx={self.fx}, fy={self.fy} is not positive: the camera is not calibrated")
        numbers = (self.fx, self.fy, self.cx, self.cy, *self.distortion)
        if not all(map(math.isfinite, numbers)):
            raise ValueError(f"fx, fy, cx, cy and distortion are {numbers}: not all are finite")
        if self.lens not in LENSES:
            raise ValueError(f"distortion model {self.lens!r} is unknown; {nearest(self.lens, tuple(LENSES))}")
        if len(self.distortion) != LENSES[self.lens]:
            raise ValueError(f"distortion has {len(self.distortion)} numbers; {self.lens} takes {LENSES[self.lens]}")

    @classmethod
    def from_matrix(
        cls, matrix: Floats, size_px: tuple[int, int], distortion: Floats | None = None, lens: str = "plumb_bob"
    ) -> Camera:
        """From a 3x3 camera matrix in pixels and the image's (width, height); trailing zero coefficients may be left
        out, or be too many."""
        k = np.asarray(matrix, float)
        if k.shape != (3, 3):
            raise ValueError(f"camera_matrix has shape {k.shape}; give (3, 3)")
        given = [] if distortion is None else np.ravel(distortion).astype(float).tolist()  # OpenCV's is (1, D)
        if lens == "plumb_bob" and len(given) == 8 and any(given[5:]):
            lens = "rational_polynomial"  # what eight coefficients mean, whatever the driver calls them
        needed = LENSES.get(lens, len(given))
        padded = given + [0.0] * (needed - len(given))
        while len(padded) > needed and padded[-1] == 0:
            padded.pop()
        return cls(*size_px, k[0, 0], k[1, 1], k[0, 2], k[1, 2], tuple(padded), lens)

    @classmethod
    def from_field_of_view(cls, size_px: tuple[int, int], horizontal_deg: float) -> Camera:
        """An undistorted camera with square pixels and a centred principal point."""
        w, h = size_px
        f = w / 2 / math.tan(math.radians(horizontal_deg) / 2)
        return cls(w, h, f, f, w / 2, h / 2)

    @property
    def distorted(self) -> bool:
        """Whether pixels are anything but the rays, scaled."""
        return self.lens == "equidistant" or any(self.distortion)

    @property
    def plain(self) -> Camera:
        """The same camera with a lens that does not distort."""
        return _plain(self) if self.distorted else self

    def rays(self, points_px: Floats) -> Floats:
        """Pixels (…, 2) -> undistorted rays (…, 2); NaN stays NaN, and so becomes what no ray falls on."""
        distorted = np.subtract(points_px, (self.cx, self.cy), dtype=np.float64)
        distorted /= (self.fx, self.fy)
        if not self.distorted:
            return distorted
        return self._unbend_fisheye(distorted) if self.lens == "equidistant" else self._unbend(distorted)

    def pixels(self, rays: Floats) -> Floats:
        """Rays (…, 2) -> pixels (…, 2), the inverse of ``rays``."""
        rays = np.asarray(rays, np.float64)
        if self.distorted:
            rays = self._bend_fisheye(rays) if self.lens == "equidistant" else self._bend(rays)
        return rays * (self.fx, self.fy) + (self.cx, self.cy)

    def project(self, points_m: Floats) -> Floats:
        """Points (…, 3) in the camera optical frame, metres -> pixels (…, 2); NaN behind the camera."""
        points_m = np.asarray(points_m, np.float64)
        z = np.where(points_m[..., 2:] > 0, points_m[..., 2:], np.nan)
        return self.pixels(points_m[..., :2] / z)

    @property
    def _rational(self) -> tuple[float, ...]:
        """k1 k2 p1 p2 k3 k4 k5 k6 of any lens but a fisheye's: plumb_bob is a rational_polynomial without k4..k6."""
        return (*self.distortion, 0.0, 0.0, 0.0)[:8]

    def _bend(self, rays: Floats) -> Floats:
        """Rays -> distorted rays (…, 2)."""
        x, y, _ = self._bend_with_slopes(rays[..., 0], rays[..., 1])
        return np.stack([x, y], -1)

    def _bend_with_slopes(self, x: Floats, y: Floats) -> tuple[Floats, Floats, tuple[Floats, Floats, Floats]]:
        """Rays x, y -> distorted ones, and how these change: x by x, x by y and y by x, y by y."""
        k1, k2, p1, p2, k3, k4, k5, k6 = self._rational
        r2 = x * x + y * y
        radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
        slope = k1 + r2 * (2 * k2 + r2 * (3 * k3))  # of radial, by r2
        if k4 or k5 or k6:
            under = 1 + r2 * (k4 + r2 * (k5 + r2 * k6))
            radial = radial / under
            slope = (slope - radial * (k4 + r2 * (2 * k5 + r2 * (3 * k6)))) / under
        px, py = 2 * p2 * x, 2 * p1 * y
        by = radial + px + py
        by_x, by_y = 2 * (x * slope + p2), 2 * (y * slope + p1)
        slopes = by + x * by_x + px, x * by_y + 2 * p2 * y, by + y * by_y + py
        return x * by + p2 * r2, y * by + p1 * r2, slopes

    def _unbend(self, distorted: Floats) -> Floats:
        """The inverse of ``_bend`` by Newton's method, damped where the lens folds over."""
        to_x, to_y = distorted[..., 0], distorted[..., 1]
        straight = self._straight(to_x * to_x + to_y * to_y)
        x, y = to_x * straight, to_y * straight
        for _ in range(_STEPS):
            bent_x, bent_y, (xx, xy, yy) = self._bend_with_slopes(x, y)
            off_x, off_y = bent_x - to_x, bent_y - to_y
            determinant = xx * yy - xy * xy
            by = 1 / np.maximum(determinant, _FLAT)
            move_x, move_y = (yy * off_x - xy * off_y) * by, (xx * off_y - xy * off_x) * by
            near = np.where(determinant > _FLAT, _NEAR * np.minimum(determinant, 1), _WRONG)
            wrong = off_x * off_x + off_y * off_y > near * near
            ending = not wrong.any()
            if not ending:
                by = _FAR / np.maximum(np.hypot(move_x, move_y), _FAR)
                move_x, move_y = move_x * by, move_y * by
            x, y = x - move_x, y - move_y
            if ending:
                break
        # Beyond the fold, and across the axis, are other rays of the same pixels.
        found = ~wrong & (x * x + y * y < _fold(self))
        rays = np.empty_like(distorted)
        rays[..., 0], rays[..., 1] = np.where(found, x, np.nan), np.where(found, y, np.nan)
        return rays

    def _straight(self, r2: Floats) -> Floats:
        """About what distorted rays, of that length squared, are to be multiplied by: the first terms of the radial
        distortion's inverse (Drap and Lefèvre 2016), where they are small; else 1."""
        k1, k2, _, _, k3, k4, k5, k6 = self._rational
        a1 = k1 - k4
        a2 = k2 - k5 - k4 * a1
        a3 = k3 - k6 - k5 * a1 - k4 * a2
        more = r2 * (-a1 + r2 * (3 * a1 * a1 - a2 + r2 * (8 * a1 * a2 - 12 * a1**3 - a3)))
        return 1 + np.where(abs(more) < _SMALL, more, 0)

    def _bend_fisheye(self, rays: Floats) -> Floats:
        r = np.linalg.norm(rays, axis=-1, keepdims=True)
        theta = np.arctan(r)
        return rays * np.where(r > 1e-9, self._fisheye(theta) / np.maximum(r, 1e-9), 1.0)

    def _unbend_fisheye(self, distorted: Floats) -> Floats:
        """The inverse of ``_bend_fisheye``: Newton's method on the angle."""
        bent = np.linalg.norm(distorted, axis=-1, keepdims=True)
        theta = np.clip(bent, 0, _WIDEST)
        for _ in range(_STEPS):
            before = theta
            move = (self._fisheye(theta) - bent) / np.maximum(self._fisheye_slope(theta), _FLAT)
            theta = np.clip(theta - move, 0, math.pi / 2)
            if not (np.abs(theta - before) > _DONE).any():
                break
        seen = (theta < _WIDEST) & (np.abs(self._fisheye(theta) - bent) < _WRONG)
        scale = np.where(bent > 1e-9, np.tan(theta) / np.maximum(bent, 1e-9), 1.0)
        return np.where(seen, distorted * scale, np.nan)

    def _fisheye(self, theta: Floats) -> Floats:
        k1, k2, k3, k4 = self.distortion
        t2 = theta * theta
        return theta * (1 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4))))

    def _fisheye_slope(self, theta: Floats) -> Floats:
        k1, k2, k3, k4 = self.distortion
        t2 = theta * theta
        return 1 + t2 * (3 * k1 + t2 * (5 * k2 + t2 * (7 * k3 + t2 * 9 * k4)))


@lru_cache(16)
def _fold(camera: Camera) -> float:
    """Length squared of the rays beyond which the lens, not a fisheye, shows what is further out further in again."""
    x = np.linspace(0, _OUTERMOST, 10000)
    _, _, (slope, _, _) = camera._bend_with_slopes(x, np.zeros_like(x))
    return float(x[np.argmax(~(slope > 0))]) ** 2 or math.inf


@lru_cache(16)
def _plain(camera: Camera) -> Camera:
    return dataclasses.replace(camera, distortion=(0.0,) * 5, lens="plumb_bob")
