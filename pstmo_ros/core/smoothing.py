"""One-Euro filter (Casiez et al., CHI 2012) on arrays, driven by stamps."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pstmo_ros.core.types import Floats


@dataclass(frozen=True, slots=True)
class SmoothingConfig:
    """min_cutoff_hz: cut-off for a still joint; beta: how fast it opens with speed (Hz per m/s).

    Raising either means less lag and more jitter.
    """

    enabled: bool = True
    min_cutoff_hz: float = 3.0
    beta: float = 3.0
    speed_cutoff_hz: float = 2.0


class OneEuro:
    """Low-pass whose cut-off rises with speed. A coordinate that is NaN passes through and restarts its filter."""

    def __init__(self, config: SmoothingConfig) -> None:
        self._config = config
        self._stamp_ns: int | None = None
        self._value: Floats = np.empty(0)
        self._speed: Floats = np.empty(0)

    def __call__(self, stamp_ns: int, value: Floats) -> Floats:
        """Filter value (…, 3) metres at ``stamp_ns``; an older stamp passes unfiltered."""
        if not self._config.enabled:
            return value
        if self._stamp_ns is None:
            self._stamp_ns, self._value, self._speed = stamp_ns, value, np.zeros_like(value)
            return value
        dt = (stamp_ns - self._stamp_ns) * 1e-9
        if dt <= 0:
            return value
        known = np.isfinite(self._value)
        speed = np.where(known, (value - self._value) / dt, 0)
        speed = np.where(np.isfinite(speed), speed, 0)
        self._speed = self._speed + _gain(self._config.speed_cutoff_hz, dt) * (speed - self._speed)
        pace = np.linalg.norm(self._speed, axis=-1, keepdims=True)
        gain = _gain(self._config.min_cutoff_hz + self._config.beta * pace, dt)
        self._value = np.where(known, self._value + gain * (value - self._value), value)
        self._stamp_ns = stamp_ns
        return self._value


def _gain(cutoff_hz: Floats | float, dt_s: float) -> Floats | float:
    tau = 1 / (2 * math.pi * cutoff_hz)
    return 1 / (1 + tau / dt_s)
