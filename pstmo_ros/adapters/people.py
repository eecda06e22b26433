"""The last step of every adapter: who was seen, and who they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from zlib import crc32

import numpy as np

from pstmo_ros.adapters import KeypointsError
from pstmo_ros.core.placement import LEAST_JOINTS
from pstmo_ros.core.types import Floats, Frame2D

_CORNER_PX = 1.5  # of the image; nobody is that small
# Widths and heights of the image: no detector guesses most of somebody that far outside. Below is where the legs are
# of somebody whose face fills the image.
_OUTSIDE = (1.5, 5.0)
_ID_BITS = (1 << 30) - 1  # leaves room above for ids given here, within an int32


def seen_people(
    stamp_ns: int, size_px: tuple[int, int], layout: str, xy_px: Floats, scores: Floats, ids: Sequence[int | None]
) -> Frame2D:
    """xy_px (P, J, 2) and scores (P, J) as they were sent -> Frame2D without joints and people that were not seen.

    ids (P,): None or negative where the detector has none; when anybody who was seen has none, nobody has.
    KeypointsError when an id repeats.
    """
    xy, scores = xy_px.astype(np.float32, copy=False), scores.astype(np.float32, copy=False)
    seen = np.isfinite(xy).all(-1) & (scores > 0) & (scores < np.inf)
    xy, scores = np.where(seen[..., None], xy, np.nan), np.where(seen, scores, 0)
    there = np.logical_or.reduce(seen, -1).nonzero()[0].tolist()
    if len(there) < len(xy):
        xy, scores = xy[there], scores[there]
    given = [_numbered(ids[p]) for p in there]
    known = tuple(i for i in given if i is not None)
    if len(set(known)) != len(known):
        raise KeypointsError(f"keypoints person_id repeats: {list(known)}; give each person an id of their own, or -1")
    return Frame2D(stamp_ns, size_px, layout, xy, scores, known if len(known) == len(given) else None)


def check_pixels(points_px: Floats, size_px: tuple[int, int]) -> None:
    """KeypointsError where what was seen, (K, 2), cannot be pixels of an image of that size."""
    if len(points_px) < LEAST_JOINTS:  # nobody is followed by so few
        return
    far = abs(points_px)
    furthest = far.max(0).tolist()
    if 0 < max(furthest) < _CORNER_PX:
        raise KeypointsError("keypoints are shares of the image; give pixels: times its width and height")
    limits = [_OUTSIDE[i] * size_px[i] for i in (0, 1)]
    if any(furthest[i] > limits[i] and 2 * np.count_nonzero(far[:, i] > limits[i]) > len(far) for i in (0, 1)):
        x, y = np.median(points_px, 0)
        raise KeypointsError(
            f"keypoints lie around ({x:.0f}, {y:.0f}) in an image of {size_px[0]} x {size_px[1]} pixels: camera_info "
            "must be that of the image which the detector sees, and shares of it be sent only where those are asked for"
        )


def _numbered(given: float | None) -> int | None:
    """An id as an int32, None for none; one that is too large becomes another that is always the same."""
    if given is None or not 0 <= given < math.inf:
        return None
    return int(given) if given <= _ID_BITS else _in_int32(str(int(given)))


def _in_int32(text: str) -> int:
    return crc32(text.encode()) & _ID_BITS


def person_id(given: object) -> int | None:
    """A detector's id as a number: text that is no number becomes one that is always the same; None for none at all."""
    if isinstance(given, (float, np.floating)):  # AlphaPose writes 1.0; recorded float32[] are NumPy's
        return int(given) if math.isfinite(given) else None
    text = str(given).strip()
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        return _in_int32(text)
