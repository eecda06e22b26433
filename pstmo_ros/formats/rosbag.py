"""rosbag2 -> Recording, and lifted poses -> rosbag2, through the rosbags library: no ROS installation is needed."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pstmo_ros.adapters import TF_MESSAGE, KeypointsError, stamp_ns
from pstmo_ros.adapters.camera_info import camera_from, image_size
from pstmo_ros.adapters.detectors import DETECTORS, HRI_BODY, HRI_IDS, Detector, HriBodies, from_hri, of_form
from pstmo_ros.adapters.forms import load_form
from pstmo_ros.adapters.point_cloud import KEYPOINT, ROOT_RELATIVE, SKELETON_POINT
from pstmo_ros.core import layouts
from pstmo_ros.core.camera import Camera
from pstmo_ros.core.types import Frame2D
from pstmo_ros.formats import Source, bag_tf
from pstmo_ros.recording import CAMERA_FRAME, ODOM_FRAME, Lifted, Recording, from_frames

SKELETONS, KEYPOINTS, CAMERA_INFO = "/lifter/skeletons", "/keypoints", "/camera_info"
_CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
_INT32, _FLOAT32 = 5, 7  # sensor_msgs/PointField


def read_bag(path: Path, source: Source) -> Recording:
    """The keypoints of a bag, of any type that the node takes. ValueError names the bag, what is in it and the fix."""
    highlevel = _library("rosbags.highlevel")
    typesys = _library("rosbags.typesys")
    store = typesys.get_typestore(typesys.Stores.ROS2_JAZZY)
    if not path.exists():
        raise ValueError(f"recording {str(path)!r} does not exist")
    try:
        with highlevel.AnyReader([path], default_typestore=store) as bag:
            return _read(path, bag, source)
    except highlevel.AnyReaderError as e:
        raise ValueError(f"{path}: not a readable rosbag2 ({e})") from None


def _read(path: Path, bag: Any, source: Source) -> Recording:
    form = of_form(load_form(source.form)) if source.form else None
    known = {d.type: d for d in (*DETECTORS.values(), *([form] if form else []))}
    info = _topic(path, bag, source.camera_info, {_CAMERA_INFO}, CAMERA_INFO, required=False)
    camera, size, frame_id = _camera(bag, info, source)
    if min(size) <= 0:
        raise ValueError(f"{path}: has no camera_info, so the image size is unknown; give size")
    ours = {form.type} if form else {*known, HRI_IDS}
    topic = _topic(path, bag, source.keypoints, ours, KEYPOINTS, required=True)
    kind = next(c.msgtype for c in bag.connections if c.topic == topic)
    layout = layouts.get(source.layout or "coco_17")
    try:
        frames = list(_bodies(bag, topic, size) if kind == HRI_IDS else _frames(bag, topic, known[kind], layout, size))
        if len(frames) > 1 and not any(f.stamp_ns for f in frames):
            raise KeypointsError("headers are not stamped; the detector must copy those of its images")
        recording = from_frames(sorted(frames, key=lambda f: f.stamp_ns), camera, frame_id)
    except ValueError as e:
        raise ValueError(f"{path}, {topic}: {e}") from None
    if not source.odom_frame:
        return recording
    try:
        moves = bag_tf.Links(bag).poses(source.odom_frame, frame_id, recording.stamps_ns)
    except ValueError as e:
        raise ValueError(f"{path}, {bag_tf.TF}: {e}") from None
    return dataclasses.replace(recording, odom_from_camera=moves)


def _frames(
    bag: Any, topic: str, detector: Detector, layout: layouts.Layout, size: tuple[int, int]
) -> Iterator[Frame2D]:
    for connection, _, data in bag.messages([c for c in bag.connections if c.topic == topic]):
        yield detector.adapter(bag.deserialize(data, connection.msgtype), layout, size)


def _bodies(bag: Any, topic: str, size: tuple[int, int]) -> Iterator[Frame2D]:
    """REP-155: the list of ids, and each body's skeleton beside it."""
    folder, bodies = topic.rpartition("/")[0] + "/", HriBodies()
    wanted = [c for c in bag.connections if c.topic == topic or (c.msgtype == HRI_BODY and c.topic.startswith(folder))]
    for connection, _, data in bag.messages(wanted):
        message = bag.deserialize(data, connection.msgtype)
        if connection.topic == topic:
            done = bodies.track(set(message.ids))
            if not message.ids:
                yield from_hri(stamp_ns(message.header), {}, size)
        else:
            done = bodies.add(connection.topic.removeprefix(folder).partition("/")[0], message)
        for frame in done:
            yield from_hri(stamp_ns(next(iter(frame.values())).header), frame, size)


