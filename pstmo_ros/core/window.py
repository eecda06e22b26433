"""A joint history with irregular stamps -> the model's fixed time grid (temporal downsampling, paper section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pstmo_ros.core import skeleton
from pstmo_ros.core.types import Floats, Indices, Move

Stamps = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """The model's time grid: ``frames`` instants, ``stride / rate_hz`` s apart; the target is one of them."""

    frames: int
    stride: int
    rate_hz: float
    target: int

    @property
    def step_s(self) -> float:
        """Seconds between two grid instants."""
        return self.stride / self.rate_hz

    @property
    def past_s(self) -> float:
        """How far before the target the window reaches."""
        return self.target * self.step_s

    @property
    def future_s(self) -> float:
        """How far beyond the target the window reaches: the largest useful look-ahead."""
        return (self.frames - 1 - self.target) * self.step_s

    def grid_ns(self, stamp_ns: int) -> Stamps:
        """Stamps (N,) of the window whose target is at ``stamp_ns``."""
        offsets = (np.arange(self.frames) - self.target) * (self.step_s * 1e9)
        return stamp_ns + np.round(offsets).astype(np.int64)


class History:
    """One person's recent joints, kept in stamp order however they arrive.

    A joint that was not seen for longer than ``max_gap_s`` is missing (NaN) there; shorter gaps are bridged
    by a straight line, and beyond the oldest and newest frame the end frame is held.
    """

    def __init__(self, keep_s: float, max_gap_s: float) -> None:
        self._keep_ns = int(keep_s * 1e9)
        self._max_gap_ns = int(max_gap_s * 1e9)
        self._stamps: Stamps = np.empty(64, np.int64)
        self._joints: Floats = np.empty((64, skeleton.J, 2), np.float32)
        self._first = self._end = 0

    def __len__(self) -> int:
        return self._end - self._first

    @property
    def stamps_ns(self) -> Stamps:
        """Stamps (T,) held, oldest first."""
        return self._stamps[self._first : self._end]

    @property
    def joints(self) -> Floats:
        """Joints (T, 17, 2) held, in the unit they were added in."""
        return self._joints[self._first : self._end]

    def add(self, stamp_ns: int, joints: Floats) -> None:
        """Insert joints (17, 2), NaN where unseen, at their place in time; an equal stamp is replaced."""
        at = self._first + int(self.stamps_ns.searchsorted(stamp_ns))
        if at < self._end and self._stamps[at] == stamp_ns:
            self._joints[at] = joints
            return
        if self._end == len(self._stamps):
            at -= self._make_room()
        self._stamps[at + 1 : self._end + 1] = self._stamps[at : self._end]
        self._joints[at + 1 : self._end + 1] = self._joints[at : self._end]
        self._stamps[at], self._joints[at] = stamp_ns, joints
        self._end += 1
        # As of the frame before the newest: poses that wait for a look-ahead need their past after a pause, too.
        oldest = self._stamps[max(self._end - 2, self._first)] - self._keep_ns
        self._first += int(self.stamps_ns.searchsorted(oldest))

    def reorder(self, joints: Indices, since_ns: int) -> None:
        """Let every frame held since then have its joints in the order ``joints`` (17,)."""
        since = self.joints[np.searchsorted(self.stamps_ns, since_ns) :]
        since[:] = since[:, joints]

    def turn(self, move: Move) -> None:
        """Go on in another image: every frame held is of that one then."""
        self.joints[:] = move(self.joints)

    def window(self, grid_ns: Stamps) -> Floats:
        """Joints (N, 17, 2) float32 at the instants (N,); NaN where a joint is missing."""
        if len(self) == 0:
            return np.full((len(grid_ns), skeleton.J, 2), np.nan, np.float32)
        stamps, joints = self.stamps_ns, self.joints
        grid = np.minimum(np.maximum(grid_ns, stamps[0]), stamps[-1])
        lo, hi = stamps.searchsorted(grid, "right") - 1, stamps.searchsorted(grid, "left")
        # What both frames around an instant saw lies between them, the same for all such joints.
        t_lo = stamps[lo]
        span = stamps[hi] - t_lo
        weight = ((grid - t_lo) / np.maximum(span, 1)).astype(np.float32)[:, None, None]
        out = joints[lo]
        out += (joints[hi] - out) * weight
        unseen = np.isnan(out[..., 0])
        out[span > self._max_gap_ns] = np.nan
        if unseen.any():
            gone = np.flatnonzero(unseen.any(0))
            out[:, gone] = self._bridged(grid, lo, hi, gone)
        return out

    def _bridged(self, grid: Stamps, lo: Indices, hi: Indices, which: Indices) -> Floats:
        """Joints ``which`` (K,) at the instants (N,), between the frames that saw them, (N, K, 2).

        lo, hi: (N,) the frames around each instant, whatever they saw.
        """
        stamps, joints = self.stamps_ns, self.joints[:, which]
        seen = np.isfinite(joints[..., 0])
        rows = np.arange(len(stamps))[:, None]
        # For every frame and joint: the last frame at or before it, and the first at or after it, that saw the joint.
        lo = np.maximum.accumulate(np.where(seen, rows, -1), 0)[lo]
        hi = np.minimum.accumulate(np.where(seen, rows, len(rows))[::-1], 0)[::-1][hi]
        has_lo, has_hi = lo >= 0, hi < len(rows)
        lo, hi = np.where(has_lo, lo, hi), np.where(has_hi, hi, lo)
        found = has_lo | has_hi
        lo, hi = np.where(found, lo, 0), np.where(found, hi, 0)

        t = grid[:, None]
        t_lo, t_hi = stamps[lo], stamps[hi]
        span = t_hi - t_lo
        weight = np.clip((t - t_lo) / np.maximum(span, 1), 0, 1).astype(np.float32)[..., None]
        columns = np.arange(len(which))
        out = joints[lo, columns] * (1 - weight) + joints[hi, columns] * weight
        away = np.maximum(np.maximum(t_lo - t, t - t_hi), span)
        out[~found | (away > self._max_gap_ns)] = np.nan
        return out

    def _make_room(self) -> int:
        """Move the frames held to the front, growing the buffers when they are mostly full; returns the shift."""
        shift, count = self._first, len(self)
        capacity = len(self._stamps) * (2 if count > len(self._stamps) // 2 else 1)
        stamps, joints = np.empty(capacity, np.int64), np.empty((capacity, skeleton.J, 2), np.float32)
        stamps[:count], joints[:count] = self.stamps_ns, self.joints
        self._stamps, self._joints, self._first, self._end = stamps, joints, 0, count
        return shift
