"""Training end to end, tiny: it learns, it survives being killed, it takes every data set."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from pstmo_ros.core.bundle import load, save_bundle
from pstmo_ros.core.gravity import with_down
from pstmo_ros.core.model import STMO
from pstmo_ros.core.model_config import ModelConfig
from pstmo_ros.engines import model_path
from tests.training.dataset_files import dhp_arrays, write_dhp, write_h36m
from training import pretrain
from training.batches import BatchConfig
from training.config import load_config
from training.datasets import h36m
from training.finetune import FinetuneConfig, StageTwo, start_from, train
from training.mpm import load_stage_one
from training.outputs import CHECKPOINT

ROOT = Path(__file__).parents[2]
TINY = ModelConfig(frames=9, stride=6, dim=32, heads=4, depth=1)
BUNDLED = ("small", "realtime", "accurate")
SMALL = {"model": TINY, "batch": 32, "warmup": 5, "validation_windows": 128}


def command_line(folder: Path, **settings: object) -> list[str]:
    """What a stage's main takes for a tiny training in ``folder``: a file that changes nothing, then the settings."""
    folder.mkdir(exist_ok=True)
    (folder / "defaults.yaml").touch()
    return [str(folder / "defaults.yaml"), *_arguments(folder, **settings)]


def _arguments(folder: Path, **settings: object) -> list[str]:
    """Settings of a tiny training in ``folder``."""
    model = [f"model.{k}={getattr(TINY, k)}" for k in ("frames", "stride", "dim", "heads", "depth")]
    paths = [f"run={folder}", f"out={folder / 'out.safetensors'}"]
    own = {"batch": 32, "warmup": 5, "validation_windows": 128} | settings
    return [*model, *paths, *(f"{k}={v}" for k, v in own.items())]


def _config(folder: Path, **settings: object) -> FinetuneConfig:
    return FinetuneConfig(run=str(folder), out=str(folder / "out.safetensors"), **(SMALL | settings))


def test_it_learns(tmp_path):
    first = train(_config(tmp_path / "a", steps=1))
    last = train(_config(tmp_path / "b", steps=50, learning_rate=5e-3, validate_every=1000))
    before, after = (b.metadata["training"]["validation_mpjpe_mm"]["any_look_ahead"] for b in (first, last))
    assert after < 0.8 * before
    assert list((tmp_path / "b").glob("events.out.*"))  # TensorBoard


def test_killed_and_resumed_is_the_same_run_bit_for_bit(tmp_path):
    """kill -9 in the middle; what is left is readable and leads to the very weights of a run left alone.

    Stage I, which draws all that Stage II draws and masks besides; the loop is the same. Muon brings AdamW with it.
    """
    settings = {"steps": 40, "checkpoint_minutes": 0, "validate_every": 20, "optimizer": "muon"}
    command = [sys.executable, "-m", "training.pretrain"]
    command += command_line(tmp_path / "k", **settings)
    killed = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    checkpoint = tmp_path / "k" / CHECKPOINT
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not checkpoint.is_file():
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert 0 < torch.load(checkpoint, weights_only=True)["step"] < 40

    for folder, resume in (("k", True), ("whole", False)):
        config = load_config(pretrain.PretrainConfig, None, _arguments(tmp_path / folder, **settings))
        pretrain.train(config, resume)
    states = [torch.load(tmp_path / f / CHECKPOINT, weights_only=True) for f in ("whole", "k")]
    for name, tensor in states[0]["model"].items():
        assert torch.equal(tensor, states[1]["model"][name]), name
    assert states[0]["step"] == states[1]["step"] == 40


def test_resuming_names_what_is_missing_or_changed(tmp_path):
    with pytest.raises(ValueError, match=r"no checkpoint.*start without --resume"):
        train(_config(tmp_path, steps=1), resume=True)
    train(_config(tmp_path, steps=1))
    with pytest.raises(ValueError, match=r"holds a checkpoint; go on from it with --resume, or give another run="):
        train(_config(tmp_path, steps=1))  # hours of training would be gone
    with pytest.raises(ValueError, match=r"other settings: learning_rate was \S+, is 0.5; give"):
        train(_config(tmp_path, steps=1, learning_rate=0.5), resume=True)
    checkpoint = tmp_path / CHECKPOINT
    checkpoint.write_bytes(checkpoint.read_bytes()[:3000])
    with pytest.raises(ValueError, match=r"checkpoint\.pt' is no whole checkpoint .*start without --resume"):
        train(_config(tmp_path, steps=1), resume=True)


def test_stage_two_starts_where_stage_one_ended(tmp_path):
    one = pretrain.train(load_config(pretrain.PretrainConfig, None, _arguments(tmp_path / "one", steps=3)))
    encoder = load_stage_one(one)[0].state_dict()
    model = train(_config(tmp_path / "two", steps=1, learning_rate=1e-9, init=str(one))).model.state_dict()
    for name in ("tem.position", "sem.fc_1.weight", "tem.layers.0.up.weight"):
        torch.testing.assert_close(model[name], encoder[name], atol=1e-6, rtol=0)


