"""Left and right, kept apart: detectors take one for the other for a while.

The arms, or the legs, of a person cannot change places between two frames. Where a detector says so, they are put back;
which of the two sides is the right one is what it said most of the time.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from pstmo_ros.core import skeleton
from pstmo_ros.core.types import Floats, Indices, Move, as_complex

Halves = tuple[bool, bool]  # something about the arms and the legs

_LEFT, _RIGHT = (
    np.array([[skeleton.index(f"{side}_{name}") for name in half] for half in (skeleton.ARM, skeleton.LEG)])
    for side in ("left", "right")
)
_BOTH = np.stack([_LEFT, _RIGHT], 1)  # (2 halves, 2 sides, 3 joints)
_NEITHER: Halves = (False, False)
_PAIRS = 2  # of a half's three, that must be in both frames
_BETTER = 0.5  # the joints changed places if that halves the way that they would have gone otherwise,
_APART = 0.05  # and saves so many body sizes a joint: whoever is seen from the side has left and right in one place
_FORGET_NS = int(0.25e9)  # a person may turn around in longer gaps
_VOTES_NS = int(1.3e9)


def _order(arms: bool, legs: bool) -> Indices:
    out, crossed = np.arange(skeleton.J), [arms, legs]
    out[_LEFT[crossed]], out[_RIGHT[crossed]] = _RIGHT[crossed], _LEFT[crossed]
    return out


# Indices (17,) that exchange left and right in the arms, the legs or both.
ORDERS: dict[Halves, Indices] = {(a, b): _order(a, b) for a in (False, True) for b in (False, True)}


class Sides:
    """Which of one person's halves, arms and legs, come crossed from the detector."""

    def __init__(self) -> None:
        self.since_ns = 0  # stamp of the first frame after the last gap
        self._crossed = _NEITHER
        self._stamp_ns: int | None = None
        self._before: deque[tuple[int, Floats]] = deque(maxlen=2)  # the newest frames that were not in doubt
        self._votes: deque[tuple[int, Halves]] = deque()
        self._crossings = [0, 0]  # how many votes say so, for each half

    def settle(self, stamp_ns: int, joints_px: Floats, size_px: float) -> tuple[Halves, Halves]:
        """A frame's joints (17, 2), NaN where unseen, of a body of that size -> which halves are to be exchanged.

        First in this frame; then in all before, as far back as ``since_ns``, where the detector turns out to be right.
        """
        if self._stamp_ns is not None and stamp_ns <= self._stamp_ns:
            return self._crossed, _NEITHER  # a late frame is like those that came before it
        self._stamp_ns = stamp_ns
        doubtful = False
        if self._before and stamp_ns - self._before[-1][0] > _FORGET_NS:
            self._before.clear()
            self._votes.clear()
            self._crossed, self._crossings = _NEITHER, [0, 0]
        elif self._before and (any(self._crossed) or self._moved_far(joints_px, size_px)):
            doubtful = self._compare(stamp_ns, joints_px, size_px)
        if not self._before:
            self.since_ns = stamp_ns
        if not doubtful:
            self._before.append((stamp_ns, joints_px[ORDERS[self._crossed]]))
        before = self._vote(stamp_ns)
        return self._crossed, before

    def turn(self, move: Move) -> None:
        """Go on in another image."""
        self._before = deque(((stamp, move(joints)) for stamp, joints in self._before), maxlen=2)

    def _moved_far(self, joints_px: Floats, size_px: float) -> bool:
        """Whether a half has moved as far as it would have to for anything to have changed; in most frames none has."""
        moved = abs(joints_px - self._before[-1][1])[_BOTH]
        # What ``_compare`` calls straight is at most this sum, shared among two sides of as few pairs as it takes.
        return bool(np.fmax(moved, 0).sum((1, 2, 3)).max() > 2 * _PAIRS * _APART * size_px)

    def _vote(self, stamp_ns: int) -> Halves:
        """Count the newest frame in; which halves, crossed in most frames, are the detector's right ones after all."""
        self._count(self._crossed, 1)
        self._votes.append((stamp_ns, self._crossed))
        while stamp_ns - self._votes[0][0] > _VOTES_NS:
            self._count(self._votes.popleft()[1], -1)
        arms, legs = (2 * count > len(self._votes) for count in self._crossings)
        wrong = (arms, legs)
        if any(wrong):
            self._crossed = _differ(self._crossed, wrong)
            self._votes = deque((s, _differ(crossed, wrong)) for s, crossed in self._votes)
            self._crossings = [sum(crossed[half] for _, crossed in self._votes) for half in (0, 1)]
            self._before = deque(((s, x[ORDERS[wrong]]) for s, x in self._before), maxlen=2)
        return wrong

    def _count(self, crossed: Halves, weight: int) -> None:
        for half in (0, 1):
            self._crossings[half] += weight * crossed[half]

    def _compare(self, stamp_ns: int, joints_px: Floats, size_px: float) -> bool:
        """See which halves have changed places; True where joints are neither here nor there."""
        points = as_complex(joints_px)
        expected = as_complex(np.stack(self._expected(stamp_ns)))
        left, right = points[_LEFT], points[_RIGHT]
        straight = abs(left - expected[:, _LEFT]) + abs(right - expected[:, _RIGHT])  # (E, 2, 3)
        across = abs(left - expected[:, _RIGHT]) + abs(right - expected[:, _LEFT])
        seen = np.isfinite(straight) & np.isfinite(across)
        count = np.maximum(seen.sum(-1), 1)
        straight, across = (np.where(seen, way, 0).sum(-1) / (2 * size_px * count) for way in (straight, across))
        known = (seen.sum(-1) >= _PAIRS).all(0)
        straight, across = straight.min(0), across.min(0)
        changed = (across < _BETTER * straight) & (straight - across > _APART)
        same = (straight < _BETTER * across) & (across - straight > _APART)
        arms, legs = np.where(known & changed, True, np.where(known & same, False, self._crossed)).tolist()
        self._crossed = (arms, legs)
        return bool((known & ~changed & ~same & (np.minimum(straight, across) > _APART)).any())

    def _expected(self, stamp_ns: int) -> list[Floats]:
        """Where the joints were in the last frame, and where they are if they moved on: people stop, and people run."""
        newest_ns, newest = self._before[-1]
        if len(self._before) < 2:
            return [newest]
        oldest_ns, oldest = self._before[0]
        moved = (newest - oldest) * ((stamp_ns - newest_ns) / (newest_ns - oldest_ns))
        return [newest, newest + np.where(np.isnan(moved), 0, moved)]


def _differ(a: Halves, b: Halves) -> Halves:
    return a[0] != b[0], a[1] != b[1]
