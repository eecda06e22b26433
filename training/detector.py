"""A virtual camera and 2D detector: world motion in, the model's input and target out. Whole batches, on any device.

B windows, N frames, K keypoints a detector might report (the skeleton's joints plus face points), J = 17.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pstmo_ros.core import layouts, skeleton

_FACE = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")
KEYPOINTS = (*skeleton.JOINTS, "neck", *_FACE)
# Face points in the head's own axes: metres right, forward and up from the base of the skull (adult averages).
_FACE_M = torch.tensor(
    [[0, 0.13, 0.06], [-0.032, 0.10, 0.10], [0.032, 0.10, 0.10], [-0.075, 0.0, 0.085], [0.075, 0.0, 0.085]]
)


@dataclass(frozen=True)
class CameraConfig:
    """Where virtual cameras stand. Angles in degrees, uniform in +-range or between the two bounds given."""

    distance_m: tuple[float, float] = (1.5, 7.0)
    pitch_deg: tuple[float, float] = (-35.0, 15.0)  # negative looks down
    roll_deg: float = 5.0
    off_axis: tuple[float, float] = (0.55, 0.30)  # how far from the optical axis the person may be, as a ray


@dataclass(frozen=True)
class DetectorConfig:
    """Detector noise as shares of the person's apparent height, and how often joints go missing."""

    bias: float = 0.006  # constant per joint over a window
    drift: float = 0.006  # correlated over about a third of a second
    jitter: float = 0.003  # white
    outlier_rate: float = 0.01
    outlier: float = 0.05
    hip_offset_m: float = 0.03  # detectors place hips and shoulders differently from mocap
    missing_rate: float = 0.25  # windows in which some joints are unseen for a while
    legs_missing_rate: float = 0.05
    layouts: tuple[str, ...] = ("coco_17", "coco_17", "body_25", "halpe_26", "h36m_17")


def layout_matrices(names: tuple[str, ...]) -> Tensor:
    """For each layout, the (17, K) map from KEYPOINTS to model joints that core.layouts performs on its keypoints."""
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


def place_cameras(
    batch: int, config: CameraConfig, generator: torch.Generator | None, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Random cameras: rotations camera_from_world (B, 3, 3) and where the root stands in the camera, (B, 3) m."""

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(batch, generator=generator, device=device) * (high - low) + low

    rad = torch.pi / 180
    yaw = uniform(0, 2 * torch.pi)
    pitch, roll = uniform(*config.pitch_deg) * rad, uniform(-config.roll_deg, config.roll_deg) * rad
    rotation = camera_from_world(yaw, pitch, roll)
    depth = uniform(*config.distance_m)
    u, v = (uniform(-r, r) for r in config.off_axis)
    return rotation, torch.stack([u * depth, v * depth, depth], -1)


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

    offset = torch.zeros(b, 1, k, 3, device=device)
    torso = [i for i, name in enumerate(KEYPOINTS) if name.endswith(("hip", "shoulder")) or name in _FACE]
    offset[:, :, torso] = config.hip_offset_m * normal(b, 1, len(torso), 3)
    points = keypoints_m + offset
    depth = points[..., 2:].clamp(min=0.3)
    rays = points[..., :2] / depth

    size = 1.7 / depth.mean((1, 2), keepdim=True)  # (B, 1, 1, 1): apparent height as a ray
    keep = 1 - min(1.0, step_s / 0.33)
    drift = normal(b, n, k, 2)
    for i in range(1, n):
        drift[:, i] = keep * drift[:, i - 1] + (1 - keep**2) ** 0.5 * drift[:, i]
    outlier = (torch.rand(b, n, k, 1, generator=generator, device=device) < config.outlier_rate) * config.outlier
    noise = config.bias * normal(b, 1, k, 2) + config.drift * drift + (config.jitter + outlier) * normal(b, n, k, 2)
    return rays + size * noise


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
