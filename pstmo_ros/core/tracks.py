"""Everyone in view, the only state of the pipeline: birth, occlusion, death, and what stamps may do."""

from __future__ import annotations

from collections import deque
from collections.abc import Container
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from pstmo_ros.core import layouts
from pstmo_ros.core.association import Motion, associate, compare, extent, follow
from pstmo_ros.core.camera import Camera
from pstmo_ros.core.placement import LEAST_JOINTS
from pstmo_ros.core.sides import ORDERS
from pstmo_ros.core.smoothing import OneEuro, SmoothingConfig
from pstmo_ros.core.steady import Steadier
from pstmo_ros.core.track import Due, Track
from pstmo_ros.core.types import Floats, Frame2D, Indices, Stand
from pstmo_ros.core.window import History, WindowSpec


@dataclass(frozen=True, slots=True)
class TrackConfig:
    """min_score: keypoints below are not seen. max_gap_s: longest unseen stretch of a joint that is bridged.

    max_coast_s: a person who is not seen moves on as before for this long, then has left. max_people: more are not
    followed. min_similarity: keypoint similarity (OKS) above which a person without a known id continues a track.
    max_jump_s: stamps that go back further restart everything (a bag that loops, a simulation that resets).
    """

    min_score: float = 0.1
    max_gap_s: float = 0.3
    max_coast_s: float = 1.5
    max_people: int = 10
    min_similarity: float = 0.15
    max_jump_s: float = 1.0


class State(Enum):
    """TRACKED: seen in the newest frame. OCCLUDED: not seen, expected back. LOST: has left, or was never there."""

    TRACKED = "tracked"
    OCCLUDED = "occluded"
    LOST = "lost"


class Oddity(Enum):
    """What a stream of frames can have wrong with it; the value says what becomes of it."""

    DUPLICATE = "a frame came twice (same stamp): the second is ignored"
    LATE = "a frame came out of order: it is put in its place, and its poses are given late"
    WENT_BACK = "stamps went back: everybody is forgotten and starts anew"
    WENT_AHEAD = "stamps leapt ahead: everybody seen before is forgotten"
    RECYCLED = "an id turned up where its person cannot be: it starts anew, without the other's history"
    CROWDED = "more people than tracks.max_people: of those who come now, the smallest in the image are not followed"
    CROSSED = "left and right of somebody changed places between two frames: they are put back"


