"""Bodies: joint angles, the closest person, /tf, and REP-155."""

import sys

import numpy as np
import pytest
from rclpy.parameter import Parameter
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import JointState, PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import Marker

from pstmo_ros.adapters.detectors import from_hri
from pstmo_ros.core import layouts, skeleton
from pstmo_ros.core.layouts import to_model_joints
from pstmo_ros.core.orientation import ANGLES, joint_angles, orientations
from pstmo_ros.core.types import Frame2D
from pstmo_ros.ros import bodies, messages
from tests.conftest import record, walker
from tests.ros import detections
from tests.ros.conftest import arrays, listen, stamps
from tests.ros.interfaces import NO_COMPILER
from tests.ros.test_messages import pose

CAMERA_TO_MAP = Rotation.from_euler("xyz", [-100, 0, -90], degrees=True)  # looks down by 10 degrees


@pytest.fixture
def recording(camera):
    return record([walker(0.6), walker(0.6, offset_m=(1.0, 5.0))], camera)


def tracked_in_the_first_frame(graph, bundle, recording, classes, **parameters):
    """What comes on REP-155's list, once both of the recording's people have been in it."""
    tracked = listen(graph, classes("hri_msgs").IdsList, "/humans/bodies/tracked")
    graph.start(bundle, rep155=True, **parameters)
    graph.until(lambda: graph.lifter.count_subscribers("/humans/bodies/tracked"))
    graph.match()
    graph.lift(recording, [0])
    graph.until(lambda: tracked)
    assert list(tracked[-1].ids) == ["p1", "p2"]
    return tracked


def closest_of(message):
    fields = {f.name: f.offset // 4 for f in message.fields}
    raw = np.frombuffer(message.data, "<f4").reshape(-1, len(fields))
    return {name: raw[:, at].view("<i4")[0] if name == "person_id" else raw[0, at] for name, at in fields.items()}


def test_the_body_faces_where_the_person_walks_and_its_joints_hang_below_it():
    person = pose(4)  # walks towards +x of an optical frame, whose y is down
    frames = orientations(messages.positions_m([person]))
    body, *joints = bodies.transforms(Header(frame_id="cam"), [person], frames, bodies.body_id)
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


def test_markers_that_are_kept_go_when_nobody_is_followed_any_more(graph, bundle, recording):
    graph.start(bundle, marker_lifetime_s=0.0)
    graph.lift(recording, [0])
    graph.until(lambda: graph.got["markers"])
    shown = {(m.ns, m.id) for m in graph.got["markers"].pop().markers}
    assert graph.change_state("deactivate")
    graph.until(lambda: graph.got["markers"], "a viewer would show them for ever")
    (gone,) = graph.got["markers"]
    assert {(m.ns, m.id) for m in gone.markers if m.action == Marker.DELETE} == shown


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
    assert graph.change_state("deactivate")
    graph.until(lambda: not tracked[-1].ids, "nobody is followed by a node that is inactive")


@pytest.mark.skipif(bool(NO_COMPILER), reason=NO_COMPILER)
def test_keypoints_of_no_frame_give_no_transforms(graph, bundle, recording, classes, monkeypatch):
    monkeypatch.setattr("tests.ros.conftest.FRAME", "")
    tf = listen(graph, classes("tf2_msgs").TFMessage, "/tf")
    graph.start(bundle, publish_tf=True)
    graph.until(lambda: graph.lifter.count_subscribers("/tf"))
    graph.match()
    graph.lift(recording, [0])
    graph.until(lambda: tf)
    assert not tf[0].transforms


@pytest.mark.skipif(bool(NO_COMPILER), reason=NO_COMPILER)
@pytest.mark.parametrize("end", ["trigger_shutdown", "destroy_node"])
def test_a_node_that_ends_tracks_nobody(graph, bundle, recording, classes, end):
    tracked = tracked_in_the_first_frame(graph, bundle, recording, classes)
    getattr(graph.lifter, end)()
    graph.until(lambda: not tracked[-1].ids, "those who keep a list would keep it for ever")


@pytest.mark.skipif(bool(NO_COMPILER), reason=NO_COMPILER)
def test_a_detector_that_falls_silent_leaves_nobody_tracked(graph, bundle, recording, classes, monkeypatch):
    monkeypatch.setattr("pstmo_ros.ros.outputs._SILENT_S", 1.0)
    tracked = tracked_in_the_first_frame(graph, bundle, recording, classes, tracks__max_coast_s=0.5)
    graph.until(lambda: not tracked[-1].ids)
    graph.until(lambda: not graph.node.count_publishers("/humans/bodies/p1/skeleton2d"))
    graph.lift(recording, [1])
    graph.until(lambda: list(tracked[-1].ids) == ["p1", "p2"], "and it goes on where the detector does")


@pytest.mark.skipif(bool(NO_COMPILER), reason=NO_COMPILER)
def test_how_long_a_detector_may_be_silent_is_live_as_max_coast_s_is(graph, bundle, recording, classes, monkeypatch):
    monkeypatch.setattr("pstmo_ros.ros.outputs._SILENT_S", 0.5)
    tracked = tracked_in_the_first_frame(graph, bundle, recording, classes, tracks__max_coast_s=300.0)
    graph.lifter.set_parameters([Parameter("tracks.max_coast_s", value=0.1)])
    graph.until(lambda: not tracked[-1].ids)
    graph.lifter.set_parameters([Parameter("tracks.max_coast_s", value=300.0)])
    graph.lift(recording, [1])
    graph.spin(1.0)
    assert list(tracked[-1].ids) == ["p1", "p2"]


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


@pytest.mark.skipif(bool(NO_COMPILER), reason=NO_COMPILER)
def test_a_namespace_that_no_topic_can_be_in_is_named(graph, bundle, classes, capfd):
    classes("hri_msgs")
    graph.start(bundle, activate=False, rep155=True, rep155_namespace="/7")
    assert not graph.change_state("configure")
    assert "cannot configure: parameter rep155_namespace: '/7'" in capfd.readouterr().err


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