def test_stage_two_may_learn_where_down_is_which_stage_one_does_not(tmp_path):
    one = pretrain.train(load_config(pretrain.PretrainConfig, None, _arguments(tmp_path / "one", steps=1)))
    encoder = load_stage_one(one)[0].state_dict()["sem.fc_1.weight"]
    down = {"model": dataclasses.replace(TINY, gravity=True), "batches": BatchConfig(gravity_known=0.5)}
    model = train(_config(tmp_path / "two", steps=1, learning_rate=1e-9, init=str(one), **down)).model.state_dict()
    torch.testing.assert_close(model["sem.fc_1.weight"][:, : encoder.shape[1]], encoder, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", BUNDLED)
def test_configurations_for_any_look_ahead_train(some_mocap, name, tmp_path):
    small = ["init=", "model.dim=32", "model.heads=4", "batch=16", "steps=2", "validation_windows=32"]
    paths = [f"data={some_mocap}", f"run={tmp_path}"]
    config = load_config(FinetuneConfig, ROOT / f"config/training/{name}.yaml", [*small, *paths])
    bundle = train(dataclasses.replace(config, out=str(tmp_path / "model.safetensors")))
    assert bundle.normalization == "rays"
    longest = bundle.config.longest_look_ahead_s
    assert set(bundle.metadata["training"]["validation_mpjpe_mm"]) == {
        f"look_ahead_{longest * share:.2f}_s" for share in (0, 0.25, 1)
    }
    assert "mocap.cs.cmu.edu" in bundle.metadata["training"]["licence"]


@pytest.mark.parametrize("name", BUNDLED)
def test_the_bundled_models_answer_at_every_look_ahead_with_deviations(name):
    bundle = load(model_path(name))
    assert bundle.config.dial
    assert bundle.config.uncertainty
    assert bundle.at(bundle.config.longest_look_ahead_s).model(torch.from_numpy(bundle.golden_x)).shape[1:] == (17, 4)


def test_human36m_trains_with_the_papers_schedule(tmp_path):
    write_h36m(tmp_path, subjects=(*h36m.TRAIN, *h36m.TEST), actions=("Eating",))
    small = ["model.dim=32", "model.heads=4", "model.depth=1", "epochs=2", "keypoints=gt", f"data={tmp_path}", "init="]
    config = load_config(FinetuneConfig, ROOT / "config/training/pstmo_s_27.yaml", [*small, f"run={tmp_path}"])
    bundle = train(dataclasses.replace(config, out=str(tmp_path / "s.safetensors")))
    # 5 people, 4 cameras, 12 frames, each with its mirror image: 480 windows, 3 batches of 160 an epoch.
    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert state["step"] == 6
    assert state["optimizers"][0]["param_groups"][0]["lr"] == pytest.approx(7e-4 * 0.97**2)
    assert bundle.normalization == "screen"
    assert "Human3.6M" in bundle.metadata["training"]["licence"]


def test_3dhp_trains(tmp_path):
    write_dhp(tmp_path, "train", {"S1 Seq1": [{"0": dhp_arrays()}, 25]})
    write_dhp(tmp_path, "test", {"TS1": dhp_arrays() | {"valid": np.ones(12)}})
    config = _config(tmp_path, dataset="3dhp", data=str(tmp_path), normalization="screen", steps=2)
    assert train(config).metadata["training"]["data"] == "3dhp"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dataset": "h36"}, "dataset is 'h36'.*h36m"),
        ({"dataset": "h36m", "data": "nowhere"}, r"data_3d_h36m\.npz' is not in 'nowhere'"),
        ({"normalization": "screen"}, "virtual cameras give 'rays'"),
        ({"init": "nowhere.safetensors"}, r"^init: 'nowhere\.safetensors' does not exist; make it with"),
        ({"init": "smal"}, "'smal' is neither a file nor a bundled model; did you mean 'small'"),
    ],
)
def test_data_and_weights_that_are_not_there_are_named(settings, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        train(_config(tmp_path, steps=1, **settings))


def test_the_refining_module_starts_from_a_trained_model(tmp_path):
    plain = train(_config(tmp_path / "plain", steps=2))
    model = dataclasses.replace(TINY, refine=True)
    config = _config(tmp_path / "refined", steps=1, model=model, init=str(plain.path), learning_rate=1e-9)
    refined = train(config)
    torch.testing.assert_close(refined.model.head.fc.weight, plain.model.head.fc.weight, atol=1e-6, rtol=0)
    assert refined.config.refine


def test_the_loss_is_equations_8_and_9():
    model = STMO(TINY).eval()
    joints, poses = torch.rand(3, 9, 17, 2), torch.rand(3, 9, 17, 3)
    with torch.no_grad():
        pose, frames = model.forward_all(joints)
        single = (pose - poses[:, 4]).norm(dim=-1).mean()
        multiple = (frames - poses).norm(dim=-1).mean()
        for weight in (0.0, 1.0, 2.5):
            loss, error_mm = StageTwo(model, weight)(joints, poses)
            torch.testing.assert_close(loss, single + weight * multiple)
            torch.testing.assert_close(error_mm, 1000 * single)


def test_windows_are_whole_where_the_paper_has_them_whole(tmp_path):
    config = _config(tmp_path, steps=1, batches=BatchConfig(held=False))
    assert set(train(config).metadata["training"]["validation_mpjpe_mm"]) == {"whole_windows"}


def test_a_step_may_see_some_frames_of_the_window_the_newest_always():
    model = STMO(dataclasses.replace(TINY, mofa=False, dial=True, centred=True))
    joints, poses = torch.rand(3, 9, 17, 2), torch.rand(3, 9, 17, 3)
    seen = set()
    for _ in range(20):
        model.zero_grad()
        StageTwo(model, 1.0, frames_seen=4)(joints, poses)[0].backward()
        frames = model.tem.position.grad[0].abs().amax(1).nonzero().flatten().tolist()  # whose positions are trained
        assert len(frames) == 4
        assert frames[-1] == 8
        seen.update(frames)
    assert seen == set(range(9))
    model.eval()
    with torch.no_grad():
        every_frame, all_of_them = (StageTwo(model, 1.0, frames_seen=n)(joints, poses)[0] for n in (0, 9))
    torch.testing.assert_close(every_frame, all_of_them)


def test_frames_that_cannot_be_left_out_are_refused():
    with pytest.raises(ValueError, match=r"frames_seen is 82; give 0 to model\.frames with model\.dial, 0 without"):
        load_config(FinetuneConfig, ROOT / "config/training/realtime.yaml", ["frames_seen=82"])
    with pytest.raises(ValueError, match="frames_seen is 3"):
        load_config(FinetuneConfig, None, ["frames_seen=3"])


def test_deviations_follow_poses_and_cost_them_nothing():
    model = STMO(dataclasses.replace(TINY, mofa=False, dial=True, uncertainty=True, dropout=0.0))
    joints, poses = torch.rand(3, 9, 17, 2), torch.rand(3, 9, 17, 3)
    gradients = []
    for weight in (0.0, 5.0):
        model.zero_grad()
        StageTwo(model, 1.0, lambda_std=weight)(joints, poses)[0].backward()
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters()})
    for name, gradient in gradients[0].items():
        if "std" not in name:
            torch.testing.assert_close(gradient, gradients[1][name], msg=name)
    assert gradients[1]["head_std.fc.weight"].abs().sum() > 0


