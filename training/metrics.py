"""Pose errors of the field (paper section 4.1): root-relative poses (…, 17, 3) in metres -> errors in millimetres.

Functions ending in ``_mm`` that return a float average over everything they are given.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pstmo_ros.core import skeleton

PCK_MM = 150.0
AUC_MM = torch.arange(0, 151, 5.0)  # MPI-INF-3DHP's thresholds, 0 included
# MPI-INF-3DHP scores its joints 0-13: everything but the pelvis, the spine and the head.
PCK_JOINTS = tuple(j for j, name in enumerate(skeleton.JOINTS) if name not in ("pelvis", "spine", "neck_nose"))
_SMALLEST = 1e-12


def joint_errors_mm(predicted_m: Tensor, target_m: Tensor) -> Tensor:
    """Distance of each joint: (…, 17, 3), (…, 17, 3) -> (…, 17) mm."""
    return (predicted_m - target_m).norm(dim=-1) * 1000


def mpjpe_mm(predicted_m: Tensor, target_m: Tensor) -> float:
    """Mean per-joint position error (protocol 1), mm; (…, 17, 3) each."""
    return joint_errors_mm(predicted_m, target_m).mean().item()


def p_mpjpe_mm(predicted_m: Tensor, target_m: Tensor) -> float:
    """MPJPE after each pose is turned, scaled and moved onto its target (protocol 2), mm; (…, 17, 3) each."""
    return mpjpe_mm(align(predicted_m, target_m), target_m)


def n_mpjpe_mm(predicted_m: Tensor, target_m: Tensor) -> float:
    """MPJPE after each pose is scaled to its target (Rhodin et al. 2018), mm; root-relative (…, 17, 3) each."""
    return mpjpe_mm(rescale(predicted_m, target_m), target_m)


def velocity_errors_mm(predicted_m: Tensor, target_m: Tensor) -> Tensor:
    """Error of each joint's step between consecutive frames: (T, 17, 3), (T, 17, 3) -> (T - 1, 17) mm per frame."""
    return joint_errors_mm(predicted_m.diff(dim=0), target_m.diff(dim=0))


def mpjve_mm(predicted_m: Tensor, target_m: Tensor) -> float:
    """Mean per-joint velocity error of one clip (T, 17, 3) of consecutive frames (Pavllo et al. 2019), mm per frame."""
    return velocity_errors_mm(predicted_m, target_m).mean().item()


def pck(errors_mm: Tensor, threshold_mm: float = PCK_MM) -> float:
    """Percentage of correct keypoints: share of errors (…) strictly below the threshold, in percent."""
    return 100 * (errors_mm < threshold_mm).double().mean().item()


def auc(errors_mm: Tensor) -> float:
    """Area under the PCK curve: mean of ``pck`` over the thresholds 0, 5, … 150 mm, in percent."""
    return sum(pck(errors_mm, t) for t in AUC_MM.tolist()) / len(AUC_MM)


def align(predicted_m: Tensor, target_m: Tensor) -> Tensor:
    """The similarity transform of each predicted pose that lies nearest its target (Procrustes; no reflections).

    (…, J, 3), (…, J, 3) -> (…, J, 3) in the inputs' type, solved in double precision. A predicted pose that is a
    single point stays one, at the target's mean.
    """
    x, y = predicted_m.double(), target_m.double()
    x_mean, y_mean = x.mean(-2, keepdim=True), y.mean(-2, keepdim=True)
    x, y = x - x_mean, y - y_mean
    u, s, vt = torch.linalg.svd(x.mT @ y)
    sign = torch.ones_like(s)
    sign[..., -1] = torch.linalg.det(u @ vt).sign()
    scale = (s * sign).sum(-1) / (x**2).sum((-2, -1)).clamp(min=_SMALLEST)
    aligned = scale[..., None, None] * (x @ (u * sign[..., None, :]) @ vt) + y_mean
    return aligned.to(predicted_m.dtype)


def rescale(predicted_m: Tensor, target_m: Tensor) -> Tensor:
    """Each predicted pose times the one number that brings it nearest its target: (…, J, 3), (…, J, 3) -> (…, J, 3)."""
    agree = (predicted_m * target_m).sum((-2, -1), keepdim=True)
    return predicted_m * agree / (predicted_m**2).sum((-2, -1), keepdim=True).clamp(min=_SMALLEST)
