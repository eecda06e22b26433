"""Before and after the network: the camera is turned to the person, and the pose turned back. Ours, not the paper's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Centring(nn.Module):
    """Turns the camera towards the person and scales them to one size, so that the network meets neither.

    The turn is the smallest rotation that brings the centre of one frame's joints onto the optical axis,
    the same for the whole window; poses are turned back by ``restore``. Joints of other frames count only
    when that frame has none.
    """

    OTHER_FRAMES = 1e-3
    SMALLEST = 0.02  # as a ray: a person at about 40 m
    weights: Tensor
    # Buffers: what is made in ``forward`` no CUDA graph can capture, and a NaN in a graph torch 2.8 cannot save.
    optical: Tensor  # the optical axis
    missing: Tensor

    def __init__(self, frames: int, centre: int) -> None:
        """centre: the frame, of so many, whose joints are looked at."""
        super().__init__()
        weights = torch.full((1, frames, 1, 1), self.OTHER_FRAMES)
        weights[:, centre] = 1
        self.register_buffer("weights", weights, persistent=False)
        self.register_buffer("optical", torch.tensor([0.0, 0.0, 1.0]), persistent=False)
        self.register_buffer("missing", torch.tensor(torch.nan), persistent=False)

    def forward(self, rays: Tensor, frames: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Rays (B, N, 17, 2), NaN where missing -> centred coordinates of the same shape, and the axis to be turned
        back by, (B, 3): the real camera's direction that became the turned one's optical axis.

        frames: which frames of the window the rays are, (N,); None for all.
        """
        seen = ~torch.isnan(rays)
        weights = torch.where(seen, self.weights if frames is None else self.weights[:, frames], 0.0)
        total = weights.sum((1, 2)).clamp(min=1e-6)
        rays = torch.where(seen, rays, 0.0)
        axis = F.normalize(F.pad((weights * rays).sum((1, 2)) / total, (0, 1), value=1.0), dim=-1)
        across, along = (part[:, None, None] for part in axis.split((2, 1), -1))
        # ``turn`` of the directions (ray, 1), written without the third coordinate.
        depth = (rays * across).sum(-1, keepdim=True) + along
        x = (rays - across * ((depth + 1) / (along + 1))) / depth.clamp(min=0.1)
        size = ((weights * x * x).sum((1, 2)) / total).sum(-1).sqrt().clamp(min=self.SMALLEST)
        return torch.where(seen, x / size[:, None, None, None], self.missing), axis

    # The smallest rotation from unit vector a to b is 1 - (a + b)(a + b)' / (1 + a'b) + 2 b a'. In this form no matrix
    # is made and nothing is a matrix product, which autocast and engines would run in bf16.

    def turn(self, directions: Tensor, axis: Tensor) -> Tensor:
        """Directions (B, …, 3) in the real camera -> in the turned one."""
        axis, between = self._both(axis, directions)
        along_axis = (axis * directions).sum(-1, keepdim=True)
        return directions - _along(between, directions) * between + 2 * along_axis * self.optical

    def restore(self, poses: Tensor, axis: Tensor) -> Tensor:
        """Poses (B, …, 17, 3) in the turned camera -> in the real one."""
        axis, between = self._both(axis, poses)
        return poses - _along(between, poses) * between + 2 * poses[..., 2:] * axis

    def _both(self, axis: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """The axis (B, 3), and its sum with the optical axis, to be taken with vectors (B, …, 3)."""
        axis = axis.view(-1, *[1] * (vectors.ndim - 2), 3)
        return axis, axis + self.optical


def _along(between: Tensor, vectors: Tensor) -> Tensor:
    """How much of ``between``, the sum of two unit vectors, is to be taken from vectors (B, …, 3)."""
    return (between * vectors).sum(-1, keepdim=True) / between[..., 2:]
