"""Under what the accuracy evaluation looks at a model: each table changes one thing."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

from pstmo_ros.core import skeleton
from pstmo_ros.core.normalize import ASSUMED_FIELD_OF_VIEW_DEG
from training.changes import Change, every, forget_camera, forget_odometry, hide, hide_some, swap_sides
from training.synthesis import MOST_TURN_DEG, TURN_S

_PITCHES_DEG = (0, -60, -30, 30, 60)
_TIPPED_DEG = (0, 45, 90, 180)
_UPPER = tuple(i for i, n in enumerate(skeleton.JOINTS) if not n.endswith((*skeleton.LEG, "pelvis")))
ALL = tuple(range(skeleton.J))


@dataclass(frozen=True)
class Condition:
    """One row: what is changed, which joints are scored, and the joint that is their origin where not the pelvis."""

    name: str
    look_ahead_s: float = 0.0
    layout: str = "coco_17"
    change: Change | None = None
    pitch_deg: float | None = None
    distance_m: float | None = None
    gravity_off_deg: float | None = None
    tipped_deg: float = 0.0
    turning_deg: float | None = None
    joints: tuple[int, ...] = ALL
    origin: int = skeleton.ROOT

    @property
    def lifted(self) -> Condition:
        """What the poses depend on: those of conditions in which it is the same are the same."""
        return dataclasses.replace(self, name="", joints=ALL, origin=skeleton.ROOT)


def conditions(longest_s: float, hz: float) -> dict[str, list[Condition]]:
    """The tables: title -> rows, of which the first is what the others are compared with."""
    plain = Condition("as it is")
    above_the_table = [
        dataclasses.replace(plain, joints=_UPPER),
        Condition("knees and ankles hidden", change=hide(("knee", "ankle")), joints=_UPPER),
        Condition("hips too", change=hide(skeleton.LEG), joints=_UPPER),
    ]
    # Down to hundredths: beyond the window a model refuses to answer.
    longest = min(math.floor(100 * longest_s + 1e-6) / 100, longest_s)
    look_aheads = [s for s in (0.0, 0.1, 0.2, 0.4) if s < longest] + [longest]
    return {
        "Look-ahead, seconds": [Condition(f"{s:g}", look_ahead_s=s) for s in look_aheads],
        "Hidden keypoints, of 17": [
            Condition(str(k), change=None if k == 0 else hide_some(k)) for k in (0, 1, 2, 4, 6, 8)
        ],
        "Lower body hidden: error of the upper body": above_the_table,
        "The same about the thorax: where a hidden pelvis is guessed to be does not count": [
            dataclasses.replace(row, origin=skeleton.index("thorax")) for row in above_the_table
        ],
        "Left and right": [
            Condition("as they are"),
            Condition("taken for each other, 0.1 to 0.5 s in every 2 s", change=swap_sides),
        ],
        "Detector rate, Hz": [Condition(f"{hz / k:.3g}", change=None if k == 1 else every(k)) for k in (1, 2, 3, 5, 6)],
        f"Intrinsics, or {ASSUMED_FIELD_OF_VIEW_DEG:g} degrees taken for the field of view": [
            Condition("known"),
            Condition("unknown", change=forget_camera),
        ],
        "Camera pitch, degrees": [Condition(f"{p:+d}", pitch_deg=p) for p in _PITCHES_DEG],
        "Where down is, to so many degrees": [
            Condition("unknown"),
            *(Condition(f"{d:g}", gravity_off_deg=d) for d in (0.0, 2.0, 5.0, 10.0)),
        ],
        "Camera pitch, degrees, when it is known where down is": [
            Condition(f"{p:+d}", pitch_deg=p, gravity_off_deg=0.0) for p in _PITCHES_DEG
        ],
        f"A camera that turns to and fro by {MOST_TURN_DEG:g} degrees every {TURN_S:g} s": [
            Condition("still", turning_deg=0.0, change=forget_odometry),
            Condition("turning", turning_deg=MOST_TURN_DEG, change=forget_odometry),
            Condition("still, with odometry", turning_deg=0.0),
            Condition("turning, with odometry", turning_deg=MOST_TURN_DEG),
        ],
        "People tipped over, degrees (90 lie)": [Condition(f"{d:g}", tipped_deg=d) for d in _TIPPED_DEG],
        "People tipped over, degrees, when it is known where down is": [
            Condition(f"{d:g}", tipped_deg=d, gravity_off_deg=0.0) for d in _TIPPED_DEG
        ],
        "Distance of the camera, m (people may leave the image)": [
            Condition(f"{d:g}", distance_m=d) for d in (4.0, 1.5, 2.5, 7.0, 10.0)
        ],
        "Keypoint layout": [
            Condition(name, layout=name)
            for name in ("coco_17", "body_25", "openpose_18", "halpe_26", "mediapipe_33", "h36m_17")
        ],
    }


def chosen(tables: dict[str, list[Condition]], words: Sequence[str]) -> dict[str, list[Condition]]:
    """The tables whose titles have one of the words, in upper or lower case, or all, without words.

    ValueError for a word that no title has.
    """
    if lost := [w for w in words if not any(w.lower() in title.lower() for title in tables)]:
        raise ValueError(f"no table has {lost[0]!r} in its title; there are: {'; '.join(tables)}")
    return {t: rows for t, rows in tables.items() if not words or any(w.lower() in t.lower() for w in words)}
