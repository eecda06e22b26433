"""Person id -> Track: the only state of the pipeline. Birth, death, and association when the detector gives no ids."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from pstmo_ros.core import layouts
from pstmo_ros.core.smoothing import OneEuro, SmoothingConfig
from pstmo_ros.core.types import Floats, Frame2D
from pstmo_ros.core.window import History, WindowSpec


@dataclass(frozen=True, slots=True)
class TrackConfig:
    """min_score: keypoints below are not seen. max_gap_s: longest unseen stretch of a joint that is bridged.

    max_age_s: a person unseen for longer has left. max_jump_s: stamps that go back further restart everything
    (a bag that loops, a simulation that resets). max_distance: association without ids joins a person and a track
    whose limbs lie within this share of the person's size.
    """

    min_score: float = 0.1
    max_gap_s: float = 0.3
    max_age_s: float = 1.0
    max_jump_s: float = 1.0
    max_distance: float = 0.5


@dataclass(slots=True)
class Track:
    """One person: their history, output filter and newest observation."""

    person_id: int
    history: History
    smoother: OneEuro
    last_stamp_ns: int
    last_px: Floats


@dataclass(frozen=True, slots=True)
class Due:
    """A person whose pose at ``stamp_ns`` can now be given, with that frame's joints (17, 2) px and scores (17,)."""

    track: Track
    stamp_ns: int
    joints_px: Floats
    scores: Floats


class Tracks:
    """Everyone in view. ``observe`` takes frames in; it returns the people whose poses are due, oldest stamp first."""

    def __init__(self, spec: WindowSpec, look_ahead_s: float, config: TrackConfig, smoothing: SmoothingConfig) -> None:
        self._spec, self._config, self._smoothing = spec, config, smoothing
        self._look_ahead_ns = int(look_ahead_s * 1e9)
        self._keep_s = spec.past_s + look_ahead_s + config.max_gap_s
        self._tracks: dict[int, Track] = {}
        self._pending: deque[Due] = deque()
        self._newest_ns: int | None = None
        self._next_id = 0

    def __len__(self) -> int:
        return len(self._tracks)

    @property
    def person_ids(self) -> tuple[int, ...]:
        """Ids of everyone who has not left yet."""
        return tuple(self._tracks)

    def observe(self, frame: Frame2D) -> list[Due]:
        """Take one frame in; returns who is due now: with no look-ahead, everyone seen in this frame."""
        joints, scores = layouts.to_model_joints(layouts.get(frame.layout), frame.keypoints_px, frame.scores)
        doubtful = scores < self._config.min_score
        joints[doubtful], scores[doubtful] = np.nan, 0
        if self._newest_ns is None or self._newest_ns - frame.stamp_ns > self._config.max_jump_s * 1e9:
            self.clear()
            self._newest_ns = frame.stamp_ns
        self._newest_ns = max(self._newest_ns, frame.stamp_ns)
        self._drop_old()

        present = [p for p in range(len(joints)) if (scores[p] > 0).any()]
        ids = self._identify(frame, joints, present)
        for p, person_id in zip(present, ids, strict=True):
            track = self._tracks.get(person_id) or self._born(person_id, frame.stamp_ns)
            track.history.add(frame.stamp_ns, joints[p])
            if frame.stamp_ns >= track.last_stamp_ns:
                track.last_stamp_ns = frame.stamp_ns
                track.last_px = np.where(np.isnan(joints[p]), track.last_px, joints[p])
            self._pending.append(Due(track, frame.stamp_ns, joints[p], scores[p]))
        return self._due(self._newest_ns - self._look_ahead_ns)

    def flush(self) -> list[Due]:
        """Everyone still waiting for their look-ahead: the end of a recording."""
        return self._due(None)

    def clear(self) -> None:
        """Forget everyone."""
        self._tracks.clear()
        self._pending.clear()
        self._newest_ns = None

    def _due(self, until_ns: int | None) -> list[Due]:
        due = [d for d in self._pending if until_ns is None or d.stamp_ns <= until_ns]
        self._pending = deque(d for d in self._pending if until_ns is not None and d.stamp_ns > until_ns)
        return sorted(due, key=lambda d: d.stamp_ns)

    def _born(self, person_id: int, stamp_ns: int) -> Track:
        history = History(self._keep_s, self._config.max_gap_s)
        track = Track(person_id, history, OneEuro(self._smoothing), stamp_ns, np.full((1, 2), np.nan))
        self._tracks[person_id] = track
        self._next_id = max(self._next_id, person_id + 1)
        return track

    def _drop_old(self) -> None:
        assert self._newest_ns is not None
        oldest = self._newest_ns - int(self._config.max_age_s * 1e9)
        for person_id in [i for i, t in self._tracks.items() if t.last_stamp_ns < oldest]:
            del self._tracks[person_id]

    def _identify(self, frame: Frame2D, joints: Floats, present: list[int]) -> Iterable[int]:
        """An id for each person present: the detector's own, else the nearest track's, else a new one."""
        if frame.person_ids is not None:
            return [frame.person_ids[p] for p in present]
        tracks = list(self._tracks.values())
        ids: list[int] = [-1] * len(present)
        if tracks and present:
            distance = _distances(
                np.stack([np.broadcast_to(t.last_px, joints[0].shape) for t in tracks]), joints[present]
            )
            limit = self._config.max_distance
            for t, p in zip(*linear_sum_assignment(np.minimum(distance, 10 * limit)), strict=True):
                if distance[t, p] <= limit:
                    ids[p] = tracks[t].person_id
        for k, person_id in enumerate(ids):
            if person_id < 0:
                ids[k], self._next_id = self._next_id, self._next_id + 1
        return ids


def _distances(tracks_px: Floats, people_px: Floats) -> Floats:
    """Mean joint distance as a share of the person's size, (T, 17, 2), (P, 17, 2) -> (T, P); inf if none is shared."""
    apart = np.linalg.norm(tracks_px[:, None] - people_px[None], axis=-1)
    both = np.isfinite(apart)
    mean = np.where(both, apart, 0).sum(-1) / np.maximum(both.sum(-1), 1)
    span = np.where(np.isnan(people_px), -np.inf, people_px).max(1) - np.where(
        np.isnan(people_px), np.inf, people_px
    ).min(1)
    return np.where(both.any(-1), mean / np.maximum(span.max(-1), 1.0), np.inf)
