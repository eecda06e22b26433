"""The figures in tables and reports, from cases worked out by hand."""

import pytest
import torch

from pstmo_ros.core import skeleton
from training.lifting import Result
from training.scores import action_family, by, figures, joint_means_mm, mean_of_groups

WRIST, SPINE = skeleton.index("left_wrist"), skeleton.index("spine")


def result(errors_m: list[float], action: str = "walk", joint: int = WRIST, **root: torch.Tensor) -> Result:
    """A clip whose one joint is off along x by so much in each frame; NaN for a frame without a pose."""
    target = torch.randn(len(errors_m), skeleton.J, 3, generator=torch.Generator().manual_seed(0))
    predicted = target.clone()
    predicted[:, joint, 0] += torch.tensor(errors_m)
    predicted[torch.tensor(errors_m).isnan()] = torch.nan
    return Result("s1", action, "view 0", predicted, target, **root)


def test_every_frame_counts_the_same_whichever_clip_it_is_in():
    f = figures([result([0.17]), result([0.34, 0.34, 0.34])])
    assert f["frames"] == 4
    assert f["mpjpe_mm"] == pytest.approx((10 + 3 * 20) / 4, rel=1e-4)


def test_frames_without_a_pose_are_counted_in_coverage_and_nowhere_else():
    f = figures([result([0.17, float("nan"), 0.17, 0.17])])
    assert f["coverage_percent"] == 75
    assert f["mpjpe_mm"] == pytest.approx(10, rel=1e-4)
    assert f["mpjve_mm"] == pytest.approx(0, abs=1e-3)
    assert figures([result([float("nan")] * 3)]) == {"frames": 3, "coverage_percent": 0}


def test_velocity_is_compared_within_clips_only():
    together = figures([result([0.0, 0.0]), result([1.7, 1.7])])
    assert together["mpjve_mm"] == pytest.approx(0, abs=1e-2)
    assert figures([result([0.0, 0.0, 1.7, 1.7])])["mpjve_mm"] == pytest.approx(100 / 3, rel=1e-3)


def test_pck_and_auc_score_the_fourteen_joints_at_150_mm():
    assert figures([result([0.149])])["pck_percent"] == 100
    assert figures([result([0.151])])["pck_percent"] == pytest.approx(100 * 13 / 14)
    assert figures([result([9.0], joint=SPINE)])["pck_percent"] == 100
    within = (13 * 30 + 16) / (14 * 31)  # 13 joints right from 5 mm on, one from 75 mm on
    assert figures([result([0.0725])])["auc_percent"] == pytest.approx(100 * within, rel=1e-5)


def test_root_error_is_a_share_of_the_distance():
    f = figures([result([0, 0], root_error_m=torch.tensor([0.1, 0.3]), distance_m=torch.tensor([2.0, 3.0]))])
    assert f["root_error_mm"] == pytest.approx(200)
    assert f["root_error_percent"] == pytest.approx((5 + 10) / 2)
    assert "root_error_mm" not in figures([result([0.0])])


def test_actions_count_the_same_in_the_average_of_table_1():
    groups = by([result([0.17], "Eating"), result([0.68] * 9, "Posing"), result([0.51], "Eating")], lambda r: r.action)
    assert list(groups) == ["Eating", "Posing"]
    mean = mean_of_groups(groups)
    assert mean["mpjpe_mm"] == pytest.approx((20 + 40) / 2, rel=1e-4)
    assert mean["frames"] == 11


def test_mean_error_of_each_joint():
    means = joint_means_mm([result([0.1, float("nan")]), result([0.3])])
    assert means[WRIST].item() == pytest.approx(200, rel=1e-4)
    assert means[SPINE].item() == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(
    ("subject", "action", "family"),
    [
        ("cmu06", "basketball - forward dribble", "basketball"),
        ("cmu135", "Heiansyodan", "karate"),
        ("cmu49", "Acrobatics - spin/twirl", "acrobatics"),
        ("cmu29", "Alaskan vacation", "other"),
    ],
)
def test_free_text_actions_become_families(subject, action, family):
    assert action_family(subject, action) == family
