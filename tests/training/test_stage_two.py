"""Stage II's loss and validation count the frames that they say, and weights that do not fit are refused."""

import dataclasses

import numpy as np
import pytest
import torch

from pstmo_ros.core.bundle import save_bundle
from pstmo_ros.core.model import STMO
from tests.training.test_finetune import TINY
from training.batches import Batch
from training.finetune import _NEWEST, StageTwo, start_from, validate
from training.metrics import joint_errors_mm, mpjpe_mm


def test_the_dials_share_counts_askable_frames_alone():
    model = STMO(dataclasses.replace(TINY, mofa=False, dial=True)).eval()
    joints, poses = torch.rand(3, 9, 17, 2), torch.rand(3, 9, 17, 3)
    with torch.no_grad():
        errors = joint_errors_mm(model.forward_frames(joints), poses)
        loss, _ = StageTwo(model, lambda_frames=0.0)(joints, poses)
    newest, askable = errors[:, -1].mean(), errors[:, TINY.frames // 2 :].mean()
    torch.testing.assert_close(loss, (_NEWEST * newest + (1 - _NEWEST) * askable) / 1000)


def test_with_the_flip_test_both_sides_are_validated():
    torch.manual_seed(0)
    model = STMO(TINY).eval()
    batch = Batch(torch.rand(3, 9, 17, 2), torch.rand(3, 9, 17, 3))
    with torch.no_grad():
        averaged = mpjpe_mm(model.flip_averaged(batch.joints), batch.poses_m[:, 4])
    assert validate(model, [batch], flip=True) == pytest.approx(averaged)
    assert validate(model, [batch], flip=False) != pytest.approx(averaged)


def test_a_model_that_knows_where_down_is_cannot_start_one_that_is_not_told(tmp_path):
    given = dataclasses.replace(TINY, gravity=True)
    golden = np.zeros((1, TINY.frames, given.points, 2), np.float32)
    path = str(save_bundle(tmp_path / "down.safetensors", STMO(given), "rays", {}, golden).path)
    with pytest.raises(
        ValueError, match=r"init: .*down\.safetensors' has model\.gravity=true.*set model\.gravity=true"
    ):
        start_from(STMO(TINY), path, "rays")
