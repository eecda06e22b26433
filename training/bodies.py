"""Other bodies and poses for the motion of the mocap actors, whole batches at once. B windows, N frames, J = 17."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pstmo_ros.core import skeleton


def _joints(*names: str) -> list[int]:
    return [skeleton.index(name) for name in names]


_LEFT_ARM, _RIGHT_ARM = (_joints(f"{side}_elbow", f"{side}_wrist") for side in ("left", "right"))
_LEFT_LEG, _RIGHT_LEG = (_joints(f"{side}_knee", f"{side}_ankle") for side in ("left", "right"))
_HEAD = _joints("neck_nose", "head_top")
_UPPER = [*_joints("spine", "thorax", "left_shoulder", "right_shoulder"), *_HEAD, *_LEFT_ARM, *_RIGHT_ARM]
# The joints that move when one is turned where it begins, a part before those that hang from it.
_PARTS = (_UPPER, _HEAD, _LEFT_ARM, _RIGHT_ARM, _LEFT_LEG, _RIGHT_LEG)
_LEFT_HIP, _RIGHT_HIP = skeleton.index("left_hip"), skeleton.index("right_hip")


@dataclass(frozen=True)
class BodyConfig:
    """How bodies and motion vary around the mocap actors."""

    mirror: bool = True
    scale: tuple[float, float] = (0.85, 1.2)
    bone: float = 0.06  # standard deviation of each left/right pair's length
    hips: tuple[float, float] = (0.9, 1.5)  # mocap hips are narrower than other data sets'
    shoulders: tuple[float, float] = (0.8, 1.05)
    speed: tuple[float, float] = (0.75, 1.35)
    mixed: float = 0.0  # share of windows whose upper body is another clip's
    turned_deg: float = 0.0  # standard deviation of a constant turn of trunk, head, arms and legs, about each axis


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
    if config.turned_deg:
        turns = math.radians(config.turned_deg) * torch.randn(b, len(_PARTS), 3, generator=generator, device=device)
        bones = _turned(bones, turns)
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
    own, other = world[:some], world[1 : some + 1]
    offset = other - other[:, :, skeleton.ROOT, None]
    turned = _yawed(offset, _facing(own) / _facing(other)) + own[:, :, skeleton.ROOT, None]
    out = world.clone()
    out[:some, :, _UPPER] = turned[:, :, _UPPER]
    return out


def _turned(bones: Tensor, turns: Tensor) -> Tensor:
    """Bones (B, N, 17, 3), from each joint's parent, with their parts turned as the hips face them.

    turns: rotation vectors (B, parts, 3), the same throughout a window. Knees and elbows bend as they did.
    """
    identity = torch.eye(3, device=bones.device)
    rotations = torch.linalg.matrix_exp(torch.linalg.cross(turns[..., None, :], identity.expand(*turns.shape, 3)))
    of_joint = identity.repeat(len(bones), skeleton.J, 1, 1)
    for k, part in enumerate(_PARTS):
        of_joint[:, part] = of_joint[:, part] @ rotations[:, k, None]
    facing = _facing(bones)
    ahead = _yawed(bones, facing.conj())
    return _yawed(torch.einsum("bjxy,bnjy->bnjx", of_joint, ahead), facing)


def _facing(joints: Tensor) -> Tensor:
    """The direction of the hip line on the ground, (B, N, 1) complex of length 1, of joints (B, N, 17, 3)."""
    x, y = (joints[:, :, _LEFT_HIP, :2] - joints[:, :, _RIGHT_HIP, :2]).unbind(-1)
    return torch.polar(torch.ones_like(x), torch.atan2(y, x))[..., None]


def _yawed(vectors: Tensor, by: Tensor) -> Tensor:
    """Vectors (..., 3) turned about z by complex numbers of length 1."""
    flat = torch.complex(vectors[..., 0], vectors[..., 1]) * by
    return torch.stack([flat.real, flat.imag, vectors[..., 2]], -1)
