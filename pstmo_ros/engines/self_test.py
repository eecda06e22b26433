"""Every engine proves itself on the model file's golden tensors before it is trusted."""

from __future__ import annotations

import logging

import numpy as np

from pstmo_ros.core.bundle import Bundle
from pstmo_ros.engines.engine import Engine, Options

log = logging.getLogger(__name__)

# Of the worst joint of the worst window, and of the mean joint. Well below what a lifted pose is accurate to; more than
# this is another computation. bf16 has three digits: the bundled models are off by 3 mm, at the end of an arm by 12.
# fp16 has eight times as many steps: there they are off by 0.2 mm, at most 0.7. int8 is about as bf16.
TOLERANCE_MM = {"fp32": (1.0, 1.0), "fp16": (2.5, 1.25), "bf16": (20.0, 10.0), "int8": (20.0, 10.0)}


def self_test(engine: Engine, bundle: Bundle, options: Options) -> float:
    """Run the golden windows, in batches of 1 to ``options.people`` and one more; returns the largest error in mm.

    ValueError when it is not within the precision's TOLERANCE_MM. What libraries prepare at the first batch of a size
    is then done.
    """
    worst = 0.0
    for batch in range(1, options.people + 2):
        which = np.arange(batch - 1, 2 * batch - 1) % len(bundle.golden_x)
        found, expected = engine.infer(bundle.golden_x[which]), bundle.golden_y[which]
        if found.shape != expected.shape:
            raise ValueError(f"self-test failed: the result's shape is {found.shape}, not {expected.shape}")
        errors_mm = np.linalg.norm(found - expected, axis=-1) * 1000
        figures = {"at most": float(errors_mm.max()), "in the mean": float(errors_mm.mean())}
        for (which_mm, error_mm), tolerance_mm in zip(figures.items(), TOLERANCE_MM[options.settled], strict=True):
            if not error_mm <= tolerance_mm:
                raise ValueError(
                    f"self-test failed: with {batch} people, poses are {error_mm:.3g} mm off the golden ones "
                    f"{which_mm}, not {tolerance_mm}"
                )
        worst = max(worst, figures["at most"])
    log.info("engine %s reproduces the golden poses to %.4f mm", engine.name, worst)
    return worst
