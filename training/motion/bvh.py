"""Biovision hierarchies (.bvh): a tree of joints and their channels frame by frame -> where the joints are.

Points carry the joints' names without a namespace ("mixamorig:Hips" is Hips); a joint's end site is "NAME_end".
T frames, K points.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from pstmo_ros.core.types import Floats
from training.datasets.clips import DataError
from training.motion.points import Motion

_AXES = "XYZ"
_TIMES = re.compile(r"\s*Frames\s*:\s*(\S+)\s+Frame\s+Time\s*:\s*(\S+)", re.IGNORECASE)


@dataclass
class _Joint:
    name: str
    parent: int  # index of an earlier joint; -1 for the root
    offset: Floats = field(default_factory=lambda: np.zeros(3))
    channels: tuple[str, ...] = ()  # "Zrotation" …, in the order of the file

    @property
    def turns(self) -> str:
        """The axes that its rotations go about, "ZXY", in the order of the file."""
        return "".join(c[0] for c in self.channels if c.endswith("rotation"))


def read_bvh(path: Path) -> Motion:
    """The points of a .bvh file. DataError names the file and what is wrong with it."""
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    head, motion, tail = text.partition("MOTION")
    if not head.lstrip().startswith("HIERARCHY") or not motion:
        raise DataError(f"{path}: not a BVH file: it must have a HIERARCHY and a MOTION part")
    try:
        joints = _hierarchy(iter(head.split()[1:]))
        frames, frame_s, values = _motion(tail)
    except (StopIteration, ValueError, IndexError) as e:
        raise DataError(f"{path}: broken or truncated ({str(e) or 'it ends within the hierarchy'})") from None
    channels = sum(len(j.channels) for j in joints)
    if len(values) != frames * channels or len(values) == 0:
        raise DataError(
            f"{path}: broken or truncated: {len(values)} motion values for {frames} frames of {channels} channels"
        )
    if not (frame_s > 0 and np.isfinite(values).all()):
        raise DataError(f"{path}: holds a frame time of {frame_s} s or motion values that are not finite")
    return Motion(tuple(j.name for j in joints), _forward(joints, values.reshape(frames, -1)), 1 / frame_s, None)


def _hierarchy(tokens: Iterator[str]) -> list[_Joint]:
    joints: list[_Joint] = []
    open_joints: list[int] = []
    for token in tokens:
        if token in ("ROOT", "JOINT", "End"):
            name = next(tokens).rpartition(":")[2]
            parent = open_joints[-1] if open_joints else -1
            joints.append(_Joint(f"{joints[parent].name}_end" if token == "End" else name, parent))
        elif token == "{":
            open_joints.append(len(joints) - 1)
        elif token == "}":
            open_joints.pop()
        elif token == "OFFSET":
            joints[open_joints[-1]].offset = offset = np.array([float(next(tokens)) for _ in _AXES])
            if not np.isfinite(offset).all():
                raise ValueError(f"an OFFSET of {offset} is not finite")
        elif token == "CHANNELS":
            names = [next(tokens).capitalize() for _ in range(int(next(tokens)))]
            joints[open_joints[-1]].channels = tuple(names)
        else:
            raise ValueError(f"{token!r} is not expected in the hierarchy")
    if open_joints or not joints:
        raise ValueError("the hierarchy's braces do not close")
    for joint in joints:
        if bad := [c for c in joint.channels if c[0] not in _AXES or c[1:] not in ("position", "rotation")]:
            raise ValueError(f"channel {bad[0]!r} of joint {joint.name!r} is unknown")
        if len(joint.turns) > 3 or any(a == b for a, b in itertools.pairwise(joint.turns)):
            raise ValueError(f"joint {joint.name!r} turns about {joint.turns}; give up to three, none twice in a row")
    return joints


def _motion(text: str) -> tuple[int, float, Floats]:
    """Number of frames, seconds per frame, and every value in the file's order."""
    times = _TIMES.match(text)
    if times is None:
        raise ValueError("MOTION must begin with 'Frames:' and 'Frame Time:'")
    return int(times[1]), float(times[2]), np.array(text[times.end() :].split(), dtype=float)


def _forward(joints: list[_Joint], values: Floats) -> Floats:
    """Forward kinematics: channel values (T, channels) -> points (T, K, 3)."""
    frames, column = len(values), 0
    points, turns = np.empty((frames, len(joints), 3)), []
    for k, joint in enumerate(joints):
        here = values[:, column : column + len(joint.channels)]
        column += len(joint.channels)
        shift = np.tile(joint.offset, (frames, 1))
        for value, channel in zip(here.T, joint.channels, strict=True):
            if channel.endswith("position"):  # stands in the place of the offset, as every exporter writes it
                shift[:, _AXES.index(channel[0])] = value
        turning = [i for i, channel in enumerate(joint.channels) if channel.endswith("rotation")]
        # Upper case: about the axes as already turned.
        angles, order = here[:, turning], joint.turns
        turn = Rotation.from_euler(order, angles, degrees=True) if order else Rotation.identity(frames)
        if joint.parent < 0:
            points[:, k] = shift
            turns.append(turn)
        else:
            points[:, k] = points[:, joint.parent] + turns[joint.parent].apply(shift)
            turns.append(turns[joint.parent] * turn)
    return points
