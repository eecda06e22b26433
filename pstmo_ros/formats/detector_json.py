"""Detectors' JSON -> Recording: OpenPose, AlphaPose, MMPose and RTMLib, told apart by what the files hold.

One file per frame (OpenPose, MMPose, RTMLib) or one for all (AlphaPose, MMPose on a video).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pstmo_ros.adapters.people import person_id, seen_people
from pstmo_ros.core import layouts
from pstmo_ros.core.types import Floats
from pstmo_ros.formats import Source
from pstmo_ros.recording import Recording, from_frames

_USUAL = ("coco_17", "openpose_18", "body_25")  # of several layouts of as many joints
_FORMS = "OpenPose, AlphaPose, MMPose or RTMLib"
Person = tuple[Floats, int | None]  # (J, 3) pixels and score, id


def read_json(path: Path, source: Source) -> Recording:
    """A file, or a folder with one file per frame, in the order of the numbers in their names.

    ValueError names the file and the fix.
    """
    if not path.exists():
        raise ValueError(f"recording {str(path)!r} does not exist")
    if source.rate_hz <= 0 or min(source.size_px) <= 0:
        raise ValueError(
            f"{path}: JSON has no frame rate and no image size; give --rate and --size "
            "(player: source_rate_hz and image_size)"
        )
    files = sorted(path.glob("*.json"), key=_number) if path.is_dir() else [path]
    if not files:
        raise ValueError(f"{path}: this folder has no .json files, and no metadata.yaml of a rosbag2")
    numbered: dict[int, list[Person]] = {}
    for k, file in enumerate(files):
        if path.is_dir():
            number = k if (number := _number(file)[0]) < 0 else number
            if number in numbered:
                raise ValueError(
                    f"{path}: {file.name} is not the only file of frame {number}, the last number in its name; "
                    "number the frames last, and give each camera a folder"
                )
            numbered[number] = _one_frame(file, _load(file))
        else:
            numbered = dict(_many_frames(file, _load(file)))
    if len({len(points) for people in numbered.values() for points, _ in people}) > 1:
        raise ValueError(f"{path}: people have different numbers of joints; a recording has one keypoint order")
    joints = next((len(points) for people in numbered.values() for points, _ in people), 0)
    layout = _layout(path, joints, source.layout)
    first, shape = min(numbered, default=0), (-1, len(layout.joints), 3)
    frames = []
    for number, people in sorted(numbered.items()):
        points = np.array([p for p, _ in people]).reshape(shape)
        stamp_ns = round((number - first) / source.rate_hz * 1e9)
        ids = [i for _, i in people]
        if len(set(ids)) < len(ids):  # AlphaPose numbers everybody 0 where it does not track
            ids = [None] * len(ids)
        frames.append(seen_people(stamp_ns, source.size_px, layout.name, points[..., :2], points[..., 2], ids))
    return from_frames(frames, None)


def _load(file: Path) -> Any:
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError) as e:
        raise ValueError(f"{file}: not a readable JSON file ({e})") from None


def _one_frame(file: Path, data: Any) -> list[Person]:
    """A frame's people from a file of its own."""
    with _Named(file):
        if isinstance(data, dict) and "people" in data:  # OpenPose
            return [(_triples(p["pose_keypoints_2d"]), _id(p.get("person_id"))) for p in data["people"]]
        if isinstance(data, dict) and "keypoints" in data:  # RTMLib's arrays, saved
            scores: Any = data.get("keypoint_scores", data.get("scores"))
            return [(_joined(k, s), None) for k, s in zip(data["keypoints"], scores, strict=True)]
        if isinstance(data, list) and all("keypoint_scores" in p for p in data):  # MMPose
            return [_instance(p) for p in data]
    raise ValueError(f"{file}: not a frame of {_FORMS}; give one file per frame in a folder, or the file of a video")


def _many_frames(file: Path, data: Any) -> Iterator[tuple[int, list[Person]]]:
    """Every frame's people, by frame number, from one file."""
    with _Named(file):
        if isinstance(data, dict) and "instance_info" in data:  # MMPose
            for frame in data["instance_info"]:
                yield int(frame["frame_id"]), [_instance(p) for p in frame["instances"]]
            return
        if isinstance(data, list) and data and all("image_id" in p for p in data):  # AlphaPose
            frames: dict[int, list[Person]] = {}
            for p in data:
                number = int((re.findall(r"\d+", str(p["image_id"])) or ["0"])[-1])
                frames.setdefault(number, []).append((_triples(p["keypoints"]), _id(p.get("idx"))))
            yield from frames.items()
            return
    yield 0, _one_frame(file, data)


def _instance(person: dict[str, Any]) -> Person:
    return _joined(person["keypoints"], person["keypoint_scores"]), _id(person.get("track_id"))


def _triples(values: Any) -> Floats:
    return np.array(values, float).reshape(-1, 3)


def _joined(points: Any, scores: Any) -> Floats:
    return np.concatenate([np.array(points, float)[:, :2], np.array(scores, float).reshape(-1, 1)], -1)


def _id(given: Any) -> int | None:
    """An id as detectors write it: a number, or a list of one; None without."""
    while isinstance(given, list):
        given = given[0] if given else None
    return None if given is None else person_id(given)


def _layout(path: Path, joints: int, name: str) -> layouts.Layout:
    if not joints and not name:
        raise ValueError(f"{path}: nobody is in any frame, so the keypoint order is unknown; give layout")
    fitting = layouts.with_joints(joints)
    if not name:
        usual = [known for known in fitting if known in _USUAL] or fitting
        if len(usual) != 1:
            known = ", ".join(fitting or layouts.LAYOUTS)
            raise ValueError(f"{path}: {joints} joints are no one layout's known here; give layout: {known}")
        name = usual[0]
    layout = layouts.get(name)
    if joints not in (0, len(layout.joints)):
        fix = f"give {' or '.join(fitting)}" if fitting else "no layout known here has as many"
        raise ValueError(f"{path}: people have {joints} joints, layout {name} has {len(layout.joints)}; {fix}")
    return layout


def _number(file: Path) -> tuple[int, str]:
    """The last number in a file's name, for its place among the others; -1 without one."""
    numbers = re.findall(r"\d+", file.stem)
    return (int(numbers[-1]) if numbers else -1, file.name)


class _Named:
    """Names the file in whatever goes wrong while its content is taken apart."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, _: Any) -> None:
        if isinstance(error, (KeyError, TypeError, ValueError, IndexError)):
            raise ValueError(f"{self._file}: not as {_FORMS} write it ({type(error).__name__}: {error})") from None
