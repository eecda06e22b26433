"""Every engine proves itself on the model file's golden tensors before it is trusted."""

from __future__ import annotations

import logging

import numpy as np

from pstmo_ros.core.bundle import Bundle
from pstmo_ros.engines.engine import Engine, Options

log = logging.getLogger(__name__)

# Well below what a lifted pose is accurate to; more than this is another computation. bf16 has three digits: a few
# millimetres at the end of an arm, the worst joint of the worst window some times that.
TOLERANCE_MM = {"fp32": 1.0, "fp16": 1.0, "bf16": 20.0}


def self_test(engine: Engine, bundle: Bundle, options: Options) -> float:
    """Run the golden windows, in batches of 1 to ``options.people`` and one more; returns the largest error in mm.

    ValueError when it is not within the precision's TOLERANCE_MM. What libraries prepare at the first batch of a size
    is then done.
    """
    tolerance_mm = TOLERANCE_MM[options.settled]
    worst = 0.0
    for batch in range(1, options.people + 2):
        which = np.arange(batch - 1, 2 * batch - 1) % len(bundle.golden_x)
        found, expected = engine.infer(bundle.golden_x[which]), bundle.golden_y[which]
        if found.shape != expected.shape:
            raise ValueError(f"self-test failed: the result's shape is {found.shape}, not {expected.shape}")
        error_mm = float(np.linalg.norm(found - expected, axis=-1).max() * 1000)
        if not error_mm <= tolerance_mm:
            raise ValueError(
                f"self-test failed: with {batch} people, poses are {error_mm:.3g} mm off the golden ones, "
                f"not {tolerance_mm}"
            )
        worst = max(worst, error_mm)
    log.info("engine %s reproduces the golden poses to %.4f mm", engine.name, worst)
    return worst