class Tracks:
    """Everyone in view. ``observe`` takes frames in; it returns the people whose poses are due, oldest stamp first.

    All pixels held are without distortion, once a camera is known; where frames say how it stands, they are those of
    ``steadier.view``.
    """

    def __init__(self, spec: WindowSpec, look_ahead_s: float, config: TrackConfig, smoothing: SmoothingConfig) -> None:
        self.config, self.smoothing = config, smoothing
        self._look_ahead_ns = int(look_ahead_s * 1e9)
        self._keep_s = spec.past_s + look_ahead_s + config.max_gap_s
        self._tracks: dict[int, Track] = {}
        self._pending: deque[Due] = deque()
        self._unanswered: list[int] = []  # stamps of frames whose poses are not due yet
        self._stamps: dict[int, set[int]] = {}  # stamp -> ids seen at it, since max_jump_s ago
        self._newest_ns: int | None = None
        self._next_id = 0
        self.steadier = Steadier()
        self.oddities: list[Oddity] = []  # of the newest frame
        self.rows: dict[int, int] = {}  # of the newest frame: person id -> which of its people that is
        self.answered: list[int] = []  # by the newest frame: stamps of the frames now due, of which some show nobody

    def __len__(self) -> int:
        return len(self._tracks)

    @property
    def person_ids(self) -> tuple[int, ...]:
        """Ids of everyone who has not left yet."""
        return tuple(self._tracks)

    def state(self, person_id: int) -> State:
        """Whether somebody is in view, hidden, or gone."""
        if person_id not in self._tracks:
            return State.LOST
        seen = self._tracks[person_id].motion.stamp_ns == self._newest_ns
        return State.TRACKED if seen else State.OCCLUDED

    def observe(self, frame: Frame2D, camera: Camera | None = None) -> list[Due]:
        """Take one frame in; returns who is due now: with no look-ahead, everyone seen in this frame.

        camera: what took it; once another has, or the same with other intrinsics, all pixels held are of that one.
        """
        self.oddities, self.rows = [], {}
        self._move_to(frame.stamp_ns)
        assert self._newest_ns is not None
        joints, scores = layouts.to_model_joints(layouts.get(frame.layout), frame.keypoints_px, frame.scores)
        joints, stand = self._steady(joints, frame.stand, camera)
        doubtful = (scores < self.config.min_score) | np.isnan(joints[..., 0])
        joints[doubtful], scores[doubtful] = np.nan, 0

        sizes_px = extent(joints).tolist()
        for p, track in self._continued(frame, joints, self._present(frame, scores)):
            self.rows[track.person_id] = p
            now = self._settled(track, frame.stamp_ns, joints[p], sizes_px[p])
            seen, sure = joints[p, now], scores[p, now]
            track.history.add(frame.stamp_ns, seen)
            self._pending.append(Due(track, track.person_id, frame.stamp_ns, seen, sure, stand))
        if Oddity.DUPLICATE not in self.oddities:
            self._unanswered.append(frame.stamp_ns)
        return self._due(self._newest_ns - self._look_ahead_ns)

    def flush(self) -> list[Due]:
        """Everyone still waiting for their look-ahead: the end of a recording."""
        return self._due(None)

    def clear(self) -> None:
        """Forget everyone."""
        self._tracks.clear()
        self._pending.clear()
        self._unanswered.clear()
        self._stamps.clear()
        self._newest_ns = None
        self.steadier = Steadier()

    def reconfigure(self, config: TrackConfig, smoothing: SmoothingConfig) -> None:
        """Go on with other settings; ``max_gap_s`` counts for people who come from now on.

        Of more people than ``max_people``, those who were seen last stay.
        """
        newest_first = sorted(self._tracks.values(), key=lambda t: -t.motion.stamp_ns)
        for track in newest_first[config.max_people :]:
            del self._tracks[track.person_id]
        if smoothing != self.smoothing:
            for track in self._tracks.values():
                track.smoother = OneEuro(smoothing)
        self.config, self.smoothing = config, smoothing

    def _steady(self, joints_px: Floats, stand: Stand | None, camera: Camera | None) -> tuple[Floats, Stand | None]:
        """Joints as a camera that does not turn would see them; so is everything held, if need be."""
        joints_px, stand, move = self.steadier.take(joints_px, stand, camera)
        if move is not None:
            turned = {due.track for due in self._pending}.union(self._tracks.values())  # who has left waits, too
            behind = {track for track in turned if not track.turn(move)}
            self._tracks = {i: t for i, t in self._tracks.items() if t not in behind}
            for due in self._pending:
                due.joints_px[:] = move(due.joints_px)
            # Whoever waits since before it was known how the camera stands is in the view as if it had stood so then.
            self._pending = deque(replace(due, stand=due.stand or stand) for due in self._pending)
        return joints_px, stand

    def _due(self, until_ns: int | None) -> list[Due]:
        due = [d for d in self._pending if until_ns is None or d.stamp_ns <= until_ns]
        self._pending = deque(d for d in self._pending if until_ns is not None and d.stamp_ns > until_ns)
        self.answered = sorted({s for s in self._unanswered if until_ns is None or s <= until_ns})
        self._unanswered = [s for s in self._unanswered if s not in self.answered]
        return sorted(due, key=lambda d: d.stamp_ns)

    def _move_to(self, stamp_ns: int) -> None:
        """Let time be the frame's: forget whoever has been gone for long, or everybody after a jump."""
        if self._newest_ns is not None and self._newest_ns - stamp_ns > self.config.max_jump_s * 1e9:
            self.oddities.append(Oddity.WENT_BACK)
            self.clear()
        before = stamp_ns if self._newest_ns is None else self._newest_ns
        newest = max(before, stamp_ns)
        oldest = newest - int(self.config.max_coast_s * 1e9)
        if before < min(oldest, newest - int(self.config.max_jump_s * 1e9)):
            self.oddities.append(Oddity.WENT_AHEAD)
        else:
            oldest = min(oldest, before)  # whoever was in the last frame has not been hidden
        self._newest_ns = newest
        for person_id in [i for i, t in self._tracks.items() if t.motion.stamp_ns < oldest]:
            del self._tracks[person_id]
        since = newest - int(self.config.max_jump_s * 1e9)
        while (stamp := next(iter(self._stamps), since)) < since:
            del self._stamps[stamp]

    def _present(self, frame: Frame2D, scores: Floats) -> list[int]:
        """Indices of the people of whom something was seen and who were not in an earlier frame of this stamp."""
        present = np.logical_or.reduce(scores > 0, -1).nonzero()[0].tolist()
        if frame.stamp_ns in self._stamps:
            before = self._stamps[frame.stamp_ns]
            new = [] if frame.person_ids is None else [p for p in present if frame.person_ids[p] not in before]
            if not new:
                self.oddities.append(Oddity.DUPLICATE)
            present = new
        elif frame.stamp_ns < (self._newest_ns or 0):
            self.oddities.append(Oddity.LATE)
        if frame.person_ids is not None:
            self._stamps.setdefault(frame.stamp_ns, set()).update(frame.person_ids[p] for p in present)
        else:
            self._stamps.setdefault(frame.stamp_ns, set())
        return present

    def _continued(self, frame: Frame2D, joints: Floats, present: list[int]) -> list[tuple[int, Track]]:
        """Each person present and their track, moved along with them; new ones included, as many as may be followed."""
        known = [t for t in self._tracks.values() if t.motion.stamp_ns != frame.stamp_ns]  # the rest went on already
        ids = None if frame.person_ids is None else [frame.person_ids[p] for p in present]
        motions = [t.motion for t in known]
        pairs: dict[int, int] = {}
        if (seen := compare(motions, frame.stamp_ns, joints[present])) is not None:
            pairs = associate(motions, seen, [t.person_id for t in known], ids, self.config.min_similarity)
            follow(motions, seen, {k: t for k, t in pairs.items() if frame.stamp_ns > motions[t].stamp_ns})
        tracks = {k: known[t] for k, t in pairs.items()}
        if ids is not None:
            self._rename({k: ids[k] for k in tracks}, tracks)
        for k in self._newcomers(joints[present], tracks):
            if ids is not None and ids[k] in self._tracks:
                self.oddities.append(Oddity.RECYCLED)
                del self._tracks[ids[k]]
            if self._make_room(frame.stamp_ns, list(tracks.values())):
                person_id = self._next_id if ids is None else ids[k]
                tracks[k] = self._born(person_id, frame.stamp_ns, joints[present[k]])
            elif Oddity.CROWDED not in self.oddities:
                self.oddities.append(Oddity.CROWDED)
        return [(present[k], tracks[k]) for k in sorted(tracks)]

    def _newcomers(self, joints: Floats, tracks: Container[int]) -> list[int]:
        """Which of the people present have no track and may get one, the largest first.

        Not those of whom hardly a joint shows: they have no size, so that nothing would go on with them.
        """
        shown = np.isfinite(joints[..., 0]).sum(-1)
        new = [k for k in range(len(joints)) if k not in tracks and shown[k] >= LEAST_JOINTS]
        return sorted(new, key=lambda k: -float(extent(joints[k])))

    def _settled(self, track: Track, stamp_ns: int, joints: Floats, size_px: float) -> Indices:
        """The order (17,) that puts a person's joints (17, 2) on their sides; so are earlier ones, if need be."""
        now, before = track.sides.settle(stamp_ns, joints, size_px)
        if any(before):
            back, since_ns = ORDERS[before], track.sides.since_ns
            track.history.reorder(back, since_ns)
            for due in self._pending:
                if due.track is track and due.stamp_ns >= since_ns:
                    due.joints_px[:], due.scores[:] = due.joints_px[back], due.scores[back]
        if any(now) and Oddity.CROSSED not in self.oddities:
            self.oddities.append(Oddity.CROSSED)
        return ORDERS[now]

    def _rename(self, ids: dict[int, int], tracks: dict[int, Track]) -> None:
        """Give tracks the ids that the detector now has for their people; a namesake is somebody who has left."""
        for k, person_id in ids.items():
            if tracks[k].person_id != person_id:
                self._tracks.pop(tracks[k].person_id, None)
        for k, person_id in ids.items():
            tracks[k].person_id = person_id
            self._tracks[person_id] = tracks[k]
            self._next_id = max(self._next_id, person_id + 1)

    def _make_room(self, stamp_ns: int, here: list[Track]) -> bool:
        """Whether one more may be followed; whoever has been hidden longest makes room for somebody in view."""
        if len(self._tracks) < self.config.max_people:
            return True
        hidden = [t for t in self._tracks.values() if t.motion.stamp_ns < stamp_ns and t not in here]
        if hidden:
            del self._tracks[min(hidden, key=lambda t: t.motion.stamp_ns).person_id]
        return bool(hidden)

    def _born(self, person_id: int, stamp_ns: int, joints_px: Floats) -> Track:
        history = History(self._keep_s, self.config.max_gap_s)
        track = Track(person_id, history, Motion(stamp_ns, joints_px), OneEuro(self.smoothing))
        self._tracks[person_id] = track
        self._next_id = max(self._next_id, person_id + 1)
        return track
