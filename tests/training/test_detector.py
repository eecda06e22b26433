"""The virtual detector's noise and the virtual cameras are as their settings say."""

import dataclasses
import math

import pytest
import torch

from pstmo_ros.core import skeleton
from training.detector import (
    HEIGHT_M,
    KEYPOINTS,
    CameraConfig,
    DetectorConfig,
    detect,
    drop_joints,
    keypoints_3d,
    place_cameras,
)
from training.synthesis import NO_NOISE

_DRIFT_S, _STEP_S = 0.33, 0.02


def _noise(frames=50, windows=400, **settings):
    """Rays (windows, frames, K, 2) of points on the axis, so far away that a person's height is 1: all of it noise."""
    points = torch.zeros(windows, frames, len(KEYPOINTS), 3)
    points[..., 2] = HEIGHT_M
    return detect(points, dataclasses.replace(NO_NOISE, **settings), _STEP_S, torch.Generator().manual_seed(0))


def test_wrists_are_found_less_well_than_noses():
    spread = _noise(jitter=0.01, by_joint=1.0).std((0, 1, 3))
    wrist, nose = (spread[KEYPOINTS.index(name)].item() for name in ("left_wrist", "nose"))
    assert wrist / nose == pytest.approx(1.6 / 0.6, rel=0.1)


@pytest.mark.parametrize(("level", "low", "high"), [(0.0, 0.0, 0.05), (0.3, 0.24, 0.36)])
def test_windows_differ_by_how_noisy_they_are(level, low, high):
    spread = _noise(jitter=0.01, level=level).std((1, 2, 3)).log().std().item()
    assert low < spread < high


def test_some_joints_are_off_for_a_stretch():
    x = _noise(burst_rate=0.2, burst=0.08).norm(dim=-1)
    off = x > 0
    torch.testing.assert_close(x, torch.where(off, x.amax(1, keepdim=True), 0), msg="to one place")
    assert off.any(1).float().mean().item() == pytest.approx(0.2, abs=0.03)
    assert 0 < off.float().mean() < 0.2 * 0.3, "not throughout the window"


def test_drift_is_correlated_for_a_third_of_a_second():
    x = _noise(drift=0.01)[..., 0]
    one_step, third_of_a_second = (
        ((x[:, :-later] * x[:, later:]).mean() / (x * x).mean()).item() for later in (1, round(_DRIFT_S / _STEP_S))
    )
    assert one_step == pytest.approx(1 - _STEP_S / _DRIFT_S, abs=0.02)
    assert third_of_a_second < 0.5


def _steepness(config):
    """How steeply 500 cameras look up or down at the root, (500,) radians."""
    views = place_cameras(500, config, torch.Generator().manual_seed(0), torch.device("cpu"))
    x, y, z = (views.rotation.mT @ views.root_m[..., None])[..., 0].unbind(-1)  # in the world's axes
    return torch.atan2(z, torch.hypot(x, y)).abs()


def test_cameras_are_as_high_as_asked_and_some_anywhere():
    """The root is 0.9 m high, and so up to 1.6 m above or below cameras that stand 2 m away or more."""
    config = CameraConfig(
        field_of_view_deg=(90, 90), roll_deg=0, pitch_deg=(-89, 89), height_m=(0.5, 2.5), distance_m=(2, 6)
    )
    assert _steepness(config).max() <= math.atan2(1.6, 2)
    assert _steepness(dataclasses.replace(config, anywhere=1.0)).max() > math.radians(60)


def _cameras(**settings):
    return place_cameras(500, CameraConfig(**settings), torch.Generator().manual_seed(0), torch.device("cpu"))


def test_cameras_look_as_steeply_and_as_far_aside_as_asked_from_all_sides():
    views = _cameras(pitch_deg=(-30, -20), roll_deg=20, off_axis=(0.5, 0.1), distance_m=(2, 6))
    pitch = views.rotation[:, 2, 2].asin().rad2deg()  # of the optical axis, whatever the roll: negative looks down
    assert -30.01 < pitch.min() < -29
    assert -21 < pitch.max() < -19.99
    aside = views.root_m[:, :2] / views.root_m[:, 2:]
    assert (aside.amax(0) - torch.tensor([0.5, 0.1])).abs().max() < 0.02
    assert (aside.amin(0) + torch.tensor([0.5, 0.1])).abs().max() < 0.02
    assert (views.rotation[:, 0, 2] > 0).float().mean().item() == pytest.approx(0.5, abs=0.1), "rolled either way"
    assert (views.rotation[:, 2, :2] > 0).float().mean(0).tolist() == pytest.approx([0.5, 0.5], abs=0.1)


@pytest.mark.parametrize(("height_m", "sign"), [(0.2, 1), (3.0, -1)])
def test_with_borders_low_cameras_look_up_at_a_person_inside_their_image(height_m, sign):
    """Images are of both shapes."""
    views = _cameras(field_of_view_deg=(60, 90), height_m=(height_m, height_m), roll_deg=0, pitch_deg=(-80, 80))
    above = (views.rotation.mT @ views.root_m[..., None])[:, 2, 0]
    assert (sign * above > 0).all()
    assert ((views.root_m[:, :2] / views.root_m[:, 2:]).abs() < views.border).all()
    assert (views.border[:, 0] < views.border[:, 1]).float().mean().item() == pytest.approx(1 / 3, abs=0.07)
    assert views.root_m[:, 2].median().item() == pytest.approx(math.sqrt(1.5 * 7), rel=0.1), "as often twice as far"
    level = _cameras(field_of_view_deg=(60, 90), height_m=(height_m, height_m), pitch_deg=(-10, 10))
    assert level.rotation[:, 2, 2].asin().rad2deg().abs().max().item() == pytest.approx(10, abs=0.01)