def _topic(path: Path, bag: Any, name: str, types: set[str], usual: str, required: bool) -> str:
    """The topic of that name; without one, the usual one, or the only one of these types."""
    what = usual.strip("/")
    there = {c.topic: c.msgtype for c in bag.connections}
    fitting = sorted(topic for topic, kind in there.items() if kind in types)
    if name:
        if name in fitting:
            return name
        raise ValueError(f"{path}: {what} {name!r} is {there.get(name, 'not in it')}; topics that fit: {fitting}")
    if usual in fitting:
        return usual
    if len(fitting) > 1:
        raise ValueError(f"{path}: several topics may be the {what}: {', '.join(fitting)}; name one")
    if required and not fitting:
        listed = ", ".join(f"{t} ({k})" for t, k in sorted(there.items()))
        raise ValueError(f"{path}: no topic carries {what}; it has {listed}; describe the messages by a form")
    return fitting[0] if fitting else ""


def _camera(bag: Any, topic: str, source: Source) -> tuple[Camera | None, tuple[int, int], str]:
    if not topic:
        return None, source.size_px, CAMERA_FRAME
    for connection, _, data in bag.messages([c for c in bag.connections if c.topic == topic]):
        message = bag.deserialize(data, connection.msgtype)
        if min(image_size(message)) > 0:  # else it says nothing, and the node ignores it, too
            return camera_from(message, source.rectified), image_size(message), message.header.frame_id
    return None, source.size_px, CAMERA_FRAME


def write_bag(path: str | Path, recording: Recording, lifted: Lifted) -> None:
    """The recording and its poses as the node's topics: a folder (sqlite3), or one file if the name ends in .mcap."""
    path = Path(path)
    if path.exists():
        raise ValueError(f"{path} exists already; a bag is never overwritten: give another name")
    rosbag2 = _library("rosbags.rosbag2")
    if path.suffix != ".mcap":
        with rosbag2.Writer(path, version=9) as bag:
            _write(bag, recording, lifted)
        return
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        whole = Path(folder) / path.stem
        with rosbag2.Writer(whole, version=9, storage_plugin=rosbag2.StoragePlugin.MCAP) as bag:
            _write(bag, recording, lifted)
        next(whole.glob("*.mcap")).rename(path)


