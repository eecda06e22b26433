"""A user's downloaded checkpoint works: it gives what the published model gives (tests/training/official.py)."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pstmo_ros.core import bundle as bundles
from pstmo_ros.core.model_config import ModelConfig
from pstmo_ros.core.refine import root_position
from tests.training import official
from training.import_official import import_checkpoint, import_stage_one, read_checkpoint
from training.import_official import main as import_main
from training.mpm import Masks, load_stage_one

TOLERANCE = 1e-4
S_27 = ModelConfig(frames=27, stride=3, depth=3)


@pytest.fixture(scope="module")
def stmo():
    return official.load("stmo")


@pytest.fixture(scope="module")
def mpm():
    return official.load("mpm")


def _saved(state: dict, path: Path) -> Path:
    torch.save(state, path)
    return path


def _run(monkeypatch: pytest.MonkeyPatch, *args: object) -> None:
    monkeypatch.setattr(sys, "argv", ["import_official", *map(str, args)])
    import_main()


@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_published_model_is_reproduced(stmo, prefix, tmp_path):
    checkpoint = _saved(official.state_dict(stmo["manifest"], prefix), tmp_path / "no_refine_27.pth")
    out = tmp_path / "model.safetensors"
    command = [sys.executable, "-m", "training.import_official", checkpoint, out]
    subprocess.run([*command, "--frames", "27", "--stride", "3", "--depth", "3"], check=True, capture_output=True)
    model = bundles.load(out).model
    with torch.inference_mode():
        pose, frames = model.forward_all(torch.from_numpy(stmo["x"]))
        alone = model(torch.from_numpy(stmo["x"]))
    np.testing.assert_allclose(pose, stmo["y"][:, 0], atol=TOLERANCE)
    np.testing.assert_allclose(alone, stmo["y"][:, 0], atol=TOLERANCE)
    np.testing.assert_allclose(frames, stmo["y_all"], atol=TOLERANCE)


def test_stage_one_of_the_published_model_is_reproduced(mpm, tmp_path):
    checkpoint = _saved(official.state_dict(mpm["manifest"], "module."), tmp_path / "pretrain.pth")
    import_stage_one(checkpoint, tmp_path / "stage_one.safetensors", S_27)
    model, _ = load_stage_one(tmp_path / "stage_one.safetensors")
    visible, masked = np.flatnonzero(~mpm["mask"]), np.flatnonzero(mpm["mask"])
    b = len(mpm["x"])
    hidden = torch.from_numpy(mpm["spatial_mask"][visible]).expand(b, -1, -1)
    with torch.inference_mode():
        y = model(torch.from_numpy(mpm["x"]), Masks(torch.from_numpy(visible).expand(b, -1), hidden))
    # The authors give the visible frames first, then the masked ones.
    np.testing.assert_allclose(y[:, np.concatenate([visible, masked])], mpm["y"], atol=TOLERANCE)


def test_a_refining_module_is_imported_with_its_camera(stmo, tmp_path):
    """Its two layers weigh the pose against the re-projection; zero weights make that the mean of the two."""
    refine = {
        "module.post_refine.0.weight": torch.zeros(1024, 102),
        "module.post_refine.0.bias": torch.zeros(1024),
        "module.post_refine.3.weight": torch.zeros(34, 1024),
        "module.post_refine.3.bias": torch.zeros(34),
    }
    checkpoint = _saved(official.state_dict(stmo["manifest"]), tmp_path / "no_refine.pth")
    refined = import_checkpoint(
        checkpoint, tmp_path / "refined.safetensors", S_27, _saved(refine, tmp_path / "refine.pth")
    ).model
    plain = import_checkpoint(checkpoint, tmp_path / "plain.safetensors", S_27).model
    x = torch.from_numpy(stmo["x"])
    with torch.inference_mode():
        pose, out = plain(x), refined(x)
    fx, _, cx, cy = refined.refine.pinhole.tolist()
    assert fx == pytest.approx(2.29, abs=0.02)  # 1145 px of a 1000 px wide image, in half widths
    rays = (x[:, 13] - torch.tensor([cx, cy])) / refined.refine.pinhole[:2]
    root = root_position(pose, rays)[:, None]
    depth = root[..., 2:] + pose[..., 2:]
    seen = torch.cat([rays * depth, depth], -1)
    expected = (pose[..., :2] + (seen - seen[:, :1])[..., :2]) / 2
    torch.testing.assert_close(out[..., :2], expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(out[..., 2], pose[..., 2])


class _Harmful:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path):
    touched = tmp_path / "touched"
    checkpoint = _saved({"encoder.fc_1.weight": _Harmful(touched)}, tmp_path / "bad.pth")
    with pytest.raises(ValueError, match="not a plain state dict") as refused:
        read_checkpoint(checkpoint)
    assert not touched.exists()
    assert "give the file as published" in str(refused.value)
    assert "weights_only" not in str(refused.value)  # torch advises to let it run
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("contents", [b"", b"PK\x03\x04 cut short", b"hello"])
def test_a_broken_checkpoint_is_named(contents, tmp_path):
    path = tmp_path / "broken.pth"
    path.write_bytes(contents)
    with pytest.raises(ValueError, match=r"broken\.pth"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("encoder.fc_1.weight", lambda t: t.to_sparse(), "torch.sparse_coo"),
        ("encoder.fc_1.weight", lambda t: t.to(torch.complex64), "torch.complex64"),
        ("encoder.fc_1.weight", lambda t: t * torch.nan, "NaN, infinity"),
        ("encoder.bn_1.running_var", lambda t: -t, "a variance below 0"),
        ("fcn.1.bias", lambda t: t[:0], r"\(0,\)"),
        ("Transformer.model.layers.0.sublayer.0.norm.a_2", lambda t: t[0], r"the shape \(\); expected 1 dim"),
        ("Transformer.model.layers.0.self_attn.linears.1.bias", lambda t: t[0], r"the shape \(\); expected 1 dim"),
        ("Transformer.model.layers.0.self_attn.linears.1.weight", lambda t: t[0], "expected 2 dim"),
        ("Transformer.model.layers.0.self_attn.linears.*.weight", lambda t: t[:, 1:], "expected one for all three"),
        ("Transformer_reduce.model.pos_embedding_1", lambda t: t[0, 0], "expected 3 dim"),
    ],
)
def test_a_tensor_that_cannot_be_used_is_named(stmo, name, change, message, tmp_path):
    state = official.state_dict(stmo["manifest"])
    key = name.replace("*", "1")
    state[key] = change(state[key])
    checkpoint = _saved(state, tmp_path / "odd.pth")
    with pytest.raises(ValueError, match=f"{re.escape(name)}.*{message}"):
        import_checkpoint(checkpoint, tmp_path / "out.safetensors", S_27)
    assert not (tmp_path / "out.safetensors").exists()


def test_a_stage_one_token_of_another_size_is_named(mpm, tmp_path):
    state = official.state_dict(mpm["manifest"])
    state["spatial_mask_token"] = torch.zeros(3)
    with pytest.raises(ValueError, match=r"'spatial_mask_token' has the shape .*; expected two numbers"):
        import_stage_one(_saved(state, tmp_path / "odd.pth"), tmp_path / "out.safetensors", S_27)


def test_a_missing_checkpoint_is_named(monkeypatch):
    with pytest.raises(SystemExit, match=r"nowhere\.pth.*does not exist"):
        _run(monkeypatch, "nowhere.pth", "out.safetensors", "--frames", 27, "--stride", 3, "--depth", 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--frames", 81, "--depth", 3], "--frames"),
        (["--frames", 27, "--depth", 4], "--depth"),
        (["--frames", 27, "--depth", 2], "--depth"),
        (["--frames", 30, "--depth", 3], "27, 81, 243"),
        (["--frames", 27, "--depth", 3, "--stage-one"], "spatial_mask_token"),
    ],
)
def test_arguments_that_do_not_fit_the_checkpoint_are_named(stmo, arguments, message, monkeypatch, tmp_path):
    checkpoint = _saved(official.state_dict(stmo["manifest"]), tmp_path / "no_refine_27.pth")
    out = tmp_path / "out.safetensors"
    with pytest.raises(SystemExit, match=message):
        _run(monkeypatch, checkpoint, out, "--stride", 3, *arguments)
    assert not out.exists()
