"""The graph that engines run gives the model's poses, whatever the model is made of."""

import dataclasses

import numpy as np
import pytest
import torch

from pstmo_ros.core.bundle import load, save_bundle
from pstmo_ros.core.model import STMO
from pstmo_ros.core.model_config import ModelConfig
from pstmo_ros.engines import Options, load_engine, model_path
from pstmo_ros.engines.deployed import deployed, exported

SMALL = ModelConfig(frames=27, stride=1, dim=32, heads=4, depth=2)


def trained(config, path):
    """A model whose norms have seen data, as trained ones have."""
    torch.manual_seed(1)
    model = STMO(config)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
        for _ in range(3):
            model.forward_all(0.3 * torch.randn(8, config.frames, 17, 2) + 0.1)
    windows = 0.3 * np.random.default_rng(0).standard_normal((3, config.frames, 17, 2)).astype(np.float32)
    windows[1, 5:9, 3] = np.nan
    return save_bundle(path / "model.safetensors", model, "rays", {"data": "none"}, windows)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"centred": True, "frames": 9},
        {"sem": "fc", "tem": False},
        {"sem": "transformer", "dim": 68, "mofa": False},
        {"refine": True, "sem_blocks": 2, "frames": 3},
        {"dial": True, "mofa": False, "uncertainty": True, "centred": True, "look_ahead_frames": 3},
        {"dial": True, "mofa": False, "uncertainty": True, "mirrored": True},
    ],
    ids=str,
)
def test_poses_are_the_models(changes, tmp_path):
    bundle = trained(dataclasses.replace(SMALL, **changes), tmp_path)
    x = torch.from_numpy(bundle.golden_x)
    before = bundle.model(x)
    np.testing.assert_allclose(deployed(bundle)(x), before, atol=1e-5)
    torch.testing.assert_close(bundle.model(x), before, atol=0, rtol=0)  # and the bundle's own model is left alone


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tem": False, "dim": 256, "heads": 8},
        {"dial": True, "mofa": False, "centred": True},
        {"dial": True, "mofa": False, "centred": True, "mirrored": True},
    ],
    ids=str,
)
def test_openvinos_fixed_and_free_shapes_give_the_models_poses(changes, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    bundle = trained(dataclasses.replace(SMALL, **changes), tmp_path)
    engine = load_engine(bundle, "openvino", Options(precision="fp32", people=2))
    for people in (1, 2, 3):
        x = np.resize(bundle.golden_x, (people, *bundle.golden_x.shape[1:]))
        np.testing.assert_allclose(engine(x), np.resize(bundle.golden_y, (people, 17, 3)), atol=1e-4)


def test_what_only_training_needs_is_gone(tmp_path):
    bundle = trained(SMALL, tmp_path)
    names = [type(m).__name__ for m in deployed(bundle).modules()]
    assert not [n for n in names if n.startswith("BatchNorm")]
    assert deployed(bundle).head_frames is None


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_is_near(precision, tmp_path):
    bundle = trained(SMALL, tmp_path)
    x = torch.from_numpy(bundle.golden_x)
    model = deployed(bundle, precision)
    poses = model(x)
    assert poses.dtype == torch.float32
    assert {p.dtype for n, p in model.named_parameters() if "qkv" in n} != {torch.float32}
    error = (poses - bundle.model(x)).abs().max()
    assert 1e-6 < error < 0.05  # it is another precision, and these weights are random


@pytest.fixture(scope="module", params=["small", "realtime", "accurate"])
def program(request):
    """What engines are given of a bundled model."""
    return exported(load(model_path(request.param)))


def test_nothing_is_copied_from_the_host_while_it_runs(program):
    """A CUDA graph that holds such a copy cannot be captured; torch.export calls what is copied a lifted constant."""
    signature = program.graph_signature
    assert not signature.lifted_tensor_constants
    assert "centring.optical" in signature.buffers  # what would be


def test_numbers_in_the_graph_are_finite(program):
    """torch 2.7 and 2.8 cannot save others."""
    nodes = program.graph.nodes
    numbers = [a for n in nodes for a in (*n.args, *n.kwargs.values()) if isinstance(a, float)]
    assert numbers
    assert np.isfinite(numbers).all()


def test_one_tensorrt_engine_can_take_the_whole_graph(program):
    """torch_tensorrt 2.8 would leave these to torch, and so cut the graph into engines before and after them."""
    left_to_torch = {torch.ops.aten.all.dim, torch.ops.aten.index.Tensor}
    used = {node.target for node in program.graph.nodes}
    assert torch.ops.aten.any.dim in used
    assert not used & left_to_torch


def test_exported_takes_any_batch(tmp_path):
    bundle = trained(SMALL, tmp_path)
    program = exported(bundle).module()
    for people in (1, 3):
        x = torch.from_numpy(np.resize(bundle.golden_x, (people, 27, 17, 2)))
        torch.testing.assert_close(program(x), bundle.model(x), atol=1e-5, rtol=0)
