"""Who is who: people in a new frame -> the tracks they continue, by motion, keypoint similarity and the detector's ids.

A person moves in the image as a whole: a Kalman filter of constant velocity follows the place and the size of the body,
and says how uncertain both are after a while out of sight. T tracks, P people. Distances are in body sizes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from pstmo_ros.core import skeleton
from pstmo_ros.core.placement import LEAST_JOINTS
from pstmo_ros.core.types import Complexes, Floats, Move, as_complex, as_points

# Standard deviations of COCO's annotators by joint, as a share of the square root of a person's area.
_COCO_SIGMA = {"hip": 0.107, "knee": 0.087, "ankle": 0.089, "shoulder": 0.079, "elbow": 0.072, "wrist": 0.062}
# Joints that layouts derive from those: means of hips and shoulders, the nose (0.026) and the eyes (0.025).
_OTHER_SIGMA = {"pelvis": 0.107, "spine": 0.093, "thorax": 0.079, "neck_nose": 0.05, "head_top": 0.05}
# How much a joint says about where the whole body is: limbs swing.
_SWINGS = {"knee": 0.2, "ankle": 0.1, "elbow": 0.2, "wrist": 0.1}
_PARTS = [name.split("_", 1)[-1] if j in skeleton.LIMBS else name for j, name in enumerate(skeleton.JOINTS)]
_SIGMA = np.array([({**_COCO_SIGMA, **_OTHER_SIGMA})[part] for part in _PARTS])
_RIGID = np.array([_SWINGS.get(part, 1.0) for part in _PARTS])
# How high each joint of somebody who stands is, as a share of the height that the highest has above the lowest.
_HEIGHTS = {"ankle": 0.0, "knee": 0.25, "hip": 0.52, "wrist": 0.5, "elbow": 0.65, "shoulder": 0.82}
_OTHER_HEIGHTS = {"pelvis": 0.52, "spine": 0.67, "thorax": 0.82, "neck_nose": 0.9, "head_top": 1.0}
_HEIGHT = np.array([({**_HEIGHTS, **_OTHER_HEIGHTS})[part] for part in _PARTS])
_LEAST_SHARE = 0.2  # of the height that whatever shows is taken to be: shoulders, or a head
_AREA_SHARE = 0.6  # square root of a standing person's area, as a share of their height
_TOLERANCE = 2 * _SIGMA * _AREA_SHARE

# Variances by column: x and y in body sizes, and the logarithm of the size.
_MEASURED = np.square([0.025, 0.025, 0.08])
# People accelerate as white noise would, by half a metre per second in 1 s.
_PUSHED_PER_S3 = np.square([0.3, 0.3, 0.05])
_FIRST_SPEED = np.square([1.5, 1.5, 0.3])  # of somebody who has just appeared, per second
# What the rows of Motion.state become in dt seconds, by powers of dt: out of each other, and by being pushed (over dt).
_POWERS = np.arange(3)
_MOVES: Floats = np.zeros((3, 5, 5))
_MOVES[0] = np.eye(5)
_MOVES[1, 0, 1], _MOVES[1, 2, 3], _MOVES[1, 3, 4], _MOVES[2, 2, 4] = 1, 2, 1, 1
_PUSHES: Floats = np.zeros((3, 5, 3))
_PUSHES[2, 2], _PUSHES[1, 3], _PUSHES[0, 4] = _PUSHED_PER_S3 / 3, _PUSHED_PER_S3 / 2, _PUSHED_PER_S3
_SHAPE_TAU_S = 0.15
_STIFF = 0.05  # body sizes
_SURE = 3.0  # standard deviations; farther off is a turn that the filter must follow at once

_TAIL = 4.0  # degrees of freedom of Student's t: people do leap, and detectors slip
_GATE = 13.0  # log-likelihood, above that of the least likely that still continues a track
_SHAPE_WORTH = 2.0  # times the logarithm of the similarity
_HIDDEN_COST = 2.0  # whoever was in view a frame ago is likelier to be seen than who was not
_GLIMPSE_S = 0.25  # whoever was out of sight for longer is not known again by a joint or two
_TRUST = 6.0  # what a detector's id is worth
_NEAR, _NEAR_PER_S = 0.5, 0.5  # an id names the same person within this many body sizes of the prediction


class Motion:
    """Where a person is in the image, how the body moves there, and its shape.

    Rows of ``state`` (5, 3): place, speed per second, and the variances of place, of both together and of speed;
    columns: x and y in pixels and the logarithm of the size in pixels. Variances are relative to the size.
    shape (17,): joints from the place, in sizes, NaN for those never seen.
    """

    def __init__(self, stamp_ns: int, joints_px: Floats) -> None:
        size, place = _body_size(joints_px), np.nanmean(joints_px.astype(np.float64), 0)
        zero = np.zeros(3)
        self.stamp_ns = stamp_ns
        self.state = np.stack([np.append(place, np.log(size)), zero, _MEASURED, zero, _FIRST_SPEED])
        self.shape = as_complex(joints_px - place) / size

    def predict(self, stamp_ns: int) -> Floats:
        """Joints (17, 2) px at a stamp; NaN for those never seen."""
        state = _predicted([self], stamp_ns)[0]
        return state[0, :2] + np.exp(state[0, 2]) * as_points(self.shape)

    def turn(self, move: Move) -> bool:
        """Go on in another image; False for somebody whom it cannot show: where they were, there may be others."""
        joints, place = move(self.predict(self.stamp_ns)), move(self.state[0, :2])
        shape = as_complex(joints - place) / np.exp(self.state[0, 2])
        seen = ~np.isnan(shape)
        if not seen.any():
            return False
        larger = np.divide(*(max(abs(s[seen]).sum(), 1e-6) for s in (shape, self.shape)))
        self.state[0] = *place, self.state[0, 2] + np.log(larger)
        self.state[1, :2] *= larger
        self.shape = shape / larger
        return True


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Everyone seen at a stamp beside everyone expected there, see ``_predicted`` and ``_fit``.

    state (T, 5, 3), shape (T, 17) expected; off (T, P, 3), now (T, P, 17) found.
    """

    stamp_ns: int
    state: Floats
    shape: Complexes
    off: Floats
    now: Complexes


