"""Where the lifted pose stands: root-relative pose + rays -> metric pose in the camera frame."""

from __future__ import annotations

import numpy as np

from pstmo_ros.core import skeleton
from pstmo_ros.core.types import Floats

MIN_DEPTH_M = 0.3
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
    limbs = list(skeleton.LIMBS)
    x, uv, w = (
        poses_m[:, limbs].astype(np.float64),
        rays[:, limbs].astype(np.float64),
        scores[:, limbs].astype(np.float64),
    )
    seen = np.isfinite(uv).all(-1) & (w > 0)
    uv = np.where(seen[..., None], uv, 0)
    w = np.where(seen, w, 0)
    out = np.full((len(x), 3), np.nan)
    solvable = seen.sum(-1) >= 3
    if not solvable.any():
        return out

    x, uv, w = x[solvable], uv[solvable], w[solvable]
    b = uv * x[..., 2:] - x[..., :2]  # (P, L, 2): the right-hand sides
    uvb, uv2 = uv * b, uv * uv
    depth_weight = np.ones_like(w)
    translation: Floats = np.empty((len(x), 3))
    for _ in range(_PASSES):
        q = (w * depth_weight)[..., None]
        total = q.sum(1)
        # tx and ty eliminated: one equation for tz. A tiny ridge keeps a degenerate pose (all joints on one ray)
        # solvable; it then fails the depth check.
        mean, right = (q * uv).sum(1) / total, (q * b).sum(1) / total
        square = (q * uv2).sum((1, 2)) - (total * mean * mean).sum(-1)
        tz = ((total * mean * right).sum(-1) - (q * uvb).sum((1, 2))) / (square + _RIDGE)
        translation[:, :2], translation[:, 2] = right + mean * tz[:, None], tz
        depth_weight = np.maximum(x[..., 2] + tz[:, None], MIN_DEPTH_M) ** -2
    translation[translation[:, 2] < MIN_DEPTH_M] = np.nan
    out[solvable] = translation
    return out
