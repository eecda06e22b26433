"""A virtual camera and 2D detector: world motion in, the model's input and target out. Whole batches, on any device.

B windows, N frames, K keypoints a detector might report (the skeleton's joints plus face points), J = 17.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from pstmo_ros.core import layouts, skeleton
from pstmo_ros.core.ranges import Bounds, Range, Settings, Share

_FACE = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")
KEYPOINTS = (*skeleton.JOINTS, "neck", *_FACE)
# Face points in the head's own axes: metres right, forward and up from the base of the skull (adult averages).
_FACE_M = torch.tensor(
    [[0, 0.13, 0.06], [-0.032, 0.10, 0.10], [0.032, 0.10, 0.10], [-0.075, 0.0, 0.085], [0.075, 0.0, 0.085]]
)

HEIGHT_M = 1.7  # whose apparent height DetectorConfig's shares are shares of
# How far off each kind of keypoint is found, relative to a shoulder (after the spread that MotionBERT's noise has).
_DIFFICULTY = {"wrist": 1.6, "elbow": 1.3, "ankle": 1.4, "knee": 1.2, "hip": 1.2, "eye": 0.6, "ear": 0.7, "nose": 0.6}


@dataclass(frozen=True)
class CameraConfig(Settings):
    """Where virtual cameras stand. Angles in degrees, uniform in +-range or between the two bounds given.

    With ``field_of_view_deg`` (of the image's longer side) the image has borders, in landscape or portrait, the root is
    anywhere in it, and what lies beyond is not seen; the pitch then follows from ``height_m`` above the ground and from
    where the root is. Without, there are no borders, and the root is up to ``off_axis`` from the axis, as a ray.
    """

    distance_m: Annotated[tuple[float, float], Bounds(0.3, 1000)] = (1.5, 7.0)
    pitch_deg: Annotated[tuple[float, float], Bounds(-90, 90)] = (-35.0, 15.0)  # negative looks down
    roll_deg: Annotated[float, Range(0, 180)] = 5.0
    off_axis: Annotated[tuple[float, float], Range(0, 10)] = (0.55, 0.30)
    field_of_view_deg: Annotated[tuple[float, ...], Bounds(1, 170)] = ()
    height_m: Annotated[tuple[float, float], Bounds(-100, 100)] = (0.2, 3.0)
    anywhere: Share = 0.0  # share of cameras that see the person from any height, within ``pitch_deg``

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.field_of_view_deg) not in (0, 2):
            raise ValueError(f"field_of_view_deg is {list(self.field_of_view_deg)}; give two bounds or []")


@dataclass(frozen=True)
class DetectorConfig(Settings):
    """Detector noise as shares of the person's apparent height, and how often joints go missing."""

    bias: Share = 0.006  # constant per joint over a window
    drift: Share = 0.006  # correlated over about a third of a second
    jitter: Share = 0.003  # white
    outlier_rate: Share = 0.01
    outlier: Share = 0.05
    hip_offset_m: Annotated[float, Range(0, 1)] = 0.03  # detectors place hips and shoulders differently from mocap
    missing_rate: Share = 0.25  # windows in which some joints are unseen for a while
    legs_missing_rate: Share = 0.05
    layouts: tuple[str, ...] = ("coco_17", "coco_17", "body_25", "halpe_26", "h36m_17")
    by_joint: Annotated[float, Range(0, 1)] = 0.0  # 1: wrists are found less well than faces, as _DIFFICULTY says
    level: Annotated[float, Range(0, 1)] = 0.0  # standard deviation of the log of a window's overall noise
    offset_m: Annotated[float, Range(0, 1)] = 0.0  # as hip_offset_m, for every keypoint: annotators differ
    burst_rate: Share = 0.0  # share of joints that are off for a stretch of the window, by ``burst``
    burst: Share = 0.08
    swap_rate: Share = 0.0  # windows in which left and right of the arms, the legs or both are swapped for a while
    swap_length: Share = 0.25  # the longest such while, as a share of the window
    head: Annotated[float, Range(0, 1)] = 0.0  # standard deviation of the log of the face's size

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            layout_matrices(self.layouts)
        except ValueError as e:
            raise ValueError(f"layouts is {list(self.layouts)}; {e}") from None


def layout_matrices(names: tuple[str, ...]) -> Tensor:
    """For each layout, the (17, K) map from KEYPOINTS to model joints that core.layouts performs on its keypoints."""
    if not names:
        raise ValueError("give at least one layout, as [coco_17]")
    out = []
    for name in names:
        layout = layouts.get(name)
        select = np.array([[float(k == j) for k in KEYPOINTS] for j in layout.joints], np.float32)
        used = layout.weights.any(0)
        if not select[used].any(1).all():
            raise ValueError(f"detector layout {name!r} uses keypoints the virtual detector does not make")
        out.append(layout.weights @ select)
    return torch.from_numpy(np.stack(out))


def keypoints_3d(joints_m: Tensor) -> Tensor:
    """Joints (…, 17, 3) -> every keypoint a detector might report, (…, K, 3), same frame: neck and face are added."""
    at = {n: joints_m[..., i, :] for i, n in enumerate(skeleton.JOINTS)}
    neck = (at["left_shoulder"] + at["right_shoulder"]) / 2
    up = _unit(at["head_top"] - at["thorax"])
    right = at["right_shoulder"] - at["left_shoulder"]
    right = _unit(right - (right * up).sum(-1, keepdim=True) * up)
    forward = torch.linalg.cross(up, right)
    axes = torch.stack([right, forward, up], -2)  # (…, 3, 3)
    face = at["neck_nose"].unsqueeze(-2) + _FACE_M.to(joints_m) @ axes
    return torch.cat([joints_m, neck.unsqueeze(-2), face], -2)


@dataclass(frozen=True)
class Cameras:
    """rotation: camera_from_world (B, 3, 3). root_m: where the root stands in the camera, (B, 3).

    border: the ray of the image's corner, (B, 2); infinite without borders.
    """

    rotation: Tensor
    root_m: Tensor
    border: Tensor


_ROOT_HEIGHT_M = 0.9
_ASPECTS = (9 / 16, 10 / 16, 3 / 4)
_INNER = 0.9  # share of the image in which the root is


def place_cameras(batch: int, config: CameraConfig, generator: torch.Generator | None, device: torch.device) -> Cameras:
    """Random cameras before random people."""

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(batch, generator=generator, device=device) * (high - low) + low

    rad = torch.pi / 180
    yaw, roll = uniform(0, 2 * torch.pi), uniform(-config.roll_deg, config.roll_deg) * rad
    if not config.field_of_view_deg:
        pitch, depth = uniform(*config.pitch_deg) * rad, uniform(*config.distance_m)
        u, v = (uniform(-r, r) for r in config.off_axis)
        border = torch.full((batch, 2), torch.inf, device=device)
    else:
        border = _borders(uniform(*config.field_of_view_deg) * rad, uniform(0, 1), uniform(0, 1))
        u, v = uniform(-_INNER, _INNER) * border[:, 0], uniform(-_INNER, _INNER) * border[:, 1]
        near, far = config.distance_m
        depth = near * (far / near) ** uniform(0, 1)
        elevation = torch.atan2(_ROOT_HEIGHT_M - uniform(*config.height_m), depth)
        low, high = config.pitch_deg
        elevation = torch.where(uniform(0, 1) < config.anywhere, uniform(low * rad, high * rad), elevation)
        pitch = (elevation + v.atan()).clamp(low * rad, high * rad)
        v = (pitch - elevation).tan()
    root = torch.stack([u * depth, v * depth, depth], -1)
    return Cameras(camera_from_world(yaw, pitch, roll), root, border)


def _borders(angle: Tensor, shape: Tensor, turned: Tensor) -> Tensor:
    """Corner rays (B, 2) of images whose longer side spans ``angle``; a third of them portrait."""
    longer = (angle / 2).tan()
    aspects = torch.tensor(_ASPECTS, device=angle.device)
    shorter = longer * aspects[(shape * len(_ASPECTS)).long().clamp(max=len(_ASPECTS) - 1)]
    portrait = (turned < 1 / 3)[:, None]
    return torch.where(portrait, torch.stack([shorter, longer], -1), torch.stack([longer, shorter], -1))


def camera_from_world(yaw: Tensor, pitch: Tensor, roll: Tensor) -> Tensor:
    """Rotations (B, 3, 3) taking a z-up world to camera optical axes; positive pitch looks up."""
    zero, one = torch.zeros_like(yaw), torch.ones_like(yaw)

    def matrix(rows: list[list[Tensor]]) -> Tensor:
        return torch.stack([torch.stack(r, -1) for r in rows], -2)

    level = matrix([[yaw.cos(), yaw.sin(), zero], [zero, zero, -one], [-yaw.sin(), yaw.cos(), zero]])
    tilt = matrix([[one, zero, zero], [zero, pitch.cos(), pitch.sin()], [zero, -pitch.sin(), pitch.cos()]])
    turn = matrix([[roll.cos(), -roll.sin(), zero], [roll.sin(), roll.cos(), zero], [zero, zero, one]])
    return turn @ tilt @ level


def detect(
    keypoints_m: Tensor, config: DetectorConfig, step_s: float, generator: torch.Generator | None = None
) -> Tensor:
    """Project and disturb: keypoints (B, N, K, 3) in the camera, frames ``step_s`` apart -> noisy rays (B, N, K, 2)."""
    b, n, k, _ = keypoints_m.shape
    device = keypoints_m.device

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device=device)

    offset = config.offset_m * normal(b, 1, k, 3) if config.offset_m else torch.zeros(b, 1, k, 3, device=device)
    torso = [i for i, name in enumerate(KEYPOINTS) if name.endswith(("hip", "shoulder")) or name in _FACE]
    offset[:, :, torso] = config.hip_offset_m * normal(b, 1, len(torso), 3)
    if config.head:
        keypoints_m = _with_other_heads(keypoints_m, (config.head * normal(b, 1, 1, 1)).exp())
    points = keypoints_m + offset
    depth = points[..., 2:].clamp(min=0.3)
    rays = points[..., :2] / depth
    if config.swap_rate:
        rays = _swapped(rays, config, generator)

    size = HEIGHT_M / depth.mean((1, 2), keepdim=True)  # (B, 1, 1, 1): apparent height as a ray
    if config.level:
        size = size * (config.level * normal(b, 1, 1, 1)).exp()
    keep = 1 - min(1.0, step_s / 0.33)
    drift = normal(b, n, k, 2)
    for i in range(1, n):
        drift[:, i] = keep * drift[:, i - 1] + (1 - keep**2) ** 0.5 * drift[:, i]
    outlier = (torch.rand(b, n, k, 1, generator=generator, device=device) < config.outlier_rate) * config.outlier
    noise = config.bias * normal(b, 1, k, 2) + config.drift * drift + (config.jitter + outlier) * normal(b, n, k, 2)
    if config.by_joint:
        factors = [_DIFFICULTY.get(name.rpartition("_")[2], 1.0) ** config.by_joint for name in KEYPOINTS]
        noise = noise * torch.tensor(factors, device=device)[:, None]
    if config.burst_rate:
        some = torch.rand(b, 1, k, 1, generator=generator, device=device) < config.burst_rate
        noise = noise + config.burst * normal(b, 1, k, 2) * (
            some & _stretch(b, n, k, 0.25, generator, device)[..., None]
        )
    return rays + size * noise


