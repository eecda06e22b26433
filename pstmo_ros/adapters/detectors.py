"""Other detectors' messages -> Frame2D, by the name that parameter keypoints_type has for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any

import numpy as np

from pstmo_ros.adapters import KeypointsError, stamp_ns
from pstmo_ros.adapters.forms import Form, header, read
from pstmo_ros.adapters.people import person_id, seen_people
from pstmo_ros.adapters.point_cloud import from_point_cloud
from pstmo_ros.core import layouts
from pstmo_ros.core.layouts import Layout
from pstmo_ros.core.types import Frame2D

Adapter = Callable[[Any, Layout, tuple[int, int]], Frame2D]

_SKELETON_2D = Form("hri_msgs/msg/Skeleton2D", "hri_18", points="skeleton", score="c", normalized=True)
_LANDMARKS = Form("mediapipe_ros2_interfaces/msg/PoseLandmarks", "mediapipe_33", points="landmarks", normalized=True)
_ZED_LAYOUTS = {0: "openpose_18", 1: "zed_34", 2: "zed_38", 3: "zed_38"}  # 3 is BODY_70: it begins as BODY_38 does
_ZED_SHARED = {3: 30}  # BODY_70 differs from there on: the hands
_ZED_OK = 1


@dataclass(frozen=True)
class Detector:
    """A message type, what reads it, where its package comes from, and what finds a message's header.

    optical: whether that header names the camera's optical frame, as an image's does; else camera_info's counts.
    """

    type: str
    adapter: Adapter
    source: str
    header: Callable[[Any], Any] = attrgetter("header")
    optical: bool = True


def from_yolo(message: Any, layout: Layout, size_px: tuple[int, int]) -> Frame2D:
    """yolo_msgs/DetectionArray: joints numbered from 1, those below the detector's threshold left out; ids are text."""
    form = Form("yolo_msgs/msg/DetectionArray", layout.name, people="detections", id="id", points="keypoints.data",
                key="id", first=1, x="point.x", y="point.y", score="score")  # fmt: skip
    return read(form, message, size_px)


def from_openpose(message: Any, layout: Layout, size_px: tuple[int, int]) -> Frame2D:
    """openpose_ros2_msgs/PoseKeyPointsList: pixels, no ids; 18 points are the COCO model's, 25 BODY_25's."""
    people = message.pose_key_points_list
    count = len(people[0].pose_key_points) if people else 18
    if count not in (18, 25):
        raise KeypointsError(f"pose_key_points has {count} points; 18 (COCO) and 25 (BODY_25) are known here")
    form = Form("openpose_ros2_msgs/msg/PoseKeyPointsList", "openpose_18" if count == 18 else "body_25",
                people="pose_key_points_list", points="pose_key_points", score="score")  # fmt: skip
    return read(form, message, size_px)


def from_mediapipe(message: Any, layout: Layout, size_px: tuple[int, int]) -> Frame2D:
    """mediapipe_ros2_interfaces/PoseLandmarks: one person, shares of the image, no score and no id."""
    return read(_LANDMARKS, message, size_px)


def from_zed(message: Any, layout: Layout, size_px: tuple[int, int]) -> Frame2D:
    """zed_msgs/ObjectsStamped: pixels in 70 slots, of which the body format says how many are used; no score.

    Somebody whom the camera has lost from sight (tracking state SEARCHING) is left out: that skeleton is a guess.
    """
    people = [o for o in message.objects if o.skeleton_available and o.tracking_state in (0, _ZED_OK)]
    formats = {int(o.body_format) for o in people} or {2}
    if len(formats) > 1 or not formats <= set(_ZED_LAYOUTS):
        raise KeypointsError(f"objects have body_format {sorted(formats)}; one of {sorted(_ZED_LAYOUTS)} is known here")
    (body_format,) = formats
    joints = layouts.get(_ZED_LAYOUTS[body_format])
    xy = np.full((len(people), len(joints.joints), 2), np.nan)
    used = _ZED_SHARED.get(body_format, len(joints.joints))
    for p, person in enumerate(people):
        xy[p, :used] = [point.kp for point in person.skeleton_2d.keypoints[:used]]
    ids = [int(o.label_id) if o.tracking_available else None for o in people]
    return seen_people(stamp_ns(message.header), size_px, joints.name, xy, np.any(xy > 0, -1).astype(float), ids)


