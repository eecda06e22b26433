"""Stage I: what is hidden stays hidden, what is learned reaches Stage II. Parity is in test_import_official.py."""

import dataclasses

import pytest
import torch

from pstmo_ros.core.model import STMO
from pstmo_ros.core.model_config import ModelConfig
from training.mpm import (
    MaskedPoseModel,
    MaskingConfig,
    draw_masks,
    load_stage_one,
    recovery_error,
    save_stage_one,
    take_encoder,
)

TINY = ModelConfig(frames=27, dim=32, heads=4, depth=2, dropout=0.0)
B, N = 3, TINY.frames


@pytest.fixture
def model() -> MaskedPoseModel:
    torch.manual_seed(0)
    return MaskedPoseModel(TINY).eval()


def _joints(seed: int = 0) -> torch.Tensor:
    return torch.rand(B, N, 17, 2, generator=torch.Generator().manual_seed(seed)) - 0.5


def _masks(config: MaskingConfig, batch: int = B, seed: int = 0):
    return draw_masks(batch, N, config, torch.Generator().manual_seed(seed), "cpu")


@pytest.mark.parametrize(
    ("masking", "visible", "hidden"),
    [
        (MaskingConfig(0.9, 0), 3, 0),  # temporal: floor(27 x 0.9) = 24 frames hidden
        (MaskingConfig(0.0, 7), 27, 7),  # spatial
        (MaskingConfig(0.8, 2), 6, 2),  # both
    ],
)
def test_the_three_strategies_hide_as_many_as_asked(masking, visible, hidden):
    masks = _masks(masking, batch=50)
    assert masks.visible.shape == (50, visible)
    assert (masks.hidden.sum(2) == hidden).all()
    assert (masks.visible.diff(dim=1) > 0).all()  # in order, no frame twice
    assert masks.visible.min() >= 0
    assert masks.visible.max() < N


def test_every_window_and_every_frame_has_its_own_mask_and_every_joint_its_turn():
    masks = _masks(MaskingConfig(0.5, 2), batch=200)
    assert len({tuple(v) for v in masks.visible.tolist()}) > 150
    assert (masks.hidden[:, 0] != masks.hidden[:, 1]).any()
    share = masks.hidden.float().mean((0, 1))
    assert (share - 2 / 17).abs().max() < 0.03
    assert len(masks.visible.unique()) == N


@pytest.mark.parametrize("values", [{"temporal": 1.0}, {"temporal": -0.1}, {"spatial": 17}, {"spatial": -1}])
def test_masks_that_leave_nothing_are_refused(values):
    with pytest.raises(ValueError, match=f"{next(iter(values))} is"):
        MaskingConfig(**values)


def test_the_encoder_sees_nothing_that_is_masked(model):
    """Changing masked frames and joints, even to nonsense, changes nothing; changing a visible joint does."""
    joints, masks = _joints(), _masks(MaskingConfig(0.8, 2))
    frame = torch.zeros(B, N, dtype=torch.bool).scatter(1, masks.visible, True)
    seen = torch.zeros(B, N, 17, dtype=torch.bool).scatter(
        1, masks.visible[..., None].expand(-1, -1, 17), ~masks.hidden
    )
    assert seen.sum() == frame.sum() * 15
    with torch.no_grad():
        plain = model(joints, masks)
        torch.testing.assert_close(model(torch.where(seen[..., None], joints, 1e3), masks), plain)
        touched = model(torch.where(seen[..., None], joints + 0.1, joints), masks)
    assert (touched - plain).abs().max() > 1e-3


def test_the_decoder_knows_where_the_masked_frames_belong(model):
    masks = _masks(MaskingConfig(0.8, 0))
    with torch.no_grad():
        recovered = model(_joints(), masks)
    hidden = [i for i in range(N) if i not in masks.visible[0].tolist()]
    assert recovered.shape == (B, N, 17, 2)
    assert (recovered[0, hidden[0]] - recovered[0, hidden[-1]]).abs().max() > 1e-4


def test_joints_that_the_detector_missed_are_neither_fed_nor_asked_for(model):
    joints, masks = _joints(), _masks(MaskingConfig(0.0, 0))
    joints[:, :, 4] = torch.nan
    error = recovery_error(model(joints, masks), joints)
    error.backward()
    assert torch.isfinite(error)
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())
    perfect = torch.nan_to_num(joints)
    assert recovery_error(perfect, joints) == 0
    perfect[:, :, 4] += 9
    assert recovery_error(perfect, joints) == 0
    perfect[:, :, 5] += torch.tensor([0.3, 0.4])
    assert recovery_error(perfect, joints).item() == pytest.approx(0.5 / 16)


def test_stage_two_starts_from_stage_ones_encoder(model, tmp_path):
    path = tmp_path / "stage_one.safetensors"
    save_stage_one(path, model, "rays", {"data": "none"})
    stmo = STMO(dataclasses.replace(TINY, stride=9)).eval()
    head = stmo.head.fc.weight.clone()
    take_encoder(stmo, path, "rays")
    joints = _joints()
    everything = _masks(MaskingConfig(0.0, 0))
    with torch.no_grad():
        torch.testing.assert_close(stmo.encode(joints)[0], model.encode(joints, everything))
    torch.testing.assert_close(stmo.head.fc.weight, head)


def test_a_stage_one_checkpoint_keeps_its_decoder(model, tmp_path):
    deeper = MaskedPoseModel(TINY, decoder_depth=3).eval()
    save_stage_one(tmp_path / "s.safetensors", deeper, "rays", {})
    loaded, metadata = load_stage_one(tmp_path / "s.safetensors")
    masks = _masks(MaskingConfig())
    with torch.no_grad():
        torch.testing.assert_close(loaded(_joints(), masks), deeper(_joints(), masks))
    assert metadata["decoder_depth"] == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [({"depth": 3}, "model.depth=2, this run 3"), ({"frames": 9}, "model.frames=27, this run 9"), ({}, "'rays'")],
)
def test_an_encoder_that_does_not_fit_is_named(model, change, message, tmp_path):
    path = tmp_path / "stage_one.safetensors"
    save_stage_one(path, model, "rays", {})
    with pytest.raises(ValueError, match=message):
        take_encoder(STMO(dataclasses.replace(TINY, **change)), path, "rays" if change else "screen")


def test_files_that_are_no_stage_one_checkpoint_are_named(bundle, tmp_path):
    with pytest.raises(ValueError, match="does not exist; make one"):
        load_stage_one(tmp_path / "nowhere.safetensors")
    with pytest.raises(ValueError, match="not a Stage I checkpoint"):
        load_stage_one(bundle.path)
    (tmp_path / "cut.safetensors").write_bytes(bundle.path.read_bytes()[:500])
    with pytest.raises(ValueError, match="not a readable safetensors"):
        load_stage_one(tmp_path / "cut.safetensors")


def test_without_tem_there_is_nothing_to_pre_train():
    with pytest.raises(ValueError, match=r"model\.tem"):
        MaskedPoseModel(dataclasses.replace(TINY, tem=False))
