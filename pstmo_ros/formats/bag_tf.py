"""How a camera moved, in a bag's /tf: read as tf2 would, and written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation, Slerp

from pstmo_ros.adapters import TF_MESSAGE, stamp_ns
from pstmo_ros.core.steady import OLDEST_S
from pstmo_ros.core.types import Floats

TF, TF_STATIC = "/tf", "/tf_static"
Stamps = npt.NDArray[np.int64]


class Links:
    """A bag's transforms: for each frame its parent, and where it is in that, as time goes by."""

    def __init__(self, bag: Any) -> None:
        self._parent: dict[str, str] = {}
        self._static: set[str] = set()
        self._poses: dict[str, dict[int, tuple[list[float], list[float]]]] = defaultdict(dict)
        connections = [c for c in bag.connections if c.msgtype == TF_MESSAGE]
        for connection, _, data in bag.messages(connections) if connections else ():  # of none, it would give them all
            for link in bag.deserialize(data, connection.msgtype).transforms:
                child = link.child_frame_id.lstrip("/")
                by, turn = link.transform.translation, link.transform.rotation
                self._parent[child] = link.header.frame_id.lstrip("/")
                pose = [by.x, by.y, by.z], [turn.x, turn.y, turn.z, turn.w]
                self._poses[child][stamp_ns(link.header)] = pose
                if connection.topic.endswith(TF_STATIC):
                    self._static.add(child)

    def poses(self, target: str, source: str, stamps_ns: Stamps) -> Floats:
        """(T, 4, 4) target_from_source; NaN where a transform is more than ``OLDEST_S`` away. ValueError if there is no
        way between the two."""
        down, up = [*self._ancestry(target)], [*self._ancestry(source)]
        shared = next((frame for frame in up if frame in down), None)
        if shared is None:
            frames = sorted({*self._parent, *self._parent.values()})
            raise ValueError(f"no transforms from {source!r} to {target!r}; frames: {', '.join(frames) or 'none'}")
        known = np.ones(len(stamps_ns), bool)
        ends = []
        for way in (down, up):
            pose: Floats = np.tile(np.eye(4), (len(stamps_ns), 1, 1))
            for frame in way[: way.index(shared)]:
                link, there = self._at(frame, stamps_ns)
                pose, known = link @ pose, known & there
            ends.append(pose)
        out = np.linalg.inv(ends[0]) @ ends[1]
        out[~known] = np.nan
        return out

    def _ancestry(self, frame: str) -> Iterator[str]:
        seen: set[str] = set()
        while frame not in seen:
            seen.add(frame)
            yield frame
            frame = self._parent.get(frame, frame)

    def _at(self, frame: str, stamps_ns: Stamps) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Poses (T, 4, 4) of a frame in its parent, and whether that is known, at each stamp."""
        given = sorted(self._poses[frame].items())
        times = np.array([stamp for stamp, _ in given])
        by, turns = np.array([p[0] for _, p in given]), Rotation.from_quat([p[1] for _, p in given])
        if frame in self._static:
            times, by, turns = times[-1:], by[-1:], turns[-1:]
        start = times[0]
        at = np.clip(stamps_ns, start, times[-1])
        near = np.full(len(at), frame in self._static) | (abs(stamps_ns - at) <= OLDEST_S * 1e9)
        seconds, when = (times - start) / 1e9, (at - start) / 1e9
        turned = Slerp(seconds, turns)(when) if len(times) > 1 else turns[np.zeros(len(at), int)]
        poses = np.tile(np.eye(4), (len(at), 1, 1))
        poses[:, :3, :3] = turned.as_matrix()
        poses[:, :3, 3] = np.stack([np.interp(when, seconds, axis) for axis in by.T], -1)
        return poses, near


def message(store: Any, header: Any, child: str, pose: Floats) -> Any:
    """A TFMessage that says where ``child`` is in the header's frame: pose (4, 4)."""
    types = store.types
    by, turn = pose[:3, 3].tolist(), Rotation.from_matrix(pose[:3, :3]).as_quat().tolist()
    transform = types["geometry_msgs/msg/Transform"](
        translation=types["geometry_msgs/msg/Vector3"](*by), rotation=types["geometry_msgs/msg/Quaternion"](*turn)
    )
    stamped = types["geometry_msgs/msg/TransformStamped"](header=header, child_frame_id=child, transform=transform)
    return types[TF_MESSAGE](transforms=[stamped])
