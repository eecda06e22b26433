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
        step = value - self._value
        speed = np.where(np.isfinite(step), step / dt, 0)
        self._speed = self._speed + _gain(self._config.speed_cutoff_hz, dt) * (speed - self._speed)
        pace = np.sqrt(np.square(self._speed).sum(-1, keepdims=True))
        filtered = self._value + _gain(self._config.min_cutoff_hz + self._config.beta * pace, dt) * step
        self._value = np.where(np.isnan(filtered), value, filtered)
        self._stamp_ns = stamp_ns
        return self._value


def _gain(cutoff_hz: Floats | float, dt_s: float) -> Floats | float:
    opened = 2 * math.pi * dt_s * cutoff_hz
    return opened / (1 + opened)
