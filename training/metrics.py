"""Pose errors of the field: poses (…, 17, 3) in metres -> errors in millimetres."""

from __future__ import annotations

from torch import Tensor


def joint_errors_mm(predicted_m: Tensor, target_m: Tensor) -> Tensor:
    """Distance of each joint: (…, 17, 3), (…, 17, 3) -> (…, 17) mm."""
    return (predicted_m - target_m).norm(dim=-1) * 1000


def mpjpe_mm(predicted_m: Tensor, target_m: Tensor) -> float:
    """Mean per-joint position error (protocol 1), mm."""
    return joint_errors_mm(predicted_m, target_m).mean().item()
