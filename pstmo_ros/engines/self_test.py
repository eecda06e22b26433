"""Every engine proves itself on the model file's golden tensors before it is trusted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pstmo_ros.core.bundle import Bundle
from pstmo_ros.core.types import Floats

TOLERANCE_MM = 1.0  # well below what a lifted pose is accurate to; more than this is another computation


def self_test(engine: Callable[[Floats], Floats], bundle: Bundle) -> float:
    """Run the golden windows; returns the largest joint error in mm, ValueError when it is not within TOLERANCE_MM."""
    poses = np.concatenate([engine(bundle.golden_x[:1]), engine(bundle.golden_x)[1:]])  # two batch sizes
    error_mm = float(np.linalg.norm(poses - bundle.golden_y, axis=-1).max() * 1000)
    if not error_mm <= TOLERANCE_MM:
        raise ValueError(f"self-test failed: poses are {error_mm:.3g} mm off the golden ones, not {TOLERANCE_MM}")
    return error_mm
