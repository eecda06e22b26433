"""Every engine proves itself on the model file's golden tensors before it is trusted."""

from __future__ import annotations

import logging

import numpy as np

from pstmo_ros.core.bundle import Bundle
from pstmo_ros.engines.engine import Engine

log = logging.getLogger(__name__)

TOLERANCE_MM = 1.0  # well below what a lifted pose is accurate to; more than this is another computation


def self_test(engine: Engine, bundle: Bundle, people: int = 4) -> float:
    """Run the golden windows, in batches of 1, 2, … ``people``; returns the largest error in mm.

    ValueError when it is not within TOLERANCE_MM. What libraries prepare at the first batch of a size is then done.
    """
    worst = 0.0
    for batch in range(1, people + 1):
        which = np.arange(batch - 1, 2 * batch - 1) % len(bundle.golden_x)
        found, expected = engine.infer(bundle.golden_x[which]), bundle.golden_y[which]
        if found.shape != expected.shape:
            raise ValueError(f"self-test failed: the result's shape is {found.shape}, not {expected.shape}")
        error_mm = float(np.linalg.norm(found - expected, axis=-1).max() * 1000)
        if not error_mm <= TOLERANCE_MM:
            raise ValueError(
                f"self-test failed: with {batch} people, poses are {error_mm:.3g} mm off the golden ones, "
                f"not {TOLERANCE_MM}"
            )
        worst = max(worst, error_mm)
    log.info("engine %s reproduces the golden poses to %.4f mm", engine.name, worst)
    return worst
