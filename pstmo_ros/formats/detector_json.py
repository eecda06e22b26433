"""Detectors' JSON -> Recording: OpenPose, AlphaPose, MMPose and RTMLib, told apart by what the files hold.

One file per frame (OpenPose, MMPose, RTMLib) or one for all (AlphaPose in its three formats, the COCO results that
other detectors write as AlphaPose does, MMPose on a video).
"""

from __future__ import annotations

import json
import re
from itertools import pairwise
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
_SPARSE, _MOST = 1000, 10**9  # frames further apart, or of a larger number, are numbered by time or something else
Person = tuple[Floats, int | None]  # (J, 3) pixels and score, id


def read_json(path: Path, source: Source) -> Recording:
    """A file, or a folder with one file per frame, in the order of the numbers in their names.

    ValueError names the file and the fix.
    """
    if not path.exists():
        raise ValueError(f"recording {str(path)!r} does not exist")
    files = sorted(path.glob("*.json"), key=_number) if path.is_dir() else [path]
    if not files:
        raise ValueError(f"{path}: this folder has no .json files, and no metadata.yaml of a rosbag2")
    if source.rate_hz <= 0 or min(source.size_px) <= 0:
        raise ValueError(
            f"{path}: JSON has no frame rate and no image size; give --rate and --size "
            "(player: source_rate_hz and image_size)"
        )
    numbered: dict[int, list[Person]] = {}
    first: int | None = None
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
            first, numbered = _all_frames(file, _load(file))
    if len({len(points) for people in numbered.values() for points, _ in people}) > 1:
        raise ValueError(f"{path}: people have different numbers of joints; a recording has one keypoint order")
    joints = next((len(points) for people in numbered.values() for points, _ in people), 0)
    layout = _layout(path, joints, source.layout)
    first, shape = min(numbered, default=0) if first is None else first, (-1, len(layout.joints), 3)
    _check_numbers(path, sorted(numbered))
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
        return json.loads(file.read_bytes())  # bytes: with a byte order mark, and in UTF-16, too
    except (OSError, ValueError, RecursionError) as e:
        raise ValueError(f"{file}: not a readable JSON file ({e})") from None


def _one_frame(file: Path, data: Any) -> list[Person]:
    """A frame's people from a file of its own."""
    with _Named(file):
        if isinstance(data, dict) and "instance_info" in data:  # MMPose's demos, of one image
            data = data["instance_info"]
        if isinstance(data, dict) and (people := _people(data)) is not None:
            return people
        if isinstance(data, dict) and "keypoints" in data:  # RTMLib's arrays, saved
            scores: Any = data.get("keypoint_scores", data.get("scores"))
            return [(_joined(k, s), None) for k, s in zip(data["keypoints"], scores, strict=True)]
        if isinstance(data, list) and all("keypoint_scores" in p for p in data):  # MMPose
            return [_instance(p) for p in data]
    raise ValueError(f"{file}: not a frame of {_FORMS}; give one file per frame in a folder, or the file of a video")


def _all_frames(file: Path, data: Any) -> tuple[int | None, dict[int, list[Person]]]:
    """Every frame's people, by frame number, from one file; and which number is at time 0, None for the first."""
    with _Named(file):
        frames = data["instance_info"] if isinstance(data, dict) and "instance_info" in data else data
        if isinstance(frames, list) and frames and all("instances" in f for f in frames):  # MMPose
            return None, {int(f["frame_id"]): [_instance(p) for p in f["instances"]] for f in frames}
        # Images that show nobody are in none of these, the first ones neither: time is counted from image 0.
        images: dict[Any, list[Person]] = {}
        if isinstance(data, list) and data and all("image_id" in p for p in data):  # AlphaPose, COCO results
            for p in data:
                person = _triples(p["keypoints"]), _id(p.get("idx", p.get("track_id")))
                images.setdefault(p["image_id"], []).append(person)
            return 0, _by_number(images)
        if isinstance(data, dict) and data and all(isinstance(i, dict) for i in data.values()):  # AlphaPose's others
            by_name = {name: _people(image) for name, image in data.items()}
            if None not in by_name.values():
                return 0, _by_number({name: people or [] for name, people in by_name.items()})
    return None, {0: _one_frame(file, data)}


def _people(image: dict[str, Any]) -> list[Person] | None:
    """As OpenPose writes them, and AlphaPose with --format open or cmu; None if it is none of these."""
    if "people" in image:
        return [(_triples(p["pose_keypoints_2d"]), _id(p.get("person_id"))) for p in image["people"]]
    if "bodies" in image:
        return [(_triples(p["joints"]), None) for p in image["bodies"]]
    return None


def _by_number(images: dict[Any, list[Person]]) -> dict[int, list[Person]]:
    """Images' people by frame number: the image's id, or the last number in its name."""
    named: dict[int, Any] = {}
    for image in images:
        found = [image] if isinstance(image, (int, float)) else re.findall(r"\d+", str(image))
        if not found:
            raise ValueError(f"image_id {image!r} has no number; give frames' numbers")
        other = named.setdefault(int(found[-1]), image)
        if other != image:
            raise ValueError(f"image_id {other!r} and {image!r} are both frame {found[-1]}; give each camera a file")
    return {number: images[image] for number, image in named.items()}


def _check_numbers(path: Path, numbers: list[int]) -> None:
    """ValueError for numbers that do not count frames, such as stamps: times would be far off."""
    steps = sorted(b - a for a, b in pairwise(numbers))
    if numbers and (numbers[-1] > _MOST or (steps and steps[len(steps) // 2] > _SPARSE)):
        shown = ", ".join(map(str, numbers[:3]))
        raise ValueError(
            f"{path}: frames are numbered {shown}, which does not count them; number them by their place in the video"
        )


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
