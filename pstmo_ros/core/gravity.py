"""Where down is, as one more point of the model's input, after the 17 joints. Ours, not the paper's.

A direction has two degrees of freedom, as an image point has two coordinates: its stereographic projection is (0, 0)
for a level camera and grows with pitch and roll. So engines take one array, and a direction that is not known is a
point that was not seen: NaN.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pstmo_ros.core.types import Floats


def to_point(down: Any) -> Any:
    """Unit vectors (…, 3), arrays or tensors, camera axes (a level camera's is (0, 1, 0)) -> points (…, 2)."""
    return down[..., ::2] / (1 + down[..., 1:2])


def to_vector(point: Tensor) -> Tensor:
    """Points (…, 2) -> unit vectors (…, 3), camera axes; zero where the point is NaN: not known."""
    unknown = ~torch.isfinite(point)
    x, z = torch.where(unknown, 0.0, point).unbind(-1)
    square = x * x + z * z
    vector = torch.stack([2 * x, 1 - square, 2 * z], -1) / (1 + square)[..., None]
    return torch.where(unknown.any(-1, keepdim=True), 0.0, vector)  # torch_tensorrt converts any, not all


def with_down(windows: Floats, down: tuple[float, float, float] | None) -> Floats:
    """Windows (B, N, 17, 2) in model coordinates -> (B, N, 18, 2), with a direction, camera axes, or without one."""
    out = np.empty((*windows.shape[:2], windows.shape[2] + 1, 2), np.float32)
    out[:, :, :-1], out[:, :, -1] = windows, np.nan
    if down is not None and down[1] > -(length := math.hypot(*down)):  # upside down has no point
        out[:, :, -1] = to_point(np.array(down) / length)
    return out
