"""Whoever lies or hangs head down, or is seen by a camera that does, is lifted as if the camera were rolled upright.

Models meet hardly anybody in training who is not upright in the image. B people, N frames, P points, 17 of them joints.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from pstmo_ros.core import skeleton
from pstmo_ros.core.types import Complexes, Floats, as_complex

_THORAX = skeleton.index("thorax")
_LEANS = math.cos(math.radians(60))  # whoever leans less is as upright as those in training
_STEADY = 0.8  # of the trunk's directions throughout the window; whoever tumbles is left alone
_UP = -1j  # in the image


def lift_upright(engine: Callable[[Floats], Floats], points: Floats) -> Floats:
    """What the engine makes of points (B, N, P, 2), rays, with each camera rolled so that the trunk points up in it.

    -> (B, 17, O) as the engine gives it, in the camera as it is. A rolled camera is not told where down is: nobody in
    training lay.
    """
    rolls = _rolls(points)
    lie = rolls != 1
    if not lie.any():
        return engine(points)
    rolls, points = rolls[lie, None], points.copy()
    points[lie, :, : skeleton.J] = _rolled(points[lie, :, : skeleton.J], rolls[..., None])
    points[lie, :, skeleton.J :] = np.nan
    out = engine(points).copy()
    out[lie, :, :2] = _rolled(out[lie, :, :2], rolls.conj())
    return out


def _rolls(points: Floats) -> Complexes:
    """What each person's image is to be turned by, (B,) complex numbers of length 1; 1 where it stays as it is."""
    trunk = as_complex(points[:, :, _THORAX] - points[:, :, skeleton.ROOT])
    with np.errstate(invalid="ignore"):
        ways = trunk / abs(trunk)
    seen = np.isfinite(ways)  # frames that hide a hip say nothing
    mean = np.where(seen, ways, 0).sum(1) / np.maximum(seen.sum(1), 1)
    steady = abs(mean)
    lies = (steady > _STEADY) & ((mean * _UP.conjugate()).real < _LEANS * steady)
    return np.where(lies, _UP * mean.conj() / np.maximum(steady, _STEADY), 1)


def _rolled(vectors: Floats, by: Complexes) -> Floats:
    """Vectors (..., 2) turned by complex numbers (...)."""
    turned = as_complex(vectors) * by
    return np.stack([turned.real, turned.imag], -1)
