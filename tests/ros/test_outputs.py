"""Bodies: joint angles, the closest person, /tf, REP-155 and other frames."""

import dataclasses
import sys
import types
from typing import ClassVar

import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from lifecycle_msgs.srv import GetState
from rclpy.parameter import Parameter
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import JointState, PointCloud2
from std_msgs.msg import Header

from pstmo_ros.adapters.detectors import from_hri
from pstmo_ros.core import layouts, skeleton
from pstmo_ros.core.layouts import to_model_joints
from pstmo_ros.core.orientation import ANGLES, joint_angles, orientations
from pstmo_ros.core.pipeline import PoseLifter
from pstmo_ros.core.types import Frame2D
from pstmo_ros.engines import load_engine
from pstmo_ros.lift import lift
from pstmo_ros.ros import bodies, messages
from tests.conftest import record, walker
from tests.core.test_steady import LEVEL, drive, filmed
from tests.ros import detections
from tests.ros.conftest import FRAME, OUTPUTS, arrays, stamps, statuses, values
from tests.ros.interfaces import NO_COMPILER
from tests.ros.test_messages import pose

CAMERA_TO_MAP = Rotation.from_euler("xyz", [-100, 0, -90], degrees=True)  # looks down by 10 degrees


@pytest.fixture
def recording(camera):
    return record([walker(0.6), walker(0.6, offset_m=(1.0, 5.0))], camera)


def listen(graph, kind, topic):
    got = []
    graph.node.create_subscription(kind, topic, got.append, 10)
    return got


