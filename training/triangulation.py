"""Points from what several calibrated cameras see of them: C cameras, metres."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pstmo_ros.core.types import Floats
from training.views import View

_RIDGE = 1e-12  # rays that are parallel meet nowhere, and no error is raised for it
_STEPS = 3  # of weighing each camera's equations by how far away it is


def triangulate(views: Sequence[View], rays: Floats, weights: Floats) -> Floats:
    """Points of the world (…, 3) from rays (C, …, 2) of weights (C, …), 0 for unseen; NaN where fewer than two see one.

    Least squares of the error in the image.
    """
    known = np.isfinite(rays).all(-1) & (weights > 0)
    rays, weights = np.where(known[..., None], rays, 0), np.where(known, weights, 0)
    rotation, translation = np.stack([v.rotation for v in views]), np.stack([v.translation_m for v in views])
    shape = (len(views), *(1,) * (rays.ndim - 2))
    # x = (r1 X + t1) / (r3 X + t3), and y likewise: linear in X.
    rows = rays[..., None] * rotation[:, 2].reshape(*shape, 1, 3) - rotation[:, :2].reshape(*shape, 2, 3)
    right = translation[:, :2].reshape(*shape, 2) - rays * translation[:, 2].reshape(*shape, 1)
    enough = known.sum(0) >= 2
    depth = np.ones_like(weights)
    for _ in range(_STEPS):
        by = (weights / depth) ** 2
        normal = np.einsum("c...,c...ij,c...ik->...jk", by, rows, rows)
        normal = np.where(enough[..., None, None], normal, np.eye(3)) + _RIDGE * np.eye(3)
        points = np.linalg.solve(normal, np.einsum("c...,c...ij,c...i->...j", by, rows, right)[..., None])[..., 0]
        depth = np.stack([np.maximum(v.into(points)[..., 2], 0.1) for v in views])
    return np.where(enough[..., None], points, np.nan)


def misses(views: Sequence[View], rays: Floats, points: Floats) -> Floats:
    """How far each camera's rays (C, …, 2) are from points of the world (…, 3), as rays, (C, …); NaN where unseen."""
    seen = np.stack([v.into(points) for v in views])
    z = np.where(seen[..., 2:] > 0, seen[..., 2:], 1e-9)  # what is behind a camera is as far off as can be
    return np.asarray(np.linalg.norm(seen[..., :2] / z - rays, axis=-1))


def triangulate_robustly(views: Sequence[View], rays: Floats, weights: Floats, limit: float) -> Floats:
    """As ``triangulate``, without the cameras that miss a point by more than ``limit``, the worst first; NaN at two."""
    weights = np.where(np.isfinite(rays).all(-1), weights, 0)
    for _ in range(len(views) - 2):
        off = np.where(weights > 0, misses(views, rays, triangulate(views, rays, weights)), 0)
        worst = np.equal(np.arange(len(views)).reshape(-1, *(1,) * (weights.ndim - 1)), off.argmax(0))
        weights = np.where(worst & (off > limit) & ((weights > 0).sum(0) > 2), 0, weights)
    points = triangulate(views, rays, weights)
    off = np.where(weights > 0, misses(views, rays, points), 0)
    fits = np.all(off <= limit, axis=0)
    return np.where(np.asarray(fits)[..., None], points, np.nan)
