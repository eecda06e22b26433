"""Left and right, kept apart: detectors take one for the other for a while.

The arms, or the legs, of a person cannot change places between two frames. Where a detector says so, they are put back;
which of the two sides is the right one is what it said most of the time.
"""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

from pstmo_ros.core import skeleton
from pstmo_ros.core.association import extent
from pstmo_ros.core.types import Complexes, Floats, as_complex
from pstmo_ros.core.window import Indices

_HALVES = (("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle"))
_LEFT, _RIGHT = (
    np.array([[skeleton.index(f"{side}_{name}") for name in half] for half in _HALVES]) for side in ("left", "right")
)
_LIMBS = list(skeleton.LIMBS)
_PAIRS = 2  # of a half's three, that must be in both frames
_BETTER = 0.5  # the joints changed places if that halves the way that they would have gone otherwise,
_APART = 0.05  # and saves so many body sizes a joint: whoever is seen from the side has left and right in one place
_FORGET_NS = int(0.25e9)  # a person may turn around in longer gaps
_VOTES_NS = int(1.3e9)


def order(crossed: npt.NDArray[np.bool_]) -> Indices:
    """Indices (17,) that exchange left and right in the arms, the legs or both: crossed (2,)."""
    out = np.arange(skeleton.J)
    out[_LEFT[crossed]], out[_RIGHT[crossed]] = _RIGHT[crossed], _LEFT[crossed]
    return out


class Sides:
    """Which of one person's halves, arms and legs, come crossed from the detector."""

    def __init__(self) -> None:
        self._crossed = np.zeros(2, bool)
        self._stamp_ns: int | None = None
        self._before: deque[tuple[int, Complexes]] = deque(maxlen=2)  # the newest frames that were not in doubt
        self._votes: deque[tuple[int, npt.NDArray[np.bool_]]] = deque()
        self._crossings = np.zeros(2, int)  # how many votes say so, for each half

    def settle(self, stamp_ns: int, joints_px: Floats) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """A frame's joints (17, 2), NaN where unseen -> what is to be exchanged, (2,) arms and legs each.

        First in this frame; then in all before, where the detector turns out to have been right since.
        """
        nothing = np.zeros(2, bool)
        if self._stamp_ns is not None and stamp_ns <= self._stamp_ns:
            return self._crossed, nothing  # a late frame is like those that came before it
        self._stamp_ns = stamp_ns
        points, doubtful = as_complex(joints_px), False
        if self._before and stamp_ns - self._before[-1][0] > _FORGET_NS:
            self._before.clear()
            self._votes.clear()
            self._crossed, self._crossings = nothing, np.zeros(2, int)
        elif self._before:
            doubtful = self._compare(stamp_ns, points, extent(joints_px))
        if not doubtful:
            self._before.append((stamp_ns, points[order(self._crossed)]))
        self._votes.append((stamp_ns, self._crossed))
        self._crossings += self._crossed
        while stamp_ns - self._votes[0][0] > _VOTES_NS:
            self._crossings -= self._votes.popleft()[1]
        wrong = 2 * self._crossings > len(self._votes)
        if wrong.any():
            self._crossed = self._crossed ^ wrong
            self._votes = deque((s, crossed ^ wrong) for s, crossed in self._votes)
            self._crossings = np.where(wrong, len(self._votes) - self._crossings, self._crossings)
            self._before = deque(((s, x[order(wrong)]) for s, x in self._before), maxlen=2)
        return self._crossed, wrong

    def _compare(self, stamp_ns: int, points: Complexes, size: Floats) -> bool:
        """See which halves have changed places; True where joints are neither here nor there."""
        far = abs(points[_LIMBS] - self._before[-1][1][_LIMBS]) > _APART * size
        if not (far.any() or self._crossed.any()):
            return False  # nothing moved far, as in most frames
        expected = np.stack(self._expected(stamp_ns))
        left, right = points[_LEFT], points[_RIGHT]
        straight = abs(left - expected[:, _LEFT]) + abs(right - expected[:, _RIGHT])  # (E, 2, 3)
        across = abs(left - expected[:, _RIGHT]) + abs(right - expected[:, _LEFT])
        seen = np.isfinite(straight) & np.isfinite(across)
        count = np.maximum(seen.sum(-1), 1)
        straight, across = (np.where(seen, way, 0).sum(-1) / (2 * size * count) for way in (straight, across))
        known = (seen.sum(-1) >= _PAIRS).all(0)
        straight, across = straight.min(0), across.min(0)
        changed = (across < _BETTER * straight) & (straight - across > _APART)
        same = (straight < _BETTER * across) & (across - straight > _APART)
        self._crossed = np.where(known & changed, True, np.where(known & same, False, self._crossed))
        return bool((known & ~changed & ~same & (np.minimum(straight, across) > _APART)).any())

    def _expected(self, stamp_ns: int) -> list[Complexes]:
        """Where the joints were in the last frame, and where they are if they moved on: people stop, and people run."""
        newest_ns, newest = self._before[-1]
        if len(self._before) < 2:
            return [newest]
        oldest_ns, oldest = self._before[0]
        moved = (newest - oldest) * ((stamp_ns - newest_ns) / (newest_ns - oldest_ns))
        return [newest, newest + np.where(np.isnan(moved), 0, moved)]
