"""Whoever lies or hangs head down, or is seen by a camera that does, is lifted as if the camera were rolled upright.

Models meet hardly anybody in training who is not upright in the image. B people, N frames, P points, 17 of them joints.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from pstmo_ros.core import skeleton
from pstmo_ros.core.types import Complexes, Floats, Indices, as_complex, as_points

_THORAX = skeleton.index("thorax")
_LEANS = math.cos(math.radians(60))  # whoever leans less is as upright as those in training
_STEADY = 0.8  # of the trunk's directions throughout the window; whoever tumbles is left alone
_UP = -1j  # in the image
_SHORTEST = 1e-9  # as a ray; a trunk that points at the camera points nowhere in the image


def lift_upright(engine: Callable[[Floats], Floats], points: Floats) -> Floats:
    """What the engine makes of points (B, N, P, 2), rays, with each camera rolled so that the trunk points up in it.

    -> (B, 17, O) as the engine gives it, in the camera as it is. A rolled camera is not told where down is: nobody in
    training lay.
    """
    trunk, seen = _trunks(points)
    lie = (abs(trunk) > _STEADY * seen) & (-trunk.imag < _LEANS * abs(trunk))
    if not lie.any():
        return engine(points)
    trunk, points = trunk[lie, None], points.copy()
    rolls = _UP * trunk.conj() / abs(trunk)
    points[lie, :, : skeleton.J] = _rolled(points[lie, :, : skeleton.J], rolls[..., None])
    points[lie, :, skeleton.J :] = np.nan
    out = engine(points).copy()
    out[lie, :, :2] = _rolled(out[lie, :, :2], rolls.conj())
    return out


def _trunks(points: Floats) -> tuple[Complexes, Indices]:
    """Each person's directions from pelvis to thorax, all in all, and in how many frames they are seen: (B,) each."""
    trunk = as_complex(points[:, :, _THORAX] - points[:, :, skeleton.ROOT])
    length = abs(trunk)
    seen = length > _SHORTEST  # frames that hide a hip, or whose trunk points at the camera, say nothing
    return np.where(seen, trunk * (1 / np.maximum(length, _SHORTEST)), 0).sum(1), seen.sum(1)


def _rolled(vectors: Floats, by: Complexes) -> Floats:
    """Vectors (..., 2) turned by complex numbers (...)."""
    return as_points(as_complex(vectors) * by)
