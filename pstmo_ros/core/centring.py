"""Before and after the network: the camera is turned to the person, and the pose turned back. Ours, not the paper's."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """No autocast for what makes or reads coordinates: in bf16 they are off by as much as a detector's are."""
    device = x.device.type
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()


class Centring(nn.Module):
    """Turns the camera towards the person and scales them to one size, so that the network meets neither.

    The turn is the smallest rotation that brings the centre of one frame's joints onto the optical axis,
    the same for the whole window; poses are turned back by ``restore``. Joints of other frames count only
    when that frame has none.
    """

    OTHER_FRAMES = 1e-3
    SMALLEST = 0.02  # as a ray: a person at about 40 m
    weights: Tensor

    def __init__(self, frames: int, centre: int) -> None:
        """centre: the frame, of so many, whose joints are looked at."""
        super().__init__()
        weights = torch.full((1, frames, 1, 1), self.OTHER_FRAMES)
        weights[:, centre] = 1
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, rays: Tensor, frames: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Rays (B, N, 17, 2), NaN where missing -> centred coordinates of the same shape, and rotations (B, 3, 3).

        frames: which frames of the window the rays are, (N,); None for all.
        """
        seen = ~torch.isnan(rays)
        weights = torch.where(seen, self.weights if frames is None else self.weights[:, frames], 0.0)
        total = weights.sum((1, 2)).clamp(min=1e-6)
        rays = torch.where(seen, rays, 0.0)
        rotation = _towards((weights * rays).sum((1, 2)) / total)
        turned = self.turn(F.pad(rays, (0, 1), value=1.0).flatten(1, 2), rotation)
        x = (turned[..., :2] / turned[..., 2:].clamp(min=0.1)).view_as(rays)
        size = ((weights * x * x).sum((1, 2)) / total).sum(-1).sqrt().clamp(min=self.SMALLEST)
        return torch.where(seen, x / size[:, None, None, None], torch.nan), rotation

    @staticmethod
    def turn(directions: Tensor, rotation: Tensor) -> Tensor:
        """Directions (B, M, 3) in the real camera -> in the turned one."""
        with full_precision(directions):
            return directions @ rotation.mT

    @staticmethod
    def restore(poses: Tensor, rotation: Tensor) -> Tensor:
        """Poses (B, …, 17, 3) in the turned camera -> in the real one."""
        with full_precision(poses):
            return (poses.float().flatten(1, -2) @ rotation).view_as(poses)


def _towards(ray: Tensor) -> Tensor:
    """The smallest rotations that bring rays (B, 2) onto the optical axis, (B, 3, 3)."""
    x, y, z = F.normalize(F.pad(ray, (0, 1), value=1.0), dim=-1).unbind(-1)
    k = 1 / (1 + z)
    rows = (z + y * y * k, -x * y * k, -x, -x * y * k, z + x * x * k, -y, x, y, z)
    return torch.stack(rows, -1).view(-1, 3, 3)
