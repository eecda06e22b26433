"""What every motion file gives: the paths of named points."""

from __future__ import annotations

from dataclasses import dataclass

from pstmo_ros.core.types import Floats


@dataclass(frozen=True)
class Motion:
    """T frames of K named points of one skeleton, as the file has them.

    points: (T, K, 3) in the file's unit and axes. rate_hz, unit_m (metres per file unit): None where it does not say.
    """

    names: tuple[str, ...]
    points: Floats
    rate_hz: float | None
    unit_m: float | None