def closest_of(message):
    fields = {f.name: f.offset // 4 for f in message.fields}
    raw = np.frombuffer(message.data, "<f4").reshape(-1, len(fields))
    return {name: raw[:, at].view("<i4")[0] if name == "person_id" else raw[0, at] for name, at in fields.items()}


def test_the_body_faces_where_the_person_walks_and_its_joints_hang_below_it():
    person = pose(4)  # walks towards +x of an optical frame, whose y is down
    frames = orientations(messages.positions_m([person]))
    body, *joints = bodies.transforms(Header(frame_id="cam"), [person], frames)
    assert (body.header.frame_id, body.child_frame_id) == ("cam", "body_p4")
    r = body.transform.rotation
    axes = Rotation.from_quat([r.x, r.y, r.z, r.w]).as_matrix()
    np.testing.assert_allclose(axes[:, 0], [1, 0, 0], atol=0.05)
    np.testing.assert_allclose(axes[:, 2], [0, -1, 0], atol=0.05)
    origin = np.array([body.transform.translation.x, body.transform.translation.y, body.transform.translation.z])
    for message in joints:
        assert message.header.frame_id == "body_p4"
        j = skeleton.index(message.child_frame_id.removesuffix("_p4"))
        t = message.transform.translation
        np.testing.assert_allclose(origin + axes @ [t.x, t.y, t.z], person.position_m[j], atol=1e-5)
    assert len(joints) == 16


def test_the_closest_joint_its_distance_and_how_fast_it_comes():
    near, far = pose(3, offset=(0.0, 2.0)), pose(8, offset=(0.0, 5.0))
    got = closest_of(bodies.closest(Header(), [far, near]))
    distances = np.linalg.norm(near.position_m, axis=-1)
    j = distances.argmin()
    assert got["person_id"] == 3
    assert got["distance"] == pytest.approx(distances.min())
    assert got["speed"] == pytest.approx(-(near.position_m[j] @ [0.5, 0.5, 0.5]) / distances.min(), rel=1e-5)
    assert bodies.closest(Header(), [pose(1, placed=False)]).width == 0, "nobody knows how far away they are"


def test_joint_states_and_closest_over_dds(graph, bundle, recording):
    graph.start(bundle)
    states, closest = listen(graph, JointState, "/lifter/joint_states"), listen(graph, PointCloud2, "/lifter/closest")
    graph.match()
    (skeletons,) = graph.lift(recording, [0])
    graph.until(lambda: states and closest)
    positions = arrays(skeletons)[1].astype(float)
    expected = joint_angles(positions, orientations(positions))
    assert states[0].name == [f"{name}_p{i}" for i in (1, 2) for name in ANGLES]
    np.testing.assert_allclose(states[0].position, expected.ravel(), atol=1e-4)
    assert closest_of(closest[0])["distance"] == pytest.approx(np.linalg.norm(positions, axis=-1).min(), rel=1e-4)


@pytest.mark.skipif(bool(NO_COMPILER), reason=NO_COMPILER)
def test_tf_and_rep155_over_dds(graph, bundle, recording, classes):
    tf = listen(graph, classes("tf2_msgs").TFMessage, "/tf")
    tracked = listen(graph, classes("hri_msgs").IdsList, "/humans/bodies/tracked")
    states = listen(graph, JointState, "/humans/bodies/p2/joint_states")
    seen = listen(graph, classes("hri_msgs").Skeleton2D, "/humans/bodies/p2/skeleton2d")
    graph.start(bundle, publish_tf=True, rep155=True, tracks__max_coast_s=0.03)
    graph.until(
        lambda: graph.lifter.count_subscribers("/tf") and graph.lifter.count_subscribers("/humans/bodies/tracked")
    )
    graph.match()
    graph.lift(recording, range(2))
    graph.until(lambda: tf and tracked)
    assert list(tracked[-1].ids) == ["p1", "p2"]
    named = {t.child_frame_id: t.header.frame_id for t in tf[-1].transforms}
    assert named["body_p1"] == "camera_optical_frame"
    assert named["left_wrist_p2"] == "body_p2"
    graph.until(lambda: graph.node.count_publishers("/humans/bodies/p2/joint_states"))
    graph.spin(0.3)
    graph.lift(recording, [2])
    graph.until(lambda: states and seen and stamps(seen)[-1] == recording.stamps_ns[2])
    assert states[-1].name == [f"{name}_p2" for name in ANGLES]
    wrist, neck = seen[-1].skeleton[7], seen[-1].skeleton[1]
    sent = recording.keypoints[2, 1, :, :2] / recording.size_px
    np.testing.assert_allclose([wrist.x, wrist.y], sent[skeleton.index("left_wrist")], atol=1e-5)
    np.testing.assert_allclose([neck.x, neck.y], sent[skeleton.index("thorax")], atol=1e-5)
    assert stamps(seen)[-1] == recording.stamps_ns[2]
    recording.keypoints[3:, 1] = np.nan
    graph.lift(recording, [3])
    graph.spin(0.3)
    assert stamps(seen)[-1] == recording.stamps_ns[2], "a body that is hidden has no keypoints"
    assert list(tracked[-1].ids) == ["p1", "p2"], "but is still tracked, so that nobody lets go of it"
    assert all(graph.node.count_publishers(f"/humans/bodies/p2/{name}") for name in ("joint_states", "skeleton2d"))
    graph.lift(recording, [5])
    graph.until(lambda: list(tracked[-1].ids) == ["p1"])
    for name in ("joint_states", "skeleton2d"):
        graph.until(lambda n=name: not graph.node.count_publishers(f"/humans/bodies/p2/{n}"))


@pytest.mark.parametrize("kind", ["yolo", "hri", "openpose"])
def test_skeleton2d_is_what_the_detector_saw(classes, camera, kind):
    recording = detections.scene(camera)
    layout, msg = {"yolo": "coco_17", "hri": "hri_18", "openpose": "openpose_18"}[kind], classes("hri_msgs")
    points = detections.points(recording, 0, layout).astype(np.float32)
    points[1, layouts.get(layout).joints.index("left_ear")] = np.nan
    scores = np.isfinite(points[..., 0]).astype(np.float32) * 0.5
    frame = Frame2D(5, recording.size_px, layout, points, scores)
    made = {str(row): bodies.skeleton2d(Header(), frame, row, msg.Skeleton2D, msg.NormalizedPointOfInterest2D)
            for row in (0, 1)}  # fmt: skip
    back = from_hri(5, made, recording.size_px)
    before, after = (to_model_joints(layouts.get(f.layout), f.keypoints_px, f.scores) for f in (frame, back))
    np.testing.assert_allclose(after[0], before[0], atol=1e-3)
    np.testing.assert_allclose(after[1], before[1])
    (ear, nose) = (made["1"].skeleton[k] for k in (16, 0))
    assert (ear.x, ear.y, ear.c) == (0, 0, 0)
    assert (nose.x * recording.size_px[0], nose.c) == (pytest.approx(points[1, 0, 0], abs=1e-3), 0.5)


class Buffer:
    """Stands in for tf2_ros, which has no wheel: knows one transform, from a stamp on, and the camera's way in odom."""

    known_from_ns = 0
    asked = 0
    way: ClassVar[dict[int, np.ndarray]] = {}  # stamp -> odom_from_camera

    def __init__(self, node):
        self.srv = node.create_service(GetState, "tf2_frames", lambda *_: None)

    def lookup_transform(self, target, source, time, timeout):
        type(self).asked += 1
        if time.nanoseconds < self.known_from_ns:
            raise sys.modules["tf2_ros"].TransformException("would require extrapolation into the past")
        message = TransformStamped()
        known, by = CAMERA_TO_MAP, np.array([0, 0, 1.0])
        assert source == FRAME
        if target == "odom":
            stamp_ns = time.nanoseconds or max(self.way, default=0)
            if stamp_ns not in self.way:
                raise sys.modules["tf2_ros"].TransformException("would require extrapolation into the future")
            message.header.stamp = messages.stamp(stamp_ns)
            known, by = Rotation.from_matrix(self.way[stamp_ns][:3, :3]), self.way[stamp_ns][:3, 3]
        turn, way = message.transform.rotation, message.transform.translation
        turn.x, turn.y, turn.z, turn.w = known.as_quat().tolist()
        way.x, way.y, way.z = by.tolist()
        return message


@pytest.fixture
def tf2(monkeypatch):
    module = types.ModuleType("tf2_ros")
    module.Buffer, module.TransformException = Buffer, type("TransformException", (Exception,), {})
    module.TransformListener = lambda buffer, node: types.SimpleNamespace(unregister=lambda: None)
    monkeypatch.setitem(sys.modules, "tf2_ros", module)


def test_outputs_in_another_frame_and_none_without_its_transform(graph, bundle, recording, tf2, capfd, monkeypatch):
    graph.start(bundle)
    in_camera = [arrays(m)[1] for m in graph.lift(recording, range(2))]
    graph.lifter.trigger_deactivate()
    graph.lifter.trigger_cleanup()
    monkeypatch.setattr(Buffer, "known_from_ns", int(recording.stamps_ns[1]))
    graph.lifter.set_parameters([Parameter("target_frame", value="map")])
    graph.lifter.trigger_configure()
    graph.lifter.trigger_activate()
    graph.match()
    before = len(graph.got["skeletons"])
    graph.send(recording, 0)
    graph.until(lambda: "no transform from camera_optical_frame to target_frame map" in capfd.readouterr().err)
    (message,) = graph.lift(recording, [1])
    assert len(graph.got["skeletons"]) == before + 1
    assert message.header.frame_id == "map"
    expected = CAMERA_TO_MAP.apply(in_camera[1].reshape(-1, 3)) + np.array([0, 0, 1])
    np.testing.assert_allclose(arrays(message)[1].reshape(-1, 3), expected, atol=1e-4)


def test_transforms_are_looked_up_only_for_somebody_who_listens(graph, bundle, recording, tf2):
    graph.start(bundle, target_frame="map")
    for subscription in [s for s in graph.node.subscriptions if s.topic_name.startswith("/lifter/")]:
        graph.node.destroy_subscription(subscription)
    graph.until(lambda: not any(graph.lifter.count_subscribers(f"/lifter/{name}") for name in OUTPUTS))
    before = Buffer.asked
    reported = statuses(graph)
    for t in range(3):
        graph.send(recording, t)
    graph.until(lambda: reported and values(reported[-1]).get("frames published") == "3")
    assert Buffer.asked == before
    got = listen(graph, PointCloud2, "/lifter/skeletons")
    graph.until(lambda: graph.lifter.count_subscribers("/lifter/skeletons"))
    graph.spin(0.2)
    graph.send(recording, 3)
    graph.until(lambda: got)
    assert (Buffer.asked, got[0].header.frame_id) == (before + 1, "map")


def test_a_model_that_takes_gravity_gets_it_from_a_frame(graph, aware, recording, tf2, capfd, monkeypatch):
    def expected(down):
        known = dataclasses.replace(recording, camera=dataclasses.replace(recording.camera, down=down))
        return lift(known, PoseLifter(aware, load_engine(aware, "torch"))).poses_m[0]

    down = CAMERA_TO_MAP.inv().apply([0, 0, -1])
    assert np.abs(expected(tuple(down)) - expected(None)).max() > 0.01
    monkeypatch.setattr(Buffer, "known_from_ns", 1)  # gravity asks for the newest, which is time 0
    graph.start(aware, gravity_frame="map")
    (message,) = graph.lift(recording, [0])
    np.testing.assert_allclose(arrays(message)[1], expected(None), atol=1e-4)
    said = "poses are lifted without knowing where down is: no transform from camera_optical_frame to gravity_frame map"
    assert capfd.readouterr().err.count(said) == 1
    monkeypatch.setattr(Buffer, "known_from_ns", 0)
    graph.lifter.trigger_deactivate()
    graph.lifter.trigger_activate()
    graph.match()
    (message,) = graph.lift(recording, [0])
    assert message.header.frame_id == FRAME, "target_frame is another matter"
    np.testing.assert_allclose(arrays(message)[1], expected(tuple(down)), atol=1e-4)


def test_a_gravity_frame_for_a_model_that_takes_none_is_said(graph, bundle, tf2, capfd):
    graph.start(bundle, activate=False, gravity_frame="map")
    assert graph.change_state("configure")
    assert "gravity_frame has no effect: model" in capfd.readouterr().err


def test_a_camera_that_moves_is_followed_in_odom_frame(graph, aware, camera, tf2, capfd, monkeypatch):
    """The transform of a frame's stamp may still be missing, the newest one's age must not be great."""
    moving = filmed([walker(1.0) @ LEVEL.T + (0, 0, 1)], camera, drive(1.0, 30.0, (0.3, -0.5)))
    way = dict(zip(moving.stamps_ns.tolist(), moving.odom_from_camera, strict=True))
    monkeypatch.setattr(Buffer, "way", dict(list(way.items())[:20]))
    graph.start(aware, odom_frame="odom")
    newest = np.minimum(np.arange(50), 19)
    taken = dataclasses.replace(moving, odom_from_camera=moving.odom_from_camera[newest])
    expected = lift(taken, PoseLifter(aware, load_engine(aware, "torch"))).poses_m
    for t, message in enumerate(graph.lift(moving, range(30))):
        assert message.header.frame_id == FRAME
        np.testing.assert_allclose(arrays(message)[1], expected[t], atol=1e-4)
    unmoved = dataclasses.replace(moving, odom_from_camera=None)
    assert np.abs(lift(unmoved, PoseLifter(aware, load_engine(aware, "torch"))).poses_m[29] - expected[29]).max() > 0.01
    assert "odom" not in capfd.readouterr().err
    graph.lift(moving, range(30, 33))
    said = (
        "the camera is taken to stand as before: the newest transform from camera_optical_frame to odom_frame odom is"
    )
    assert capfd.readouterr().err.count(said) == 1


@pytest.mark.skipif(bool(NO_COMPILER), reason=NO_COMPILER)
def test_several_lifters_have_bodies_of_their_own(graph, bundle, recording, classes):
    tracked = listen(graph, classes("hri_msgs").IdsList, "/left/humans/bodies/tracked")
    graph.start(bundle, rep155=True, rep155_namespace="/left/humans")
    graph.until(lambda: graph.lifter.count_subscribers("/left/humans/bodies/tracked"))
    graph.match()
    graph.lift(recording, range(2))
    graph.until(lambda: tracked)
    assert list(tracked[-1].ids) == ["p1", "p2"]
    assert not [name for name, _ in graph.node.get_topic_names_and_types() if name.startswith("/humans")]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"target_frame": "map"}, "tf2_ros is not installed"),
        ({"gravity_frame": "map"}, "tf2_ros is not installed"),
        ({"odom_frame": "odom"}, "parameter odom_frame is 'odom', but tf2_ros is not installed"),
        ({"rep155": True}, "ros-$ROS_DISTRO-hri-msgs"),
    ],
)
def test_what_an_output_lacks_is_named(graph, bundle, capfd, monkeypatch, parameters, message):
    for package in ("tf2_ros", "hri_msgs.msg", "hri_msgs"):
        monkeypatch.setitem(sys.modules, package, None)
    graph.start(bundle, activate=False, **parameters)
    assert not graph.change_state("configure")
    assert message in capfd.readouterr().err
