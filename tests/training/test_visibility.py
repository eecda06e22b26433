"""Training sees what the node's history makes of a detector that misses joints, frames and people."""

import dataclasses

import numpy as np
import pytest
import torch

from pstmo_ros.core.window import History, WindowSpec
from tests.conftest import walker
from training.detector import KEYPOINTS
from training.visibility import Visibility, VisibilityConfig, bridge

SPEC = WindowSpec(27, 3, 50.0, 26)
NOTHING = VisibilityConfig(keypoints=0, limb=0, lower=0, low_rate=0, drops=0, short=0)


@pytest.mark.parametrize("first", [0, 9])
def test_bridged_joints_are_those_of_the_history(first):
    joints = walker(27 * 0.06, 1 / 0.06)[None, :, :, :2]
    seen = np.random.default_rng(first).random(joints.shape[:3]) < 0.4
    seen[:, -1, :5] = False
    history = History(10.0, 0.3)
    for i in range(first, SPEC.frames):
        history.add(i * 60_000_000, np.where(seen[0, i, :, None], joints[0, i], np.nan))
    expected = history.window(np.arange(SPEC.frames) * 60_000_000)
    got = bridge(torch.from_numpy(joints), torch.from_numpy(seen), torch.tensor([[first]]), 0.3 / 0.06)
    np.testing.assert_allclose(got[0].numpy(), expected, atol=1e-5)
    assert np.isnan(expected).any()
    assert np.isfinite(expected[:, 0]).any()


def _drawn(config: VisibilityConfig, windows: int = 2000) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    visibility = Visibility(SPEC, config, torch.Generator().manual_seed(0))
    device = torch.device("cpu")
    shape = torch.Size((windows, SPEC.frames, len(KEYPOINTS)))
    return (
        visibility.keypoints(shape, device),
        visibility.frames(windows, device),
        visibility.first_frame(windows, device),
    )


def test_with_every_share_at_zero_everything_is_seen():
    keypoints, frames, first = _drawn(NOTHING)
    assert keypoints.all()
    assert frames.all()
    assert (first == 0).all()


def test_what_is_hidden_throughout_is_hidden_in_every_frame():
    shares = {"keypoints": 1.0, "limb": 1.0, "lower": 0, "low_rate": 0, "drops": 0, "short": 0}
    for_a_while, throughout = (~_drawn(VisibilityConfig(throughout=t, **shares))[0] for t in (0.0, 1.0))
    assert (throughout.any(1) == throughout.all(1)).all()
    assert throughout.any()
    assert (for_a_while.any(1) != for_a_while.all(1)).any()


@pytest.mark.parametrize(
    ("share", "groups"),
    [
        ("limb", ["elbow wrist", "wrist", "knee ankle", "ankle"]),
        ("lower", ["knee ankle", "ankle", "hip knee ankle pelvis"]),
    ],
)
def test_what_is_hidden_together_hangs_together(share, groups):
    keypoints, _, _ = _drawn(dataclasses.replace(NOTHING, **{share: 1.0}))
    hidden = {frozenset(KEYPOINTS[k] for k in (~window).any(0).nonzero().flatten()) for window in keypoints}
    sides = ("left", "right") if share == "limb" else (("left", "right"),)
    expected = {
        frozenset(n for n in KEYPOINTS if n.endswith(tuple(g.split())) and (n == "pelvis" or n.startswith(side)))
        for g in groups
        for side in sides
    }
    assert hidden - {frozenset()} == expected  # a while may be over before the window begins
    passing = (~keypoints).any(1) & keypoints.any(1)
    back = passing & keypoints[:, 0] & keypoints[:, -1]
    assert back.any() == passing.any() == (share == "limb"), "limbs are hidden for a while, by a table throughout"


def test_frames_are_lost_one_by_one_up_to_the_worst_share():
    _, frames, _ = _drawn(dataclasses.replace(NOTHING, drops=0.5, worst_drop=0.4))
    lost = (~frames[:, :-1]).float().mean(1)
    assert 0.4 < (lost == 0).float().mean() < 0.6
    assert lost.mean().item() == pytest.approx(0.5 * 0.2, abs=0.02)
    assert lost.max() < 0.75


def test_people_come_into_view_at_any_time():
    _, _, first = _drawn(dataclasses.replace(NOTHING, short=1.0))
    assert first.unique().tolist() == list(range(SPEC.frames))


def test_shares_of_windows_are_as_asked():
    keypoints, frames, first = _drawn(
        VisibilityConfig(keypoints=0, limb=0, lower=0.3, low_rate=0.5, drops=0, short=0.25)
    )
    ankle, wrist = KEYPOINTS.index("left_ankle"), KEYPOINTS.index("left_wrist")
    hidden = ~keypoints[:, :, ankle]
    assert (hidden.any(1) == hidden.all(1)).all(), "what a table hides is hidden throughout"
    assert hidden[:, 0].float().mean() == pytest.approx(0.3, abs=0.05)
    assert keypoints[:, :, wrist].all()
    assert frames[:, -1].all(), "the newest frame is what a pose is asked for"
    assert (first > 0).float().mean() == pytest.approx(0.25, abs=0.05)
    seen = [f.nonzero().diff(dim=0) for f in frames]
    assert all((gap == gap[0]).all() for gap in seen), "evenly spaced, up to the newest"
    gaps = torch.stack([gap.max() for gap in seen])
    assert gaps.max() == 2, "8 Hz is every other instant of this grid, in a share of the windows"
    assert (gaps == 2).float().mean() == pytest.approx(0.25, abs=0.05)