def compare(motions: Sequence[Motion], stamp_ns: int, people_px: Floats) -> Comparison | None:
    """People (P, 17, 2) px, NaN where unseen, with every motion; None where there is nothing to compare."""
    if not motions or not len(people_px):
        return None
    state, shape = _predicted(motions, stamp_ns), np.array([m.shape for m in motions])
    return Comparison(stamp_ns, state, shape, *_fit(state[:, None], shape[:, None], people_px[None]))


def follow(motions: Sequence[Motion], seen: Comparison, pairs: Mapping[int, int]) -> None:
    """Take newer joints in: person index -> motion index. A joint that is not seen moves along with the body."""
    if not pairs:
        return
    people, which = list(pairs), list(pairs.values())
    state, shape = seen.state[which], seen.shape[which]
    off, now = seen.off[which, people], seen.now[which, people]
    leap = off * off / (state[:, 2] + _MEASURED) / _SURE**2
    state[:, 2:] *= np.maximum(1, leap.sum(-1) / 3)[:, None, None]
    gain = state[:, 2:4] / (state[:, 2:3] + _MEASURED)
    step = gain * off[:, None]
    step[..., :2] *= np.exp(state[:, :1, 2:])
    state[:, :2] += step
    state[:, 4] -= gain[:, 1] * state[:, 3]
    state[:, 2:4] *= 1 - gain[:, :1]
    dt = np.array([(seen.stamp_ns - motions[t].stamp_ns) * 1e-9 for t in which])[:, None]
    # Only what no move and no scale explains is a change of shape: else size and shape would drift apart.
    changed = np.where(np.isnan(shape), now, shape + (1 - np.exp(-dt / _SHAPE_TAU_S)) * (now - shape))
    shape = np.where(np.isnan(now), shape, changed)
    for k, t in enumerate(which):
        motions[t].stamp_ns, motions[t].state, motions[t].shape = seen.stamp_ns, state[k], shape[k]


