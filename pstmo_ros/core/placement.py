"""Where the lifted pose stands: root-relative pose + rays -> metric pose in the camera frame."""

from __future__ import annotations

import numpy as np

from pstmo_ros.core import skeleton
from pstmo_ros.core.types import Floats

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
    x = poses_m[:, _LIMBS].astype(np.float64)
    uv, w = rays[:, _LIMBS], scores[:, _LIMBS]
    seen = np.isfinite(uv).all(-1) & (w > 0)
    out = np.full((len(x), 3), np.nan)
    solvable = seen.sum(-1) >= LEAST_JOINTS
    if not solvable.any():
        return out

    x, seen = x[solvable], seen[solvable]
    uv, w = np.where(seen[..., None], uv[solvable], 0.0), np.where(seen, w[solvable], 0.0)
    b = uv * x[..., 2:] - x[..., :2]  # (P, L, 2): the right-hand sides
    one, uv2, uvb = np.ones_like(uv[..., :1]), (uv * uv).sum(-1, keepdims=True), (uv * b).sum(-1, keepdims=True)
    terms = np.concatenate([one, uv, b, uv2, uvb], -1)  # whose weighted sums over the joints are all that is needed
    q = w
    for _ in range(_PASSES):
        sums = (q[:, None] @ terms)[:, 0]
        total, of_uv, of_b = sums[:, :1], sums[:, 1:3], sums[:, 3:5]
        mean = of_uv / total
        # tx and ty eliminated: one equation for tz. A tiny ridge keeps a degenerate pose (all joints on one ray)
        # solvable; it then fails the depth check.
        square = sums[:, 5] - (mean * of_uv).sum(-1) + _RIDGE
        tz = (((mean * of_b).sum(-1) - sums[:, 6]) / square)[:, None]
        q = w / np.square(np.maximum(x[..., 2] + tz, MIN_DEPTH_M))
    translation = np.concatenate([of_b / total + mean * tz, tz], -1)
    translation[tz[:, 0] < MIN_DEPTH_M] = np.nan
    out[solvable] = translation
    return out
