"""Training windows by the batch: gathered by index, then bodies, cameras and the detector vary; nothing per sample.

The whole data set stays in the device's memory. B windows, N frames of the model's time grid, J = 17.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from pstmo_ros.core import gravity, skeleton
from pstmo_ros.core.ranges import Range, Settings, Share
from pstmo_ros.core.window import WindowSpec
from training.bodies import BodyConfig, vary
from training.detector import (
    CameraConfig,
    DetectorConfig,
    detect,
    drop_joints,
    keypoints_3d,
    layout_matrices,
    place_cameras,
)
from training.mocap import Mocap
from training.rarity import rarity
from training.visibility import Visibility, VisibilityConfig, bridge

_NEAREST_M = 0.1  # a keypoint behind the camera, or at it, is not in the image


@dataclass(frozen=True)
class BatchConfig(Settings):
    """balanced: frames are drawn by their pose's rarity to this power; 0: all alike, 1: all kinds of poses alike.
    held: windows as a live node meets them, frames beyond a random look-ahead held; False: whole, as the paper's.

    zero_look_ahead: with ``held``, the share of windows whose future is held from the target frame on.
    gravity_known: with the model's ``gravity``, the share of windows that know where down is, to ``gravity_deg``.
    bridged: joints go missing as ``visibility`` says and gaps are bridged as by the node; False: as ``detector`` says.
    """

    body: BodyConfig = field(default_factory=BodyConfig)
    camera: CameraConfig = field(default_factory=CameraConfig)
    detector: DetectorConfig = field(default_factory=DetectorConfig)
    balanced: Annotated[float, Range(0, 1)] = 0.0
    zero_look_ahead: Share = 0.4
    held: bool = True
    bridged: bool = False
    visibility: VisibilityConfig = field(default_factory=VisibilityConfig)
    gravity_known: Share = 0.0
    gravity_deg: Annotated[float, Range(0, 90)] = 2.0


@dataclass(frozen=True)
class Batch:
    """joints: (B, N, P, 2) rays, NaN where unseen; with gravity its point is the last (core.gravity).

    poses_m: (B, N, 17, 3), camera axes, relative to the pelvis.
    """

    joints: Tensor
    poses_m: Tensor


class WindowSampler:
    """Draws batches of windows from clips held in one device's memory."""

    def __init__(
        self, mocap: Mocap, spec: WindowSpec, config: BatchConfig, generator: torch.Generator | None = None
    ) -> None:
        self.mocap, self.spec, self.config, self.generator = mocap, spec, config, generator
        self.device = mocap.positions_m.device
        self.clip_of_frame = torch.repeat_interleave(torch.arange(len(mocap.length), device=self.device), mocap.length)
        self.matrices = layout_matrices(config.detector.layouts).to(self.device)
        self.visibility = Visibility(spec, config.visibility, generator)
        self._until: Tensor | None = None  # each frame's share and those of all before it
        if config.balanced > 0:
            self._until = (rarity(mocap.positions_m) ** config.balanced).cumsum(0)

    def __len__(self) -> int:
        """How many windows there are: one per frame."""
        return len(self.clip_of_frame)

    def draw(self, batch: int) -> Batch:
        """A batch of windows whose targets are drawn over the frames."""
        target = self._targets(batch)
        world = vary(self._gather(target), self.config.body, self.generator)
        views = place_cameras(batch, self.config.camera, self.generator, self.device)
        centre = world[:, self.spec.target, skeleton.ROOT, None, None]  # (B, 1, 1, 3)
        camera = (world - centre) @ views.rotation[:, None].mT + views.root_m[:, None, None]
        points = keypoints_3d(camera)
        rays = detect(points, self.config.detector, self.spec.step_s, self.generator)
        layout = torch.randint(len(self.matrices), (batch,), generator=self.generator, device=self.device)
        joints = self.matrices[layout][:, None] @ rays
        if self.config.bridged:
            inside = (rays.abs() < views.border[:, None, None]).all(-1) & (points[..., 2] > _NEAREST_M)
            joints = self._seen(joints, inside, self.matrices[layout])
        else:
            joints = drop_joints(joints, self.config.detector, self.generator)
        poses = camera - camera[:, :, skeleton.ROOT, None]
        if self.config.held:
            held = self._hold(batch)[..., None, None].expand(-1, -1, skeleton.J, 3)
            joints, poses = joints.gather(1, held[..., :2]), poses.gather(1, held)
        if self.config.gravity_known > 0:
            joints = torch.cat([joints, self._down(views.rotation).expand(-1, self.spec.frames, 1, 2)], 2)
        return Batch(joints, poses)

    def _targets(self, batch: int) -> Tensor:
        """Frames that windows are drawn around, (B,)."""
        if self._until is None:
            return torch.randint(len(self), (batch,), generator=self.generator, device=self.device)
        drawn = torch.rand(batch, dtype=torch.float64, generator=self.generator, device=self.device)
        return torch.searchsorted(self._until, drawn * self._until[-1]).clamp(max=len(self) - 1)

    def _down(self, rotation: Tensor) -> Tensor:
        """What cameras (camera_from_world (B, 3, 3)) know of where down is, as points (B, 1, 1, 2)."""
        error = torch.randn(len(rotation), 3, generator=self.generator, device=self.device)
        down = F.normalize(-rotation[:, :, 2] + math.radians(self.config.gravity_deg) * error, dim=-1)
        known = self._uniform(len(rotation), 1) < self.config.gravity_known
        return torch.where(known, gravity.to_point(down), torch.nan)[:, None, None]

    def _seen(self, joints: Tensor, inside: Tensor, matrices: Tensor) -> Tensor:
        """Joints (B, N, 17, 2) as the history gives them, of keypoints (B, N, K) that are inside the image or not."""
        b = len(joints)
        seen = inside & self.visibility.keypoints(inside.shape, self.device)
        uses = (matrices != 0).float()[:, None]  # (B, 1, 17, K)
        lacking = (uses @ (~seen).float()[..., None])[..., 0]
        seen_joints = (lacking == 0) & self.visibility.frames(b, self.device)[..., None]
        max_gap = self.visibility.config.max_gap_s / self.spec.step_s
        return bridge(joints, seen_joints, self.visibility.first_frame(b, self.device), max_gap)

    def _gather(self, target: Tensor) -> Tensor:
        """Clips around the target frames at a random speed, (B, N, 17, 3); beyond a clip its end frame repeats."""
        low, high = self.config.body.speed
        speed = low + (high - low) * self._uniform(len(target), 1)
        step = self.spec.step_s * self.mocap.rate_hz
        offset = (torch.arange(self.spec.frames, device=self.device) - self.spec.target) * step
        clip = self.clip_of_frame[target]
        first = self.mocap.start[clip, None]
        last = first + self.mocap.length[clip, None] - 1
        at = (target[:, None] + offset * speed).clamp(first, last)
        before = at.floor().long()
        share = (at - before)[..., None, None].float()
        after = torch.minimum(before + 1, last)
        return self.mocap.positions_m[before] * (1 - share) + self.mocap.positions_m[after] * share

    def _hold(self, batch: int) -> Tensor:
        """Which frame each grid instant shows, (B, N): beyond a random look-ahead the newest is held."""
        future = self.spec.frames - 1 - self.spec.target
        look_ahead = (self._uniform(batch, 1) * (future + 1)).long()
        look_ahead[self._uniform(batch, 1) < self.config.zero_look_ahead] = 0
        return torch.minimum(torch.arange(self.spec.frames, device=self.device), self.spec.target + look_ahead)

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.generator, device=self.device)
