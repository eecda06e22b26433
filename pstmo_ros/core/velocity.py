"""Velocity of joints from their positions, driven by stamps."""

from __future__ import annotations

import math

import numpy as np

from pstmo_ros.core.types import Floats

_TAU_S = 0.08  # what a low-pass of 2 Hz averages over; a velocity that is smoother lags behind the body
_MAX_GAP_S = 0.5  # beyond, what lies between two positions is not one movement


class Velocity:
    """Low-passed difference of positions; NaN until there are two, and again after a gap."""

    def __init__(self) -> None:
        self._stamp_ns: int | None = None
        self._position: Floats = np.empty(0)
        self._value: Floats = np.empty(0)

    def __call__(self, stamp_ns: int, position: Floats) -> Floats:
        """Velocity (…, 3) m/s at ``stamp_ns`` from positions (…, 3) metres; an older stamp gets the newest one."""
        dt = math.inf if self._stamp_ns is None else (stamp_ns - self._stamp_ns) * 1e-9
        if dt > _MAX_GAP_S:
            self._value = np.full_like(position, np.nan)
        elif dt > 0:
            now = (position - self._position) / dt
            before = np.where(np.isnan(self._value), now, self._value)
            self._value = before + (1 - math.exp(-dt / _TAU_S)) * (now - before)
        if dt > 0:
            self._stamp_ns, self._position = stamp_ns, position
        return self._value
