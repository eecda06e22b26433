"""The virtual detector's noise and the virtual cameras are as their settings say."""

import dataclasses
import math

import pytest
import torch

from training.detector import HEIGHT_M, KEYPOINTS, CameraConfig, detect, layout_matrices, place_cameras
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
    off = _noise(burst_rate=0.2, burst=0.08).norm(dim=-1) > 0
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


def test_bounds_and_layouts_that_are_missing_are_named():
    with pytest.raises(ValueError, match=r"camera\.field_of_view_deg is \[60\]; give two bounds"):
        CameraConfig(field_of_view_deg=(60,))
    with pytest.raises(ValueError, match=r"detector\.layouts is empty; give at least one"):
        layout_matrices(())
