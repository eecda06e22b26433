"""Where down is, as a point of the model's input: any direction, known or not, reaches the network turned with it."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from pstmo_ros.core import gravity
from pstmo_ros.core.camera import Camera
from pstmo_ros.core.model import STMO
from pstmo_ros.core.model_config import ModelConfig
from pstmo_ros.core.pipeline import LifterConfig, PoseLifter
from pstmo_ros.engines import Options, load_engine
from tests.conftest import record, walker


def test_a_direction_and_its_point_are_an_inverse_pair():
    down = Rotation.random(50, random_state=0).apply([0, 1, 0]).astype(np.float32)
    torch.testing.assert_close(gravity.to_vector(torch.from_numpy(gravity.to_point(down))), torch.from_numpy(down))
    assert (gravity.to_vector(torch.full((2, 2), torch.nan)) == 0).all(), "not known"
    assert gravity.to_point(np.array([0.0, 1.0, 0.0])).tolist() == [0, 0], "a level camera"


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_engines_take_it(aware, engine):
    loaded = load_engine(aware, engine, Options(precision="fp32"))
    np.testing.assert_allclose(loaded.infer(aware.golden_x), aware.golden_y, atol=1e-4)


def test_it_matters_and_one_that_is_not_known_does_no_harm(aware):
    known = torch.from_numpy(aware.golden_x[:1])
    unknown, tilted = known.clone(), known.clone()
    unknown[:, :, -1], tilted[:, :, -1] = torch.nan, 0.3
    poses = aware.model(torch.cat([known, unknown, tilted]))
    assert poses.isfinite().all()
    assert (poses[0] - poses[1]).abs().max() > 1e-4
    assert (poses[0] - poses[2]).abs().max() > 1e-4


def test_it_turns_with_the_camera(aware):
    """A camera that pans or tilts about its place sees the same person: the same pose, in its own axes."""
    config = aware.config
    model, down = STMO(config).eval(), np.array([0.0, 1.0, 0.0])
    points = np.stack([walker(0.6)[: config.frames]] * 2).astype(np.float64)
    points += np.array([0.0, 0.0, 2.0])
    turn = Rotation.from_euler("x", 20, degrees=True)
    seen = []
    for rotation in (Rotation.identity(), turn):
        at = rotation.apply(points[0].reshape(-1, 3)).reshape(points[0].shape)
        at[..., 0] -= at[:, :1, 0].mean()  # on the vertical plane through the axis: the smallest turn is a tilt alone
        rays = (at[..., :2] / at[..., 2:]).astype(np.float32)[None]
        seen.append(gravity.with_down(rays, tuple(rotation.apply(down))))
    with torch.inference_mode():
        level, tilted = (model(torch.from_numpy(x))[0].double() for x in seen)
    apart = (torch.from_numpy(turn.apply(level.numpy())) - tilted).norm(dim=-1).max()
    assert apart < 0.05 * level.norm(dim=-1).max()


def test_the_cameras_down_is_the_windows_last_point(aware, camera):
    given = []

    def engine(windows):
        given.append(windows)
        return np.zeros((len(windows), 17, 3), np.float32)

    frame = next(record([walker(0.1)], camera).frames())
    tilted = dataclasses.replace(camera, down=(0.0, 2 * math.cos(0.5), 2 * math.sin(0.5)))
    for view in (camera, tilted, None):
        PoseLifter(aware, engine, LifterConfig()).step(frame, view)
    assert [g.shape for g in given] == [(1, 27, 18, 2)] * 3
    assert np.isnan(given[0][:, :, -1]).all()
    np.testing.assert_allclose(given[1][:, :, -1], np.broadcast_to([0, math.tan(0.25)], (1, 27, 2)), rtol=1e-6)
    assert np.isnan(given[2][:, :, -1]).all()


@pytest.mark.filterwarnings("error")
def test_a_camera_that_hangs_exactly_upside_down_knows_no_direction():
    for down in ((0.0, -1.0, 0.0), (1e-9, -1.0, 0.0)):
        point = gravity.with_down(np.zeros((1, 27, 17, 2), np.float32), down)[0, 0, -1]
        assert (gravity.to_vector(torch.from_numpy(point)) == 0).all()


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"down is \(0, 0, 0\); give a direction"):
        Camera(100, 100, 100.0, 100.0, 50.0, 50.0, down=(0, 0, 0))
    with pytest.raises(ValueError, match="gravity is on with sem: transformer"):
        ModelConfig(gravity=True, sem="transformer", dim=136)
