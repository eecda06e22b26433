"""Fidelity to the published model is tested in tests/training/test_import_official.py."""

import numpy as np
import pytest
import torch

from pstmo_ros.core import gravity, skeleton
from pstmo_ros.core.encoder import Attention, Dropout
from pstmo_ros.core.model import STMO, flipped
from pstmo_ros.core.model_config import ModelConfig
from pstmo_ros.core.refine import Refine, root_position
from tests.conftest import walker


@pytest.fixture(scope="module")
def centred() -> STMO:
    torch.manual_seed(1)
    return STMO(ModelConfig(frames=9, stride=3, dim=32, heads=4, depth=1, centred=True)).eval()


def _rays(shift=(0.0, 0.0, 0.0), scale=1.0) -> torch.Tensor:
    points = walker(0.54)[::3][:9] * scale + np.array(shift, np.float32)
    return torch.from_numpy(points[..., :2] / points[..., 2:])[None].float()


@pytest.mark.parametrize("frames", [9, 27, 81])
def test_shapes(frames):
    model = STMO(ModelConfig(frames=frames, dim=32, heads=4, depth=1)).eval()
    pose, all_frames = model.forward_all(torch.zeros(2, frames, 17, 2))
    assert pose.shape == (2, 17, 3)
    assert all_frames.shape == (2, frames, 17, 3)


@pytest.mark.parametrize("frames", [0, 1, 10, 26])
def test_windows_mofa_cannot_reduce_are_refused(frames):
    with pytest.raises(ValueError, match="27, 81, 243"):
        ModelConfig(frames=frames)


def test_unknown_setting_is_refused():
    with pytest.raises(ValueError, match="widht"):
        ModelConfig.from_dict({"widht": 3})


def test_a_missing_joint_is_the_learned_embedding_not_zero(centred):
    x = _rays()
    x[:, :, 5] = torch.nan
    with torch.no_grad():
        before = centred(x)
        centred.missing_joint += 0.5
        after = centred(x)
        centred.missing_joint -= 0.5
    assert torch.isfinite(before).all()
    assert (before - after).abs().max() > 1e-4


def test_a_person_nobody_saw_still_gives_numbers(centred):
    with torch.no_grad():
        assert torch.isfinite(centred(torch.full((1, 9, 17, 2), torch.nan))).all()


def test_centred_model_does_not_care_how_large_a_person_appears(centred):
    """Same directions from the camera, everything twice as far and twice as big: the same rays, the same pose."""
    with torch.no_grad():
        np.testing.assert_allclose(centred(_rays()), centred(_rays(scale=2.0)), atol=1e-5)


def test_centred_model_turns_with_the_camera(centred):
    """Rotating the camera about its centre rotates the answer with it, and changes nothing else."""
    angle = 0.4
    turn = torch.tensor(
        [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]], dtype=torch.float
    )
    points = torch.from_numpy(walker(0.54)[::3][:9])[None] @ turn.T
    turned = points[..., :2] / points[..., 2:]
    with torch.no_grad():
        straight, sideways = centred(_rays()), centred(turned)
    bones = (straight[:, 1:] - straight[:, :-1]).norm(dim=-1), (sideways[:, 1:] - sideways[:, :-1]).norm(dim=-1)
    np.testing.assert_allclose(*bones, rtol=0.1, atol=5e-3)


VARIANTS = [
    {"sem": "fc"},
    {"sem": "transformer", "dim": 136},
    {"sem_blocks": 3},
    {"tem": False},
    {"mofa": False},
    {"tem": False, "mofa": False},
    {"refine": True},
]


