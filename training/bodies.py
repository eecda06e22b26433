"""Other bodies and poses for the motion of the mocap actors, whole batches at once. B windows, N frames, J = 17."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from pstmo_ros.core import skeleton
from pstmo_ros.core.ranges import Bounds, Range, Settings, Share


def _joints(*names: str) -> list[int]:
    return [skeleton.index(name) for name in names]


_LEFT_ARM, _RIGHT_ARM = (_joints(f"{side}_elbow", f"{side}_wrist") for side in ("left", "right"))
_LEFT_LEG, _RIGHT_LEG = (_joints(f"{side}_knee", f"{side}_ankle") for side in ("left", "right"))
_HEAD = _joints("neck_nose", "head_top")
_UPPER = [*_joints("spine", "thorax", "left_shoulder", "right_shoulder"), *_HEAD, *_LEFT_ARM, *_RIGHT_ARM]
_LEFT_HIP, _RIGHT_HIP = skeleton.index("left_hip"), skeleton.index("right_hip")
# The girdle that a limb hangs from: its left and right end, and the lower and upper end of the spine's part beside it.
_SHOULDERS = _joints("left_shoulder", "right_shoulder", "spine", "thorax")
_HIPS = _joints("left_hip", "right_hip", "pelvis", "spine")
_Factors = Annotated[tuple[float, float], Bounds(0.1, 10)]
_LIMBS = ((_LEFT_ARM, _SHOULDERS), (_RIGHT_ARM, _SHOULDERS), (_LEFT_LEG, _HIPS), (_RIGHT_LEG, _HIPS))


@dataclass(frozen=True)
class BodyConfig(Settings):
    """How bodies and motion vary around the mocap actors."""

    mirror: bool = True
    scale: _Factors = (0.85, 1.2)
    bone: Annotated[float, Range(0, 0.4)] = 0.06  # standard deviation of each left/right pair's length
    hips: _Factors = (0.9, 1.5)  # mocap hips are narrower than other data sets'
    shoulders: _Factors = (0.8, 1.05)
    speed: Annotated[tuple[float, float], Bounds(0, 10)] = (0.75, 1.35)
    mixed: Share = 0.0  # share of windows whose upper body is another clip's
    limbs: Share = 0.0  # share of arms and legs, each for itself, that move as another clip's do


def vary(world: Tensor, config: BodyConfig, generator: torch.Generator | None) -> Tensor:
    """Windows (B, N, 17, 3), metres, z up, with ``config``'s changes; ``speed`` is for who gathers them."""
    b, device = len(world), world.device

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=device)

    world = _mixed(world, config.mixed)
    factor = 1 + config.bone * torch.randn(b, skeleton.J, generator=generator, device=device).clamp(-2, 2)
    for left, right in zip(skeleton.LEFT, skeleton.RIGHT, strict=True):
        factor[:, right] = factor[:, left]
    for pair, bounds in (("hip", config.hips), ("shoulder", config.shoulders)):
        both = [skeleton.index(f"left_{pair}"), skeleton.index(f"right_{pair}")]
        factor[:, both] = bounds[0] + (bounds[1] - bounds[0]) * uniform(b, 1)
    scale = config.scale[0] + (config.scale[1] - config.scale[0]) * uniform(b, 1)
    bones = world - world[:, :, list(skeleton.PARENTS)]  # the root's is not used
    if config.limbs:
        bones = _with_others_limbs(world, bones, uniform(b, len(_LIMBS)) < config.limbs)
    bones = bones * (factor * scale)[:, None, :, None]
    out = [world[:, :, skeleton.ROOT] * scale[:, None]]
    for parent, joint in skeleton.BONES:
        out.append(out[parent] + bones[:, :, joint])
    bodies = torch.stack(out, 2)
    if config.mirror:
        mirrored = bodies[:, :, list(skeleton.MIRROR)] * torch.tensor([-1.0, 1, 1], device=device)
        bodies = torch.where(uniform(b, 1, 1, 1) < 0.5, mirrored, bodies)
    return bodies


def _mixed(world: Tensor, share: float) -> Tensor:
    """A share of windows (B, N, 17, 3) get the next one's upper body, turned frame by frame to their own hips."""
    some = int(share * len(world))  # the order is random: the first are as good as any
    if some == 0:
        return world
    own, other = world[:some], world.roll(-1, 0)[:some]
    offset = other - other[:, :, skeleton.ROOT, None]
    turned = yawed(offset, facing(own) / facing(other)) + own[:, :, skeleton.ROOT, None]
    out = world.clone()
    out[:some, :, _UPPER] = turned[:, :, _UPPER]
    return out


def _with_others_limbs(world: Tensor, bones: Tensor, some: Tensor) -> Tensor:
    """Bones (B, N, 17, 3) of windows (B, N, 17, 3), where ``some`` (B, 4) with the directions of another window's limb.

    A limb keeps its place in the girdle that it hangs from, and its bones keep their own lengths.
    """
    out = bones.clone()
    for k, (limb, girdle) in enumerate(_LIMBS):
        axes = _axes(world, girdle)
        # The order is random: any other window is as good as the next ones, which differ from limb to limb.
        turn = axes @ axes.roll(k + 1, 0).mT
        own, other = bones[:, :, limb], bones.roll(k + 1, 0)[:, :, limb]
        length = own.norm(dim=-1, keepdim=True) / other.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        out[:, :, limb] = torch.where(some[:, k, None, None, None], other @ turn.mT * length, own)
    return out


def _axes(world: Tensor, girdle: list[int]) -> Tensor:
    """Right, forward and up of a girdle of windows (B, N, 17, 3), as columns of rotations (B, N, 3, 3)."""
    left, right, low, high = (world[:, :, joint] for joint in girdle)
    across, up = F.normalize(right - left, dim=-1), high - low
    ahead = F.normalize(torch.linalg.cross(up, across), dim=-1)
    return torch.stack([across, ahead, torch.linalg.cross(across, ahead)], -1)


def facing(joints: Tensor) -> Tensor:
    """The direction of the hip line on the ground, (B, N, 1) complex of length 1, of joints (B, N, 17, 3)."""
    x, y = (joints[:, :, _LEFT_HIP, :2] - joints[:, :, _RIGHT_HIP, :2]).unbind(-1)
    return torch.polar(torch.ones_like(x), torch.atan2(y, x))[..., None]


def yawed(vectors: Tensor, by: Tensor) -> Tensor:
    """Vectors (..., 3) turned about z by complex numbers of length 1."""
    flat = torch.complex(vectors[..., 0], vectors[..., 1]) * by
    return torch.stack([flat.real, flat.imag, vectors[..., 2]], -1)