def from_hri(stamp: int, bodies: Mapping[str, Any], size_px: tuple[int, int]) -> Frame2D:
    """hri_msgs/Skeleton2D of each body id, all of one stamp (ns): shares of the image; left eye and ear come first."""
    joints = layouts.get("hri_18")
    frames = {body: read(_SKELETON_2D, message, size_px) for body, message in bodies.items()}
    ids = [person_id(body) for body, frame in frames.items() for _ in frame.scores]
    xy = np.concatenate([f.keypoints_px for f in frames.values()] or [np.empty((0, len(joints.joints), 2))])
    scores = np.concatenate([f.scores for f in frames.values()] or [np.empty((0, len(joints.joints)))])
    return seen_people(stamp, size_px, joints.name, xy, scores, ids)


def _apt(package: str) -> str:
    return f"apt install ros-$ROS_DISTRO-{package.replace('_', '-')}"


# hri is driven by a list of ids and one topic per body: see HriBodies and pstmo_ros.ros.inputs.
HRI_IDS, HRI_BODY = "hri_msgs/msg/IdsList", "hri_msgs/msg/Skeleton2D"
HRI_POINT = "hri_msgs/msg/NormalizedPointOfInterest2D"
HRI_SOURCE = _apt("hri_msgs")
DETECTORS: dict[str, Detector] = {
    "pointcloud": Detector("sensor_msgs/msg/PointCloud2", from_point_cloud, _apt("sensor_msgs")),
    "yolo": Detector("yolo_msgs/msg/DetectionArray", from_yolo, "build it from github.com/mgonzs13/yolo_ros"),
    # The frame of its 3D points, whose x is forward.
    "zed": Detector("zed_msgs/msg/ObjectsStamped", from_zed, _apt("zed_msgs"), optical=False),
    "openpose": Detector(
        "openpose_ros2_msgs/msg/PoseKeyPointsList",
        from_openpose,
        "build it from github.com/Rits-Interaction-Laboratory/openpose_ros2",
    ),
    "mediapipe": Detector(
        "mediapipe_ros2_interfaces/msg/PoseLandmarks",
        from_mediapipe,
        "build it from github.com/PME26Elvis/mediapipe_ros2_suite",
        optical=False,  # a parameter, "map" unless set
    ),
}
KINDS = ("auto", *DETECTORS, "hri", "generic")
BY_LAYOUT = ("auto", "pointcloud", "yolo")  # whose keypoint order is parameter layout's


def of_form(form: Form) -> Detector:
    """The detector that a user's form describes."""
    return Detector(
        form.type,
        lambda message, layout, size_px: read(form, message, size_px),
        "install its package",
        partial(header, form),
    )


class HriBodies:
    """Puts the bodies' messages together again: everyone whom the camera saw at one moment is one frame.

    A frame is complete when every tracked body has sent its skeleton of that stamp, or when one of them has gone on
    to a later stamp: nobody waits longer than for the next image.
    """

    def __init__(self) -> None:
        self._tracked: set[str] = set()
        self._waiting: dict[int, dict[str, Any]] = {}

    def track(self, ids: set[str]) -> list[dict[str, Any]]:
        """The ids now tracked -> frames that this completes, each as body id -> message."""
        self._tracked = set(ids)
        return self._complete(None)

    def add(self, body: str, message: Any) -> list[dict[str, Any]]:
        """A body's skeleton -> frames that are complete with it, oldest first."""
        stamp = stamp_ns(message.header)
        self._waiting.setdefault(stamp, {})[body] = message
        overtaken = [at for at, bodies in self._waiting.items() if at < stamp and body in bodies]
        return self._complete(max(overtaken, default=None))

    def _complete(self, until_ns: int | None) -> list[dict[str, Any]]:
        full = [at for at, bodies in self._waiting.items() if self._tracked <= set(bodies)]
        last = max([*full, *([until_ns] if until_ns is not None else [])], default=None)
        due = sorted(at for at in self._waiting if last is not None and at <= last)
        return [self._waiting.pop(at) for at in due]
