"""Who is who: people in a new frame -> the tracks they continue, by keypoint similarity, motion and the detector's ids.

T tracks, P people.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from pstmo_ros.core import skeleton
from pstmo_ros.core.types import Floats

# Standard deviations of COCO's annotators by joint, as a share of the square root of a person's area.
_COCO_SIGMA = {"hip": 0.107, "knee": 0.087, "ankle": 0.089, "shoulder": 0.079, "elbow": 0.072, "wrist": 0.062}
# Joints that layouts derive from those: means of hips and shoulders, the nose (0.026) and the eyes (0.025).
_OTHER_SIGMA = {"pelvis": 0.107, "spine": 0.093, "thorax": 0.079, "neck_nose": 0.026, "head_top": 0.025}
_SIGMA = np.array([({**_COCO_SIGMA, **_OTHER_SIGMA})[name.split("_", 1)[-1] if j in skeleton.LIMBS else name]
                   for j, name in enumerate(skeleton.JOINTS)])  # fmt: skip
_AREA_SHARE = 0.6  # square root of a standing person's area, as a share of their height
_DRIFT_PER_S = 0.25  # how far people stray from their predicted path, in shares of the same root
_TRUST = 0.5  # what a detector's id is worth beside a similarity in [0, 1]
_NEAR, _NEAR_PER_S = 0.5, 0.5  # an id names the same person within this many body sizes of the prediction
_SPEED_TAU_S = 0.3


class Motion:
    """Where a person's joints are in the image, and how the body moves there: constant velocity, pixels per second."""

    def __init__(self, stamp_ns: int, joints_px: Floats) -> None:
        self.stamp_ns, self.joints_px = stamp_ns, joints_px.astype(np.float64)
        self._velocity = np.zeros(2)
        self._updates = 0

    def predict(self, stamp_ns: int) -> Floats:
        """Joints (17, 2) px at a stamp; NaN for those never seen."""
        return self.joints_px + self._velocity * (stamp_ns - self.stamp_ns) * 1e-9

    def drift(self, stamp_ns: int) -> float:
        """How uncertain the prediction is, as a share of the body's root area."""
        gap_s = abs(stamp_ns - self.stamp_ns) * 1e-9
        return gap_s * (_DRIFT_PER_S if self._updates > 1 else 4 * _DRIFT_PER_S)

    def update(self, stamp_ns: int, joints_px: Floats) -> None:
        """Take newer joints (17, 2) px in, NaN where unseen; an unseen joint moves along with the body."""
        dt = (stamp_ns - self.stamp_ns) * 1e-9
        moved = joints_px - self.joints_px
        both = np.isfinite(moved[:, 0])
        predicted = self.predict(stamp_ns)
        if both.any():
            self._updates += 1
            gain = max(1 / self._updates, 1 - math.exp(-dt / _SPEED_TAU_S))
            self._velocity = self._velocity + gain * (_middle(moved[both]) / dt - self._velocity)
        self.joints_px = np.where(np.isnan(joints_px), predicted, joints_px)
        self.stamp_ns = stamp_ns


def associate(
    motions: list[Motion],
    track_ids: list[int],
    stamp_ns: int,
    people_px: Floats,
    person_ids: list[int] | None,
    min_similarity: float,
) -> dict[int, int]:
    """Which person continues which track: person index -> track index; people without an entry are new.

    people_px (P, 17, 2) pixels, NaN where unseen. A detector's id counts as evidence, not as proof: one that turns up
    where its person cannot be is somebody else's, and two that are swapped in mid-air are recognised.
    """
    if not motions or not len(people_px):
        return {}
    predicted = np.stack([m.predict(stamp_ns) for m in motions])
    gaps_s = np.array([abs(stamp_ns - m.stamp_ns) * 1e-9 for m in motions])
    apart, size = _apart(predicted, people_px)
    worth = similarity(apart, size, np.array([m.drift(stamp_ns) for m in motions]))
    worth[worth < min_similarity] = 0
    if person_ids is not None:
        same = np.equal.outer(track_ids, person_ids)
        near = np.nan_to_num(_median(apart) / size) <= (_NEAR + _NEAR_PER_S * gaps_s)[:, None]
        worth += _TRUST * (same & near)
    rows, columns = linear_sum_assignment(-worth)
    return {int(p): int(t) for t, p in zip(rows, columns, strict=True) if worth[t, p] > 0}


def similarity(apart_px: Floats, size_px: Floats, drift: Floats) -> Floats:
    """Object keypoint similarity (COCO) in [0, 1]: (T, P, 17) px NaN where unseen, (T, P) px, (T,) -> (T, P).

    ``drift`` widens every joint's tolerance for predictions that reach far.
    """
    tolerance = (2 * _SIGMA) ** 2 + np.square(drift)[:, None, None]
    seen = np.isfinite(apart_px)
    scale = np.square(_AREA_SHARE * size_px)[..., None]
    alike = np.where(seen, np.exp(-np.square(np.where(seen, apart_px, 0)) / (2 * scale * tolerance)), 0)
    return alike.sum(-1) / np.maximum(seen.sum(-1), 1)


def extent(joints_px: Floats) -> Floats:
    """A person's size in the image, the longer side of the box around the joints seen: (…, 17, 2) -> (…,) px, >= 1."""
    seen = np.isfinite(joints_px)
    spans = np.where(seen, joints_px, -np.inf).max(-2) - np.where(seen, joints_px, np.inf).min(-2)
    return np.maximum(spans.max(-1), 1.0)


def _apart(tracks_px: Floats, people_px: Floats) -> tuple[Floats, Floats]:
    """Joint distances (T, P, 17) px, and the larger of both sizes (T, P) px."""
    apart = np.linalg.norm(tracks_px[:, None] - people_px[None], axis=-1)
    return apart, np.maximum.outer(extent(tracks_px), extent(people_px))


def _middle(moved: Floats) -> Floats:
    """Median of (M, 2) by column; numpy's own takes five times as long on so few."""
    return np.sort(moved, 0)[len(moved) // 2]


def _median(apart: Floats) -> npt.NDArray[np.floating]:
    """Median over the joints that were seen; NaN where none is shared."""
    ordered = np.sort(apart, -1)  # NaN goes last
    middle = np.maximum(np.isfinite(apart).sum(-1) - 1, 0) // 2
    return np.take_along_axis(ordered, middle[..., None], -1)[..., 0]