def _write(bag: Any, recording: Recording, lifted: Lifted) -> None:
    typesys = _library("rosbags.typesys")
    store = typesys.get_typestore(typesys.Stores.ROS2_JAZZY)
    cloud, camera, frame_id = "sensor_msgs/msg/PointCloud2", recording.camera, recording.frame_id
    posed_in = frame_id if camera is not None else frame_id + ROOT_RELATIVE
    to = {topic: bag.add_connection(topic, cloud, typestore=store) for topic in (KEYPOINTS, SKELETONS)}
    if camera is not None:
        to[CAMERA_INFO] = bag.add_connection(CAMERA_INFO, _CAMERA_INFO, typestore=store)
    if recording.odom_from_camera is not None:
        to[bag_tf.TF] = bag.add_connection(bag_tf.TF, TF_MESSAGE, typestore=store)
    rows = {stamp: row for row, stamp in enumerate(lifted.stamps_ns.tolist())}  # frames of one stamp share theirs
    for t, stamp in enumerate(recording.stamps_ns.tolist()):
        header = bag_header(store, stamp, frame_id)
        messages = {KEYPOINTS: _cloud(store, header, _keypoints(recording, t))}
        if (row := rows.pop(stamp, None)) is not None:
            messages[SKELETONS] = _cloud(store, bag_header(store, stamp, posed_in), _skeletons(lifted, row))
        if camera is not None:
            messages[CAMERA_INFO] = _camera_info(store, header, camera)
        if recording.odom_from_camera is not None and np.isfinite(pose := recording.odom_from_camera[t]).all():
            messages[bag_tf.TF] = bag_tf.message(store, bag_header(store, stamp, ODOM_FRAME), frame_id, pose)
        for topic, message in messages.items():
            bag.write(to[topic], stamp, store.serialize_cdr(message, to[topic].msgtype))


def _keypoints(recording: Recording, t: int) -> npt.NDArray[np.void]:
    points = np.empty(recording.keypoints.shape[1:3], KEYPOINT)
    points["x"], points["y"], points["score"] = np.moveaxis(recording.keypoints[t], -1, 0)
    points["person_id"] = -1 if recording.person_ids is None else recording.person_ids[t][:, None]
    return points


def _skeletons(lifted: Lifted, t: int) -> npt.NDArray[np.void]:
    ids, poses_m = lifted.person_ids[t], lifted.shown_m[t]
    there = np.flatnonzero((ids >= 0) & np.isfinite(poses_m).all((-1, -2)))
    points = np.empty((len(there), poses_m.shape[1]), SKELETON_POINT)
    points["x"], points["y"], points["z"] = np.moveaxis(poses_m[there], -1, 0)
    points["vx"], points["vy"], points["vz"] = np.moveaxis(lifted.velocities_m_s[t, there], -1, 0)
    points["score"], points["person_id"] = lifted.scores[t, there], ids[there, None]
    points["std"] = lifted.std_m[t, there]
    return points


def bag_header(store: Any, stamp: int, frame_id: str) -> Any:
    time = store.types["builtin_interfaces/msg/Time"](sec=stamp // 10**9, nanosec=stamp % 10**9)
    return store.types["std_msgs/msg/Header"](stamp=time, frame_id=frame_id)


def _cloud(store: Any, header: Any, points: npt.NDArray[np.void]) -> Any:
    field = store.types["sensor_msgs/msg/PointField"]
    assert points.dtype.fields is not None
    fields = [
        field(name=name, offset=int(entry[1]), datatype=_INT32 if name == "person_id" else _FLOAT32, count=1)
        for name, entry in points.dtype.fields.items()
    ]
    step = points.dtype.itemsize
    return store.types["sensor_msgs/msg/PointCloud2"](
        header=header, height=points.shape[0], width=points.shape[1], fields=fields, is_bigendian=False,
        point_step=step, row_step=step * points.shape[1], data=np.frombuffer(points.tobytes(), np.uint8),
        is_dense=bool(np.isfinite(points["x"]).all()),
    )  # fmt: skip


def _camera_info(store: Any, header: Any, camera: Camera) -> Any:
    k = np.array([camera.fx, 0, camera.cx, 0, camera.fy, camera.cy, 0, 0, 1.0])
    region = store.types["sensor_msgs/msg/RegionOfInterest"](
        x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
    )
    return store.types[_CAMERA_INFO](
        header=header, height=camera.height, width=camera.width, distortion_model=camera.lens,
        d=np.array(camera.distortion, float), k=k, r=np.eye(3).ravel(),
        p=np.insert(k, [3, 6, 9], 0.0), binning_x=0, binning_y=0, roi=region,
    )  # fmt: skip


def _library(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise ValueError("rosbag2 files need the rosbags library: pip install rosbags") from None