def test_a_model_with_the_dial_goes_on_in_another_window(tmp_path):
    coarse = dataclasses.replace(TINY, mofa=False, dial=True, centred=True)
    fine = dataclasses.replace(coarse, frames=27, stride=2)  # the same 0.96 s, every 0.04 s in place of 0.12
    torch.manual_seed(0)
    given = STMO(coarse).eval()
    golden = 0.1 * np.random.default_rng(0).standard_normal((2, 9, 17, 2)).astype(np.float32)
    save_bundle(tmp_path / "coarse.safetensors", given, "rays", {}, golden)
    model = STMO(fine).eval()
    start_from(model, str(tmp_path / "coarse.safetensors"), "rays")
    # Instants that both windows have: every third, counted from the newest.
    torch.testing.assert_close(model.tem.position[:, 2::3], given.tem.position)
    between = (2 * given.tem.position[:, 8] + given.tem.position[:, 7]) / 3
    torch.testing.assert_close(model.tem.position[:, 25], between)
    still = torch.from_numpy(golden[:, -1:])  # somebody who does not move looks the same in both
    with torch.no_grad():
        given.tem.position[:] = model.tem.position[:] = given.tem.position[:, :1].clone()
        poses = model(still.repeat(1, 27, 1, 1))
        torch.testing.assert_close(poses, given(still.repeat(1, 9, 1, 1)), atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match=r"model\.frames=9, this run 27"):
        start_from(STMO(dataclasses.replace(fine, dial=False)), str(tmp_path / "coarse.safetensors"), "rays")


def test_a_model_that_learns_where_down_is_starts_from_one_that_does_not_know(tmp_path):
    plain = dataclasses.replace(TINY, centred=True)
    windows = 0.3 * np.random.default_rng(0).standard_normal((2, plain.frames, 17, 2)).astype(np.float32)
    before = save_bundle(tmp_path / "plain.safetensors", STMO(plain), "rays", {}, windows)
    after = STMO(dataclasses.replace(plain, gravity=True)).eval()
    start_from(after, str(before.path), "rays")
    for down in (None, (0.0, 0.8, 0.6)):
        poses = after(torch.from_numpy(with_down(windows, down)))
        torch.testing.assert_close(poses, torch.from_numpy(before.golden_y), msg="nothing is lost at the start")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["model.gravity=true"], "model.gravity is true and batches.gravity_known is 0.0; set both"),
        (["model.gravity=true", "batches.gravity_known=0.5", "dataset=h36m"], "recordings of h36m do not say where"),
    ],
)
def test_gravity_without_anything_to_learn_it_from_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        load_config(FinetuneConfig, None, changes)
