"""Other bodies for recorded motion: as wide, as tall and as often mirrored as asked, and nothing else changes."""

import dataclasses

import pytest
import torch

from pstmo_ros.core import skeleton
from tests.conftest import walker
from training.bodies import BodyConfig, facing, vary, yawed

SAME = BodyConfig(False, scale=(1, 1), bone=0, hips=(1, 1), shoulders=(1, 1), speed=(1, 1))


@pytest.fixture(scope="module")
def world() -> torch.Tensor:
    """Windows (200, 9, 17, 3) of a walk, z up, each turned its own way."""
    x, y, z = torch.from_numpy(walker(3.0)).unbind(-1)
    walk = torch.stack([x, z, -y], -1)
    starts = torch.randint(len(walk) - 9, (200, 1), generator=torch.Generator().manual_seed(0))
    angle = torch.rand(200, 1, 1, generator=torch.Generator().manual_seed(1)) * 6.28
    return yawed(walk[starts + torch.arange(9)], torch.polar(torch.ones_like(angle), angle))


def _vary(world: torch.Tensor, **settings: object) -> torch.Tensor:
    return vary(world, dataclasses.replace(SAME, **settings), torch.Generator().manual_seed(0))


def _between(world: torch.Tensor, one: str, other: str) -> torch.Tensor:
    return (world[:, :, skeleton.index(one)] - world[:, :, skeleton.index(other)]).norm(dim=-1)


def test_half_of_the_windows_are_mirrored_as_a_whole(world):
    varied = _vary(world, mirror=True)
    mirror = world[:, :, list(skeleton.MIRROR)] * torch.tensor([-1.0, 1, 1])
    same, mirrored = ((varied - x).abs().amax((1, 2, 3)) < 1e-5 for x in (world, mirror))
    assert (same ^ mirrored).all()
    assert mirrored.float().mean().item() == pytest.approx(0.5, abs=0.12)


def _ratio(varied: torch.Tensor, world: torch.Tensor, one: str, other: str) -> torch.Tensor:
    """How much longer a bone has become, (B,), the same in all frames of a window."""
    ratio = _between(varied, one, other) / _between(world, one, other)
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio), atol=1e-4, rtol=0)
    return ratio[:, 0]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(
    ("setting", "joint", "parent"),
    [("hips", "hip", "pelvis"), ("shoulders", "shoulder", "thorax"), ("scale", "ankle", "{side}_knee")],
)
def test_widths_and_size_are_anywhere_within_their_bounds(world, setting, joint, parent, side):
    ratio = _ratio(_vary(world, **{setting: (0.8, 1.2)}), world, f"{side}_{joint}", parent.format(side=side))
    assert ratio.min() == pytest.approx(0.8, abs=0.02)
    assert ratio.max() == pytest.approx(1.2, abs=0.02)


def test_bones_are_longer_or_shorter_and_as_long_on_both_sides(world):
    varied = _vary(world, bone=0.1)
    left, right = (_ratio(varied, world, f"{side}_knee", f"{side}_ankle") for side in ("left", "right"))
    torch.testing.assert_close(left, right, atol=1e-4, rtol=0)
    assert left.mean().item() == pytest.approx(1, abs=0.02)
    assert left.std().item() == pytest.approx(0.1, abs=0.02)


def test_the_upper_body_of_another_clip_is_turned_to_ones_own_hips(world):
    def turned(poses, joint):
        offset = poses[:, :, [skeleton.index(joint)]] - poses[:, :, [skeleton.ROOT]]
        return yawed(offset, facing(poses).conj())

    mixed = _vary(world, mixed=1.0)
    torch.testing.assert_close(turned(mixed, "left_wrist"), turned(world.roll(-1, 0), "left_wrist"), atol=1e-4, rtol=0)
    torch.testing.assert_close(mixed[:, :, skeleton.index("left_knee")], world[:, :, skeleton.index("left_knee")])