@pytest.mark.parametrize("settings", VARIANTS, ids=str)
def test_every_variant_learns_with_all_its_parts(settings):
    """Each parameter gets a gradient, but for what only a missing joint or the multi-frame loss would touch."""
    torch.manual_seed(0)
    model = STMO(ModelConfig(**({"frames": 9, "dim": 32, "heads": 4, "depth": 1, "dropout": 0.0} | settings)))
    x = torch.rand(4, 9, 17, 2) - 0.5
    x[:, :, 3] = torch.nan
    pose, frames = model.forward_all(x)
    assert pose.shape == (4, 17, 3)
    assert frames.shape == (4, 9, 17, 3)
    (pose.square().mean() + frames.square().mean()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_without_mofa_and_tem_only_the_target_frame_counts():
    model = STMO(ModelConfig(frames=9, dim=32, heads=4, tem=False, mofa=False)).eval()
    x = torch.rand(1, 9, 17, 2)
    other = x.clone()
    other[:, :4], other[:, 5:] = 0.3, -0.2
    with torch.no_grad():
        torch.testing.assert_close(model(x), model(other))


def test_settings_of_the_first_release_make_the_same_model():
    """Model files of format version 1 may lack newer settings."""
    old = {"frames": 27, "stride": 3, "rate_hz": 50.0, "depth": 3, "dim": 256, "heads": 8, "dropout": 0.1}
    assert ModelConfig.from_dict(old | {"centred": False}) == ModelConfig()
    names = STMO(ModelConfig()).state_dict()
    assert {"sem.block_1.weight", "sem.block_norm_2.running_mean", "sem.fc_2.bias", "missing_joint"} <= set(names)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sem": "mpl"}, "mlp"),
        ({"sem_blocks": 0}, "sem_blocks is 0"),
        ({"sem": "transformer", "dim": 256}, "a multiple of 136"),
        ({"refine": True, "centred": True}, "leave one out"),
        ({"dim": 100}, "not a multiple of heads"),
    ],
)
def test_variants_that_cannot_be_built_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig(**settings)


def _person(shift=(0.3, -0.1, 4.0)):
    points = torch.from_numpy(walker(0.54)[:3]).float()
    pose = points - points[:, :1]
    placed = pose + torch.tensor(shift)
    return pose, placed[..., :2] / placed[..., 2:], torch.tensor(shift)


def test_refining_finds_the_person_and_leaves_a_pose_that_fits_its_image_alone():
    torch.manual_seed(0)
    pose, rays, shift = _person()
    torch.testing.assert_close(root_position(pose, rays), shift.expand(3, 3), atol=1e-3, rtol=0)
    with torch.no_grad():
        torch.testing.assert_close(Refine().eval()(pose, rays), pose, atol=2e-3, rtol=0)


def test_refining_pulls_a_pose_towards_its_image_and_keeps_depth():
    torch.manual_seed(0)
    pose, rays, _ = _person()
    wrong = pose.clone()
    wrong[:, 13, 0] += 0.3
    with torch.no_grad():
        refined = Refine().eval()(wrong, rays)
    torch.testing.assert_close(refined[..., 2], wrong[..., 2])
    assert ((refined - pose)[:, 13, 0].abs() < 0.25).all()


def test_refining_leaves_unseen_joints_where_they_are():
    torch.manual_seed(0)
    pose, rays, _ = _person()
    rays[:, 5] = torch.nan
    rays[0] = torch.nan
    with torch.no_grad():
        refined = Refine().eval()(pose + 0.05 * torch.randn_like(pose), rays)
        torch.testing.assert_close(Refine().eval()(pose, rays)[0], pose[0])
    assert torch.isfinite(refined).all()


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_dropout_drops_its_share_keeps_the_mean_and_draws_anew(rate):
    torch.manual_seed(0)
    drop, x = Dropout(rate), torch.ones(1000, 333)
    y = drop(x)
    assert (y == 0).float().mean().item() == pytest.approx(rate, abs=0.005)
    assert y.mean().item() == pytest.approx(1, abs=0.005)
    assert (y == 0).float().std(0).min() > 0.2  # every column has its turn
    assert not torch.equal(y, drop(x))
    assert torch.equal(drop.eval()(x), x)


@pytest.fixture(scope="module")
def dial() -> STMO:
    torch.manual_seed(2)
    config = ModelConfig(9, 3, dim=32, heads=4, depth=1, mofa=False, centred=True, dial=True, uncertainty=True)
    return STMO(config).eval()


