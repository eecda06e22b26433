"""Fidelity to the published model is tested in tests/training/test_import_official.py."""

import numpy as np
import pytest
import torch

from pstmo_ros.core.model import STMO, ModelConfig
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
