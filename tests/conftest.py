"""A synthetic walker, a known camera and a tiny model: what the tests stand on, instead of mocks."""

from __future__ import annotations

import dataclasses
import os

# One thread each: tests run beside other work, and OpenMP threads that wait for a busy core spin.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch

from pstmo_ros.core import layouts, skeleton
from pstmo_ros.core.bundle import Bundle, save_bundle
from pstmo_ros.core.camera import Camera
from pstmo_ros.core.gravity import with_down
from pstmo_ros.core.model import STMO
from pstmo_ros.core.model_config import ModelConfig
from pstmo_ros.recording import Recording

RATE_HZ = 50.0


def walker(seconds: float, rate_hz: float = RATE_HZ, offset_m: tuple[float, float] = (0.0, 4.0), phase: float = 0.0):
    """Someone walking across the view: (T, 17, 3) metres in a level camera's optical frame 1 m above the ground."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    swing = np.sin(2 * np.pi * 1.0 * t + phase)
    x, y, z = offset_m[0] + 0.8 * (t - seconds / 2), np.zeros_like(t), np.full_like(t, offset_m[1])
    joints = np.zeros((len(t), skeleton.J, 3))

    def put(name: str, right: float, up: float, forward: np.ndarray | float) -> None:
        # Walking towards +x: the body's forward is +x, its right is towards the camera (-z).
        joints[:, skeleton.index(name)] = np.stack([x + forward, y - up + 1.0, z - right], -1)

    for name, up in (("pelvis", 0.9), ("spine", 1.13), ("thorax", 1.38), ("neck_nose", 1.5), ("head_top", 1.65)):
        put(name, 0, up, 0)
    for side, s in (("right", 1), ("left", -1)):
        put(f"{side}_hip", 0.1 * s, 0.9, 0)
        put(f"{side}_knee", 0.1 * s, 0.48, 0.18 * s * swing)
        put(f"{side}_ankle", 0.1 * s, 0.08, 0.3 * s * swing)
        put(f"{side}_shoulder", 0.17 * s, 1.38, 0)
        put(f"{side}_elbow", 0.2 * s, 1.1, -0.12 * s * swing)
        put(f"{side}_wrist", 0.2 * s, 0.87, -0.22 * s * swing)
    return joints.astype(np.float32)


def record(people: list[np.ndarray], camera: Camera, rate_hz: float = RATE_HZ, ids: bool = True) -> Recording:
    """What a perfect Human3.6M-17 detector records of people (each (T, 17, 3) in the camera frame)."""
    truth = np.stack(people, 1)
    keypoints = np.concatenate([camera.project(truth), np.ones((*truth.shape[:-1], 1))], -1).astype(np.float32)
    stamps = 1_700_000_000_000_000_000 + np.round(np.arange(len(truth)) / rate_hz * 1e9).astype(np.int64)
    person_ids = np.tile(np.arange(len(people)) + 1, (len(truth), 1)) if ids else None
    return Recording(keypoints, stamps, (camera.width, camera.height), "h36m_17", person_ids, camera, truth)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Compiled models of the tests stay with the tests (subprocesses inherit this)."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def camera() -> Camera:
    return Camera(1280, 720, 900.0, 910.0, 640.0, 355.0, (-0.08, 0.02, 0.001, -0.0005, 0.0))


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A small untrained model in a real model file."""
    torch.manual_seed(0)
    config = ModelConfig(frames=27, stride=3, dim=32, heads=4, depth=1, dropout=0.0, centred=True)
    joints = record([walker(3.0)], Camera.from_field_of_view((1280, 720), 65.0)).keypoints[:108, 0, :, :2]
    windows = ((joints.reshape(4, 27, 17, 2) - (640, 360)) / 1000).astype(np.float32)
    windows[1, :, layouts.get("h36m_17").joints.index("left_wrist")] = np.nan
    model, standing = STMO(config), walker(0.1)[0]
    with torch.no_grad():  # its poses are a standing person, a little changed by the input: they can be placed
        model.head.fc.weight.mul_(0.2)
        model.head.fc.bias.copy_(torch.from_numpy(standing - standing[skeleton.ROOT]).flatten())
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    return save_bundle(path, model, "rays", {"data": "none: untrained, for tests"}, windows)


@pytest.fixture(scope="session")
def aware(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The same model, told where down is."""
    torch.manual_seed(1)
    model = STMO(dataclasses.replace(bundle.config, gravity=True))
    model.head.load_state_dict(bundle.model.head.state_dict())
    golden = with_down(bundle.golden_x, (0.1, 0.9, 0.2))
    golden[1, :, -1] = np.nan
    path = tmp_path_factory.mktemp("model") / "aware.safetensors"
    return save_bundle(path, model, "rays", {"data": "none: untrained, for tests"}, golden)