def test_one_set_of_weights_answers_for_every_look_ahead(dial):
    with torch.no_grad():
        newest, frames = dial.forward_all(_rays())
        assert newest.shape == (1, 17, 4)
        for k in range(5):
            asked = dial.at(k * 0.06)
            assert asked.config.window.target == 8 - k
            torch.testing.assert_close(asked(_rays()), frames[:, 8 - k])
    torch.testing.assert_close(newest, frames[:, 8])
    assert (frames[:, 8] - frames[:, 4]).abs().max() > 1e-3


@pytest.mark.parametrize("look_ahead_s", [-0.1, 0.25])
def test_a_look_ahead_beyond_the_window_is_refused(dial, look_ahead_s):
    with pytest.raises(ValueError, match=f"look_ahead_s is {look_ahead_s}; .* takes 0 to 0.24"):
        dial.at(look_ahead_s)


def test_between_two_frames_of_the_grid_the_look_ahead_is_rounded_down(dial):
    assert dial.at(0.11).config.look_ahead_frames == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dial": True}, "dial is on with mofa"),
        ({"look_ahead_frames": 1}, "look_ahead_frames is 1; give 0 to 13 with dial, 0 without"),
        ({"uncertainty": True, "refine": True}, "uncertainty and refine"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig(**settings)


def test_deviations_are_positive_and_turning_the_camera_leaves_them_alone(dial):
    with torch.no_grad():
        ahead, aside = dial(_rays()), dial(_rays(shift=(1.0, 0.3, 0.0)))
    assert (ahead[..., 3] > 0).all()
    assert (aside[..., 3] > 0).all()


def test_attention_that_drops_shares_keeps_its_mean():
    """Training on a CPU has its own way of dropping: on average it is what the model gives afterwards."""
    torch.manual_seed(0)
    attention, x = Attention(32, 4, 0.25), torch.randn(1, 9, 32)
    with torch.no_grad():
        whole, dropped = attention.eval()(x), attention.train()(x.expand(20_000, -1, -1))
    assert (dropped[0] - dropped[1]).abs().max() > 0.01
    torch.testing.assert_close(dropped.mean(0, keepdim=True), whole, atol=0.005, rtol=0)


def test_coordinates_are_not_rounded_in_bf16():
    torch.manual_seed(0)
    model = STMO(ModelConfig(9, 1, dim=32, heads=4, depth=1, centred=True)).eval()
    small_and_aside = 0.5 + 0.01 * torch.randn(4, 9, 17, 2)  # bf16 there goes in steps of 0.004
    with torch.no_grad():
        exact = model(small_and_aside)
        with torch.autocast("cpu", torch.bfloat16):
            found = model(small_and_aside)
    assert (found - exact).norm() < 0.02 * exact.norm()


def test_the_mean_with_the_mirror_image_does_not_know_left_from_right():
    """Section 4.2's test-time flip; in a mirror down leans the other way, and deviations change sides."""
    torch.manual_seed(0)
    config = ModelConfig(
        frames=9, dim=32, heads=4, depth=1, mofa=False, dial=True, uncertainty=True, gravity=True, mirrored=True
    )
    model, points = STMO(config).eval(), (*skeleton.MIRROR, skeleton.J)
    x = torch.cat([_rays().repeat(2, 1, 1, 1), gravity.to_point(torch.tensor([0.6, 0.8, 0.0])).expand(2, 9, 1, 2)], 2)
    with torch.no_grad():
        once, mirrored, plain = model(x), model(flipped(x, points)), model.forward_frames(x)[:, -1]
    assert once.shape == (2, 17, 4)
    torch.testing.assert_close(mirrored, flipped(once, skeleton.MIRROR))
    assert (once - plain).abs().max() > 1e-3


def test_deviations_stay_finite_whatever_the_head_says():
    model = STMO(ModelConfig(9, 1, dim=32, heads=4, depth=1, mofa=False, dial=True, uncertainty=True)).eval()
    with torch.no_grad():
        for value in (1000.0, -1000.0):
            model.head_std.fc.bias.fill_(value)
            std = model(torch.zeros(1, 9, 17, 2))[..., 3]
            assert torch.isfinite(std).all()
            assert (std > 0).all()
