"""Rare poses count for more, whatever way their people face and however large they are."""

import math

import torch

from tests.training.test_batches import SPEC
from training import batches
from training.batches import BatchConfig, WindowSampler
from training.mocap import CMU, load_mocap
from training.rarity import rarity


def _turned(pose, degrees):
    a = math.radians(degrees)
    turn = torch.tensor([[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0], [0, 0, 1]])
    return pose @ turn.T


def _common_and_rare():
    """A pose in ninety frames, in every direction and size, and another in ten."""
    mocap = load_mocap(CMU, "val")
    common, rare = mocap.positions_m[0], mocap.positions_m[0].clone()
    rare[12:14] += torch.tensor([0.3, 0.2, 0.6])  # the left arm up
    poses = [_turned(common, 4 * k) * (0.8 + 0.004 * k) + k for k in range(90)]
    return torch.stack([*poses, *(_turned(rare, 36 * k) for k in range(10))])


def test_a_pose_is_as_rare_as_the_frames_that_show_it(monkeypatch):
    monkeypatch.setattr("training.rarity._KINDS", 2)
    found = rarity(_common_and_rare())
    torch.testing.assert_close(found[90:], 9 * found[:10].mean().expand(10))
    torch.testing.assert_close(found.mean(), torch.tensor(1.0, dtype=torch.float64))


def test_frames_that_are_all_alike_are_equally_rare():
    torch.testing.assert_close(rarity(_common_and_rare()[:1].repeat(50, 1, 1)), torch.ones(50, dtype=torch.float64))


def test_balanced_windows_show_rare_poses_more_often(monkeypatch):
    mocap = load_mocap(CMU, "val")
    rare = torch.ones(len(mocap.positions_m), dtype=torch.float64)
    rare[1000:1010] = 100.0
    monkeypatch.setattr(batches, "rarity", lambda positions_m: rare)
    generator = torch.Generator().manual_seed(0)
    for power, expected in ((0.0, 10 / len(rare)), (1.0, 1000 / (len(rare) + 990)), (0.5, 100 / (len(rare) + 90))):
        sampler = WindowSampler(mocap, SPEC, BatchConfig(balanced=power), generator)
        drawn = sampler._targets(100_000)
        share = ((drawn >= 1000) & (drawn < 1010)).double().mean().item()
        assert abs(share - expected) < 0.15 * expected + 3e-4