def _with_other_heads(keypoints_m: Tensor, size: Tensor) -> Tensor:
    """Keypoints (B, N, K, 3) with the face points (B, 1, 1, 1) times as far from the base of the skull."""
    face = [KEYPOINTS.index(name) for name in _FACE]
    base = keypoints_m[:, :, skeleton.index("neck_nose"), None]
    out = keypoints_m.clone()
    out[:, :, face] = base + (keypoints_m[:, :, face] - base) * size
    return out


def _swapped(rays: Tensor, config: DetectorConfig, generator: torch.Generator | None) -> Tensor:
    """Rays (B, N, K, 2) with left and right of the arms, the legs or both swapped for a while in some windows."""
    b, n = rays.shape[:2]
    mirrored = [KEYPOINTS.index(skeleton.mirrored_name(name)) for name in KEYPOINTS]
    legs = torch.tensor([name.endswith(skeleton.LEG) for name in KEYPOINTS], device=rays.device)
    which = torch.randint(3, (b, 1, 1), generator=generator, device=rays.device)
    part = torch.where(which == 0, legs, torch.where(which == 1, ~legs, True))
    some = torch.rand(b, 1, 1, generator=generator, device=rays.device) < config.swap_rate
    swap = some & part & _stretch(b, n, 1, config.swap_length, generator, rays.device)
    return torch.where(swap[..., None], rays[:, :, mirrored], rays)


