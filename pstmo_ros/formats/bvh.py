"""Lifted poses -> Biovision hierarchies (.bvh), one per person, as animation tools read them: centimetres, y up.

A BVH skeleton has fixed bones. Directions are kept exactly, joint by joint, and each bone gets its median length over
the recording: joint positions come back exactly where bone lengths are constant, and are off by what they vary else.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from pstmo_ros.core import skeleton
from pstmo_ros.core.types import Floats

_UP = np.diag([1.0, -1.0, -1.0])  # camera axes (x right, y down, z away) -> y up, towards the viewer
_CHILDREN = [[c for c in range(skeleton.J) if skeleton.PARENTS[c] == j] for j in range(skeleton.J)]
_ANGLES = "Zrotation Xrotation Yrotation"
_CM = 100.0


def write_bvh(path: str | Path, poses_m: Floats, rate_hz: float) -> None:
    """poses_m (T, 17, 3) metres, camera axes, finite -> a file with the 17 joints by their names.

    Each bone turns by a joint of its own at its upper end (PARENT_to_CHILD), for pelvis and thorax have several.
    """
    poses = poses_m.astype(float) @ _UP.T * _CM
    order, offsets, turns = _bones(poses)
    lines = ["HIERARCHY", *_hierarchy(skeleton.ROOT, offsets, 0), "MOTION", f"Frames: {len(poses)}"]
    lines.append(f"Frame Time: {1 / rate_hz:.9f}")
    columns = [poses[:, skeleton.ROOT], np.zeros((len(poses), 3))]
    for bone in order:
        columns.append(turns[bone])
    for row in np.concatenate(columns, -1):
        lines.append(" ".join(f"{v:.6f}" for v in row))
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text("\n".join(lines) + "\n")


def _bones(poses: Floats) -> tuple[list[int], Floats, dict[int, Floats]]:
    """Child joints in the file's order, each bone's rest offset (17, 3), and its turn in degrees (T, 3) by child."""
    lengths = np.linalg.norm(poses - poses[:, skeleton.PARENTS], axis=-1)
    offsets = np.zeros((skeleton.J, 3))
    offsets[:, 1] = np.median(lengths, 0)
    order: list[int] = []
    turns: dict[int, Floats] = {}
    world = {skeleton.ROOT: Rotation.identity(len(poses))}

    def visit(joint: int) -> None:
        for child in _CHILDREN[joint]:
            order.append(child)
            direction = world[joint].inv().apply(poses[:, child] - poses[:, joint])
            turns[child] = _from_up(direction)
            world[child] = world[joint] * Rotation.from_euler("ZXY", turns[child], degrees=True)
            visit(child)

    visit(skeleton.ROOT)
    return order, offsets, turns


def _from_up(direction: Floats) -> Floats:
    """Degrees about z, x and y (0: a bone has no twist) that turn (0, 1, 0) onto each direction, (T, 3) -> (T, 3)."""
    unit = direction / np.maximum(np.linalg.norm(direction, axis=-1, keepdims=True), 1e-9)
    about_z = np.arctan2(-unit[:, 0], unit[:, 1])
    return np.degrees(np.stack([about_z, np.arcsin(np.clip(unit[:, 2], -1, 1)), np.zeros(len(unit))], -1))


def _hierarchy(joint: int, offsets: Floats, depth: int) -> list[str]:
    """The pelvis, and below every joint one turning joint per bone, at whose end the child lies."""
    pad, name = "  " * depth, skeleton.JOINTS[joint]
    if joint == skeleton.ROOT:
        lines = [f"ROOT {name}", "{", "  OFFSET 0 0 0", f"  CHANNELS 6 Xposition Yposition Zposition {_ANGLES}"]
    else:
        x, y, z = offsets[joint]
        lines = [f"{pad}JOINT {name}", f"{pad}{{", f"{pad}  OFFSET {x:.6f} {y:.6f} {z:.6f}"]
    for child in _CHILDREN[joint]:
        lines += [f"{pad}  JOINT {name}_to_{skeleton.JOINTS[child]}", f"{pad}  {{", f"{pad}    OFFSET 0 0 0"]
        lines += [f"{pad}    CHANNELS 3 {_ANGLES}", *_hierarchy(child, offsets, depth + 2), f"{pad}  }}"]
    if not _CHILDREN[joint]:
        lines += [f"{pad}  End Site", f"{pad}  {{", f"{pad}    OFFSET 0 1 0", f"{pad}  }}"]
    return [*lines, f"{pad}}}"]