def associate(
    motions: Sequence[Motion],
    seen: Comparison,
    track_ids: Sequence[int],
    person_ids: Sequence[int] | None,
    min_similarity: float,
) -> dict[int, int]:
    """Which person continues which track: person index -> track index; people without an entry are new.

    A detector's id counts as evidence, not as proof: one that turns up where its person cannot be is somebody else's,
    and two that are swapped in mid-air are recognised.
    """
    alike = similarity(abs(seen.now - seen.shape[:, None]))
    gap_s = np.array([abs(seen.stamp_ns - m.stamp_ns) * 1e-9 for m in motions])
    newest_ns = max(m.stamp_ns for m in motions)
    hidden = np.array([m.stamp_ns < newest_ns for m in motions])
    variance = seen.state[:, None, 2] + _MEASURED
    surprise = (seen.off * seen.off / variance).sum(-1)
    unlikely = (_TAIL + 3) / 2 * np.log(1 + surprise / _TAIL) + np.log(variance / _MEASURED).sum(-1) / 2
    worth = _GATE - unlikely + _SHAPE_WORTH * np.log(np.maximum(alike, 1e-3))
    worth -= _HIDDEN_COST * hidden[:, None]
    glimpse = (~np.isnan(seen.now)).sum(-1) < LEAST_JOINTS
    unknown = (alike < min_similarity) | (glimpse & (gap_s > _GLIMPSE_S)[:, None])
    worth = np.where(unknown, 0, np.maximum(worth, 0))
    if person_ids is not None:
        near = np.hypot(seen.off[..., 0], seen.off[..., 1]) <= (_NEAR + _NEAR_PER_S * gap_s)[:, None]
        worth += _TRUST * ((np.array(track_ids)[:, None] == np.array(person_ids)) & near)
    rows, columns = linear_sum_assignment(-worth)
    found = zip(rows.tolist(), columns.tolist(), worth[rows, columns].tolist(), strict=True)
    return {p: t for t, p, how_much in found if how_much > 0}


def similarity(apart: Floats) -> Floats:
    """Object keypoint similarity (COCO) in [0, 1] of joints that far apart, in body sizes: (..., 17) -> (...).

    NaN where unseen; 0 where nothing is seen.
    """
    seen = ~np.isnan(apart)
    off = np.where(seen, apart, np.inf) / _TOLERANCE
    alike = np.exp(off * off / -2)
    return alike.sum(-1) / np.maximum(seen.sum(-1), 1)


def extent(joints_px: Floats) -> Floats:
    """A person's size in the image, the longer side of the box around the joints seen: (…, 17, 2) -> (…,) px, >= 1."""
    joints_px = joints_px.astype(np.float64)  # in float32, the span of what is far off on both sides overflows
    spans = np.fmax.reduce(joints_px, -2) - np.fmin.reduce(joints_px, -2)
    return np.fmax(spans.max(-1), 1.0)


def _body_size(joints_px: Floats) -> float:
    """How tall somebody of whom these joints (17, 2) show would be in the image if they stood there as a whole, px."""
    shown = _HEIGHT[np.isfinite(joints_px[:, 0])]
    return float(extent(joints_px)) / max(np.ptp(shown), _LEAST_SHARE)


def _predicted(motions: Sequence[Motion], stamp_ns: int) -> Floats:
    """States (T, 5, 3) of everyone at a stamp, before or after their own."""
    state = np.array([m.state for m in motions])
    dt = np.array([(stamp_ns - m.stamp_ns) * 1e-9 for m in motions])[:, None]
    powers = dt**_POWERS
    moved = (powers @ _MOVES.reshape(3, -1)).reshape(-1, 5, 5) @ state
    return moved + (abs(dt) * powers @ _PUSHES.reshape(3, -1)).reshape(-1, 5, 3)


def _fit(state: Floats, shape: Complexes, joints_px: Floats) -> tuple[Floats, Complexes]:
    """How far joints are from where a body is expected, and their shape once they are moved and scaled there.

    States (..., 5, 3), shapes (..., 17), joints (..., 17, 2) px -> x and y in body sizes and the logarithm of how much
    larger, (..., 3), 0 where no joint is shared; and shapes (..., 17), NaN where unseen.
    """
    place, size = as_complex(state[..., 0, :2])[..., None], np.exp(state[..., 0, 2:])
    joints = (as_complex(joints_px) - place) / size
    apart = joints - shape
    shared = ~np.isnan(apart)
    weight = _RIGID * shared
    total = np.maximum(weight.sum(-1, keepdims=True), 1e-9)
    a, apart = np.where(shared, shape, 0), np.where(shared, apart, 0)
    middle = (weight * a).sum(-1, keepdims=True) / total
    moved = (weight * apart).sum(-1, keepdims=True) / total
    a = a - middle
    weighted, stiff = weight * a.conj(), total * _STIFF**2  # few joints do not say how large somebody is
    larger = (weighted * apart).sum(-1, keepdims=True).real / ((weighted * a).sum(-1, keepdims=True).real + stiff)
    scale = np.maximum(1 + larger, 0.1)
    return np.concatenate([moved.real, moved.imag, np.log(scale)], -1), (joints - moved - middle) / scale + middle