def _stretch(b: int, n: int, k: int, longest: float, generator: torch.Generator | None, device: torch.device) -> Tensor:
    """A stretch of up to the share ``longest`` of the frames, (B, N, K) bool."""
    at = torch.rand(b, 1, k, generator=generator, device=device) * n
    length = torch.rand(b, 1, k, generator=generator, device=device) * n * longest + 1
    frames = torch.arange(n, device=device)[:, None]
    return (frames >= at - length / 2) & (frames < at + length / 2)


def drop_joints(joints: Tensor, config: DetectorConfig, generator: torch.Generator | None = None) -> Tensor:
    """Hide joints (B, N, 17, 2) as occlusion does: a few for a stretch of time, or the legs throughout; NaN."""
    b, n = joints.shape[:2]
    device = joints.device

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=device)

    share = uniform(b, 1, 1) * 0.4
    some = uniform(b, 1, skeleton.J) < share
    frames = torch.arange(n, device=device)
    first = (uniform(b, 1) * n * 1.5 - n * 0.5).long()
    stretch = (frames >= first) & (frames < first + (uniform(b, 1) * n).long() + 1)  # (B, N)
    hidden = some & stretch[..., None] & (uniform(b, 1, 1) < config.missing_rate)
    legs = [i for i, name in enumerate(skeleton.JOINTS) if name.endswith(("knee", "ankle"))]
    hidden[..., legs] |= uniform(b, 1, 1) < config.legs_missing_rate
    return torch.where(hidden[..., None], torch.nan, joints)


def _unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True).clamp(min=1e-6)
