"""Where the lifted pose stands: root-relative pose + rays -> metric pose in the camera frame."""

from __future__ import annotations

import numpy as np

from pstmo_ros.core import skeleton
from pstmo_ros.core.types import Floats, as_complex, as_points

MIN_DEPTH_M = 0.3
LEAST_JOINTS = 3  # that must be seen of somebody, to know where and how large they are
_LIMBS = np.array(skeleton.LIMBS)
_RIDGE = 1e-12
_PASSES = 2  # the second pass weighs each joint by 1/depth, which turns the algebraic error into pixels


def place(poses_m: Floats, rays: Floats, scores: Floats) -> Floats:
    """Root translations that make the poses reproject onto their keypoints, by weighted linear least squares.

    For joint i with ray (u, v) and root-relative position (X, Y, Z), a translation t satisfies
    X + tx = u (Z + tz) and Y + ty = v (Z + tz): two linear equations each, solved in closed form.

    poses_m (B, 17, 3) metres, camera axes; rays (B, 17, 2), NaN where unseen; scores (B, 17)
    -> translations (B, 3) metres in the camera frame; NaN for a person with fewer than three limb joints seen,
    or whose solution lies behind the camera.
    """
    at = poses_m[:, _LIMBS].astype(np.float64)
    uv, w = rays[:, _LIMBS], scores[:, _LIMBS]
    seen = np.isfinite(uv).all(-1) & (w > 0)
    depth, ray = at[..., 2], as_complex(np.where(seen[..., None], uv, 0.0))
    b = ray * depth - as_complex(at[..., :2])  # the right-hand sides
    terms = np.array([np.ones_like(ray), ray, b, ray.conj() * ray, ray.conj() * b])  # all that is needed are their sums
    q = w = np.where(seen, w, 0.0)
    for _ in range(_PASSES):
        total, of_ray, of_b, of_square, of_both = (terms * q).sum(-1)
        share = 1 / np.maximum(total.real, _RIDGE)  # dividing complex numbers by it would warn of NaN poses
        mean = of_ray * share
        # tx and ty eliminated: one equation for tz. A tiny ridge keeps a degenerate pose (all joints on one ray)
        # solvable; it then fails the depth check.
        square = of_square - mean.conj() * of_ray
        tz = (mean.conj() * of_b - of_both).real / (square.real + _RIDGE)
        q = w / np.square(np.maximum(depth + tz[:, None], MIN_DEPTH_M))
    out = np.empty((len(at), 3))
    out[:, :2], out[:, 2] = as_points(of_b * share + mean * tz), tz
    out[(seen.sum(-1) < LEAST_JOINTS) | (tz < MIN_DEPTH_M)] = np.nan
    return out
