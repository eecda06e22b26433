"""Whoever lies is lifted as upright people are; nobody else is touched."""

import numpy as np
import pytest
import torch

from pstmo_ros.core import skeleton
from pstmo_ros.core.bundle import load
from pstmo_ros.core.upright import lift_upright
from pstmo_ros.engines import model_path


@pytest.fixture(scope="module")
def bundle():
    return load(model_path("small"))


@pytest.fixture
def engine(bundle):
    """The bundled model, and what it was asked."""

    def infer(points):
        infer.asked = points
        with torch.inference_mode():
            return bundle.model(torch.from_numpy(points)).numpy()

    return infer


@pytest.fixture
def standing(bundle):
    """Windows (2, N, 18, 2) of somebody who sways in the middle of the image, down known."""
    pose = np.zeros((skeleton.J, 2), np.float32)
    for side, x in (("right", -0.05), ("left", 0.05)):
        for joint, y in (("shoulder", -0.2), ("elbow", -0.1), ("wrist", 0.0), ("hip", 0.02), ("knee", 0.15)):
            pose[skeleton.index(f"{side}_{joint}")] = x, y
        pose[skeleton.index(f"{side}_ankle")] = x, 0.3
    for joint, y in (("spine", -0.1), ("thorax", -0.2), ("neck_nose", -0.26), ("head_top", -0.3)):
        pose[skeleton.index(joint)] = 0.01, y
    windows = np.zeros((2, bundle.config.frames, skeleton.J + 1, 2), np.float32)
    sway = 0.01 * np.sin(np.arange(bundle.config.frames) / 4)
    windows[:, :, : skeleton.J] = pose + sway[:, None, None]
    return windows


def turned(vectors, degrees):
    """Vectors (..., 2) turned in the image."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return (vectors @ np.array([[c, s], [-s, c]])).astype(np.float32)


@pytest.mark.parametrize("degrees", [90.0, -120.0, 180.0])
def test_who_lies_has_the_pose_of_who_stands_turned(engine, standing, degrees):
    lying = standing[:1].copy()
    lying[:, :, : skeleton.J] = turned(lying[:, :, : skeleton.J], degrees)
    pose = lift_upright(engine, lying)[0]
    upright = standing[:1].copy()
    upright[:, :, skeleton.J] = np.nan
    expected = lift_upright(engine, upright)[0]
    expected[:, :2] = turned(expected[:, :2], degrees)
    # The trunk of who stands leans a little in the image; of who lies, it is turned to point up exactly.
    assert np.linalg.norm(pose[:, :3] - expected[:, :3], axis=-1).max() < 0.05
    np.testing.assert_allclose(pose[:, 3], expected[:, 3], rtol=0.2)


def test_where_down_is_is_kept_from_the_model_for_who_lies_and_for_nobody_else(engine, standing):
    both = standing.copy()
    both[1, :, : skeleton.J] = turned(both[1, :, : skeleton.J], 90)
    before = both.copy()
    out = lift_upright(engine, both)
    np.testing.assert_array_equal(both, before)  # the caller's own
    np.testing.assert_array_equal(engine.asked[0], standing[0])
    assert np.isnan(engine.asked[1, :, skeleton.J]).all()
    np.testing.assert_allclose(out[0], lift_upright(engine, standing)[0], atol=1e-5)


@pytest.mark.parametrize("leans", [0.0, 45.0])
def test_who_stands_or_bends_is_left_alone(engine, standing, leans):
    standing[:, :, : skeleton.J] = turned(standing[:, :, : skeleton.J], leans)
    lift_upright(engine, standing)
    assert engine.asked is standing


def test_whose_hips_are_hidden_now_and_then_lies_all_the_same(engine, standing):
    standing[:, :, : skeleton.J] = turned(standing[:, :, : skeleton.J], 90)
    standing[1, : standing.shape[1] // 2, skeleton.ROOT] = np.nan
    lift_upright(engine, standing)
    heads = engine.asked[:, -1, skeleton.index("head_top")]
    np.testing.assert_allclose(heads[1], heads[0], atol=0.02)


def test_who_points_at_the_camera_now_and_then_lies_all_the_same(engine, standing):
    standing[:, :, : skeleton.J] = turned(standing[:, :, : skeleton.J], 90)
    head_on = slice(None, standing.shape[1] // 3)
    standing[1, head_on, skeleton.index("thorax")] = standing[1, head_on, skeleton.ROOT]
    lift_upright(engine, standing)
    heads = engine.asked[:, -1, skeleton.index("head_top")]
    np.testing.assert_allclose(heads[1], heads[0], atol=0.02)


def test_who_tumbles_and_whose_trunk_is_not_seen_is_left_alone(engine, standing):
    frames = standing.shape[1]
    for t in range(frames):
        standing[0, t, : skeleton.J] = turned(standing[0, t, : skeleton.J], 360 * t / frames)
    standing[1, :, : skeleton.J] = turned(standing[1, :, : skeleton.J], 180)
    standing[1, :, skeleton.ROOT] = np.nan
    lift_upright(engine, standing)
    assert engine.asked is standing
