"""The metrics agree with cases worked out by hand, and with what they must not notice."""

import math

import pytest
import torch
from scipy.spatial.transform import Rotation

from pstmo_ros.core import skeleton
from training import metrics


def poses(frames: int = 5) -> torch.Tensor:
    """Random root-relative poses (T, 17, 3) of a person's size."""
    x = torch.randn(frames, skeleton.J, 3, generator=torch.Generator().manual_seed(0)) * 0.4
    return x - x[:, :1]


def turned(x: torch.Tensor) -> torch.Tensor:
    rotation = torch.from_numpy(Rotation.from_euler("xyz", (0.3, -1.2, 2.0)).as_matrix()).float()
    return x @ rotation.T


def test_mpjpe_is_the_mean_distance_in_millimetres():
    target = torch.zeros(2, skeleton.J, 3)
    predicted = target.clone()
    predicted[0, 3] = torch.tensor([0.03, 0.04, 0.0])  # 50 mm at one joint of 34
    assert metrics.mpjpe_mm(predicted, target) == pytest.approx(50 / 34)
    assert metrics.joint_errors_mm(predicted, target)[0, 3] == pytest.approx(50)


def test_procrustes_forgives_rotation_scale_and_translation_only():
    x = poses()
    assert metrics.p_mpjpe_mm(1.7 * turned(x) + torch.tensor([1.0, -2.0, 5.0]), x) == pytest.approx(0, abs=1e-3)
    mirrored = x * torch.tensor([-1.0, 1, 1])
    assert metrics.p_mpjpe_mm(mirrored, x) > 50


def test_procrustes_is_never_worse_than_scaling_alone():
    x, noisy = poses(), poses() + 0.05 * torch.randn(5, skeleton.J, 3, generator=torch.Generator().manual_seed(1))
    assert metrics.p_mpjpe_mm(noisy, x) <= metrics.n_mpjpe_mm(noisy, x) + 1
    squared = [((f(noisy, x) - x) ** 2).sum() for f in (metrics.align, metrics.rescale)]
    assert squared[0] < squared[1] < ((noisy - x) ** 2).sum()


def test_procrustes_of_a_point_stays_finite():
    assert torch.isfinite(metrics.align(torch.zeros(1, skeleton.J, 3), poses(1))).all()


def test_n_mpjpe_forgives_scale_only():
    x = poses()
    assert metrics.n_mpjpe_mm(0.6 * x, x) == pytest.approx(0, abs=1e-3)
    assert metrics.n_mpjpe_mm(turned(x), x) > 100


def test_velocity_error_ignores_a_constant_offset_and_counts_a_jump_twice():
    x = poses(4)
    assert metrics.mpjve_mm(x + 0.5, x) == pytest.approx(0, abs=1e-3)
    jump = x.clone()
    jump[1, 0, 2] += 0.06  # into frame 1 and out of it: 2 steps of 60 mm among 3 * 17
    assert metrics.mpjve_mm(jump, x) == pytest.approx(2 * 60 / (3 * 17), rel=1e-3)


def test_pck_counts_errors_strictly_below_the_edge():
    errors = torch.tensor([149.999, 150.0, 150.001, 0.0])
    assert metrics.pck(errors) == 50.0


def test_auc_is_the_mean_over_thresholds_from_zero():
    assert metrics.auc(torch.zeros(3)) == pytest.approx(100 * 30 / 31)  # nothing is below the threshold 0
    assert metrics.auc(torch.tensor([72.0])) == pytest.approx(100 * 16 / 31)  # thresholds 75 … 150
    assert metrics.auc(torch.tensor([math.inf])) == 0


def test_pck_scores_fourteen_joints_without_pelvis_spine_and_head():
    names = {skeleton.JOINTS[j] for j in metrics.PCK_JOINTS}
    assert len(names) == 14
    assert names.isdisjoint({"pelvis", "spine", "neck_nose"})