def test_faces_look_ahead_and_their_left_is_on_the_left():
    """Somebody who stands upright, bowed a little, and looks along y: right is x."""
    at = {"left_shoulder": (-0.2, 0, 1.4), "right_shoulder": (0.2, 0, 1.5), "thorax": (0, 0, 1.45)}
    at |= {"neck_nose": (0, 0.05, 1.55), "head_top": (0, 0.1, 1.75)}
    joints = torch.tensor([at.get(name, (0, 0, 1)) for name in skeleton.JOINTS], dtype=torch.float32)
    made = dict(zip(KEYPOINTS, keypoints_3d(joints), strict=True))
    assert made["neck"].tolist() == pytest.approx([0, 0, 1.45])
    assert made["nose"][1] > made["left_eye"][1] > made["left_ear"][1] > 0
    for part in ("eye", "ear"):
        left, right = made[f"left_{part}"], made[f"right_{part}"]
        assert left[0] < 0 < right[0]
        assert (right - left).norm().item() == pytest.approx({"eye": 0.064, "ear": 0.15}[part], rel=1e-4)
        assert ((right - left) @ (made["head_top"] - made["thorax"])).item() == pytest.approx(0, abs=1e-6)
    assert (made["nose"] - made["neck_nose"]).norm().item() == pytest.approx(math.hypot(0.13, 0.06), rel=1e-4)


def test_noise_is_a_share_of_the_apparent_height():
    spread = []
    for metres in (1, 4):
        points = torch.zeros(100, 50, len(KEYPOINTS), 3)
        points[..., 2] = metres * HEIGHT_M
        config = dataclasses.replace(NO_NOISE, jitter=0.01)
        spread.append(detect(points, config, _STEP_S, torch.Generator().manual_seed(0)).std().item())
    assert spread == pytest.approx([0.01, 0.0025], rel=0.05)


def test_bias_and_offsets_stay_for_the_window_and_outliers_come_and_go():
    for setting in ("bias", "offset_m", "hip_offset_m"):
        x = _noise(frames=5, **{setting: 0.02})
        assert (x == x[:, :1]).all(), setting
        placed = [name for name, off in zip(KEYPOINTS, x.abs().amax((0, 1, 3)), strict=True) if off > 0]
        assert ("left_hip" in placed, "nose" in placed) == (setting != "offset_m",) * 2
        assert ("left_wrist" in placed) == (setting != "hip_offset_m")
    far = _noise(outlier_rate=0.1, outlier=0.05).abs().amax(-1) > 0
    assert far.float().mean().item() == pytest.approx(0.1, abs=0.01)
    assert (far.any(1) & ~far.all(1)).float().mean() > 0.9


def test_arms_legs_or_both_change_sides():
    points = torch.zeros(300, 4, len(KEYPOINTS), 3)
    points[..., 2] = 3
    points[..., 0] = torch.tensor([{"l": -1.0, "r": 1.0}.get(name[0], 0.0) for name in KEYPOINTS])
    swapped = dataclasses.replace(NO_NOISE, swap_rate=0.6)
    rays, clean = (detect(points, c, _STEP_S, torch.Generator().manual_seed(0))[..., 0] for c in (swapped, NO_NOISE))
    other = (rays != clean).any(1)
    wrists, ankles = (other[:, KEYPOINTS.index(f"left_{part}")] for part in ("wrist", "ankle"))
    shares = [(a & b).float().mean().item() for a, b in ((wrists, ~ankles), (~wrists, ankles), (wrists, ankles))]
    assert shares == pytest.approx([0.2, 0.2, 0.2], abs=0.06)


def test_legs_are_missing_throughout_and_other_joints_for_a_while():
    joints = torch.zeros(500, 30, skeleton.J, 2)

    def hidden(**settings):
        config = dataclasses.replace(NO_NOISE, **settings)
        return drop_joints(joints, config, torch.Generator().manual_seed(0)).isnan().all(-1)

    legs = hidden(legs_missing_rate=0.3)
    names = {skeleton.JOINTS[j] for j in legs.any(0).any(0).nonzero().flatten()}
    assert names == {f"{side}_{joint}" for side in ("left", "right") for joint in ("knee", "ankle")}
    assert (legs.any(1) == legs.all(1)).all()
    assert legs[:, 0].any(-1).float().mean().item() == pytest.approx(0.3, abs=0.06)
    some = hidden(missing_rate=0.5)
    assert 0.3 < some.any(1).any(-1).float().mean() < 0.55
    assert (some.any(1) & ~some.all(1)).sum() > 0.5 * some.any(1).sum()


def test_bounds_and_layouts_that_are_missing_are_named():
    with pytest.raises(ValueError, match=r"field_of_view_deg is \[60\]; give two bounds"):
        CameraConfig(field_of_view_deg=(60,))
    with pytest.raises(ValueError, match=r"layouts is \[\]; give at least one"):
        DetectorConfig(layouts=())
