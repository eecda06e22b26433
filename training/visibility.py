"""What a detector does not see, and how the node's history bridges it. Whole batches, on any device.

B windows, N frames of the model's time grid, oldest first; K keypoints, J = 17 joints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from pstmo_ros.core.ranges import Range, Settings, Share
from pstmo_ros.core.window import WindowSpec
from training.detector import KEYPOINTS

_LIMBS = tuple(
    [KEYPOINTS.index(f"{side}_{joint}") for joint in joints]
    for side in ("left", "right")
    for joints in (("elbow", "wrist"), ("wrist",), ("knee", "ankle"), ("ankle",))
)
_LOWER = tuple(
    [k for k, name in enumerate(KEYPOINTS) if name.endswith(joints)]
    for joints in (("knee", "ankle"), ("ankle",), ("hip", "knee", "ankle", "pelvis"))
)


@dataclass(frozen=True)
class VisibilityConfig(Settings):
    """Shares of windows, all independent of each other, in which something is not seen.

    keypoints: some keypoints for a while. limb: an arm or a leg, or its end, for a while. throughout: the share of
    either that lasts the whole window. lower: what is below a table's edge, throughout. low_rate: a detector slower
    than the grid, down to ``slowest_hz``. drops: single frames are lost, up to ``worst_drop`` of them. short: the
    person was not there at the window's beginning.
    max_gap_s: longer gaps of a joint are not bridged, as pstmo_ros.core.tracks.TrackConfig has it.
    """

    keypoints: Share = 0.4
    limb: Share = 0.15
    throughout: Share = 0.0
    lower: Share = 0.12
    low_rate: Share = 0.4
    slowest_hz: Annotated[float, Range(0.1, 1000)] = 8.0
    drops: Share = 0.3
    worst_drop: Share = 0.4
    short: Share = 0.1
    max_gap_s: Annotated[float, Range(0, 10)] = 0.3


class Visibility:
    """Draws what is seen."""

    def __init__(self, spec: WindowSpec, config: VisibilityConfig, generator: torch.Generator | None) -> None:
        self.spec, self.config, self.generator = spec, config, generator

    def keypoints(self, shape: torch.Size, device: torch.device) -> Tensor:
        """Whether each keypoint is unoccluded, (B, N, K) bool."""
        b, n, k = shape
        c = self.config
        some = (self._uniform(device, b, 1, k) < 0.4 * self._uniform(device, b, 1, 1)) & self._for_a_while(b, n, device)
        hidden = some & (self._uniform(device, b, 1, 1) < c.keypoints)
        hidden |= self._one_of(_LIMBS, c.limb, b, device) & self._for_a_while(b, n, device)
        hidden |= self._one_of(_LOWER, c.lower, b, device)
        return ~hidden

    def frames(self, b: int, device: torch.device) -> Tensor:
        """Whether the detector has a frame at each instant of the grid, (B, N) bool; at the newest it has."""
        c, n = self.config, self.spec.frames
        age = torch.arange(n - 1, -1, -1, device=device)
        slowest = max(1, round(1 / (c.slowest_hz * self.spec.step_s)))
        every = 1 + (self._uniform(device, b, 1) * slowest).long().clamp(max=slowest - 1)
        every = torch.where(self._uniform(device, b, 1) < c.low_rate, every, 1)
        lost = (self._uniform(device, b, 1) < c.drops) * self._uniform(device, b, 1) * c.worst_drop
        seen = (age % every == 0) & (self._uniform(device, b, n) >= lost)
        seen[:, -1] = True
        return seen

    def first_frame(self, b: int, device: torch.device) -> Tensor:
        """The oldest frame that there is of the person, (B, 1); at least one."""
        some = self._uniform(device, b, 1) < self.config.short
        return torch.where(some, (self._uniform(device, b, 1) * self.spec.frames).long(), 0)

    def _for_a_while(self, b: int, n: int, device: torch.device) -> Tensor:
        """A stretch of frames, anywhere, of any length, or all of them, (B, N, 1) bool."""
        frames = torch.arange(n, device=device)
        first = (self._uniform(device, b, 1) * n * 1.5 - n * 0.5).long()
        stretch = (frames >= first) & (frames < first + (self._uniform(device, b, 1) * n).long() + 1)
        return (stretch | (self._uniform(device, b, 1) < self.config.throughout))[..., None]

    def _one_of(self, groups: tuple[list[int], ...], share: float, b: int, device: torch.device) -> Tensor:
        """One group of keypoints in a share of the windows, (B, 1, K) bool."""
        masks = torch.zeros(len(groups), len(KEYPOINTS), dtype=torch.bool, device=device)
        for mask, group in zip(masks, groups, strict=True):
            mask[group] = True
        drawn = masks[torch.randint(len(groups), (b,), generator=self.generator, device=device)]
        return (drawn & (self._uniform(device, b, 1) < share))[:, None]

    def _uniform(self, device: torch.device, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.generator, device=device)


def bridge(joints: Tensor, seen: Tensor, first: Tensor, max_gap: float) -> Tensor:
    """What the history makes of a window's joints, as pstmo_ros.core.window.History does on its own frames.

    joints (B, N, 17, C), seen (B, N, 17) bool, first (B, 1): the oldest frame that there is, held before it.
    Gaps of up to ``max_gap`` frames are bridged by a straight line or, at the ends, held; longer ones are NaN.
    """
    n = joints.shape[1]
    rows = torch.arange(n, device=joints.device)[None, :, None]
    seen = seen & (rows >= first[..., None])
    before = torch.where(seen, rows, -1).cummax(1).values
    after = torch.where(seen, rows, n).flip(1).cummin(1).values.flip(1)
    has_before, has_after = before >= 0, after < n
    low, high = torch.where(has_before, before, after), torch.where(has_after, after, before)
    low, high = low.clamp(0, n - 1), high.clamp(0, n - 1)
    span = high - low
    share = ((rows - low) / span.clamp(min=1)).clamp(0, 1)[..., None]
    channels = joints.shape[-1]
    at_low, at_high = (joints.gather(1, i[..., None].expand(-1, -1, -1, channels)) for i in (low, high))
    away = torch.maximum(torch.maximum(low - rows, rows - high), span)
    out = torch.where(
        ((has_before | has_after) & (away <= max_gap))[..., None], at_low + (at_high - at_low) * share, torch.nan
    )
    held = torch.maximum(rows[..., 0], first)[..., None, None].expand_as(out)
    return out.gather(1, held)
