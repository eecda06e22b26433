"""What the node listens to: the type it is told, or the one that it finds on the topic."""

import dataclasses
import re
import time
from functools import partial

import numpy as np
import pytest
import rclpy
import yaml
from geometry_msgs.msg import PoseArray
from rclpy.task import Future
from visualization_msgs.msg import MarkerArray

from pstmo_ros.adapters.detectors import DETECTORS
from pstmo_ros.core.pipeline import PoseLifter
from pstmo_ros.engines import load_engine
from pstmo_ros.lift import lift
from pstmo_ros.ros import messages
from pstmo_ros.ros.spin import own_executor
from tests.ros import detections
from tests.ros.conftest import FRAME, TIMEOUT_S, arrays, stamps
from tests.ros.interfaces import NO_COMPILER

FRAMES = 10
pytestmark = pytest.mark.participants


def activate(graph):
    assert graph.change_state("configure")
    assert graph.change_state("activate")


@pytest.fixture
def detector():
    """A detector as a DDS participant of its own: one participant cannot have two types on a topic."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("detector", context=context)
    yield node
    node.destroy_node()
    rclpy.shutdown(context=context)


def send_bodies(graph, detector, msg, recording, topic):
    """A body tracker by REP-155: the ids on ``topic``, each body's skeleton on a topic of its own beside it."""
    names = {"1": "anna", "2": "bert"}
    ids = detector.create_publisher(msg.IdsList, topic, 10)
    folder = topic.rpartition("/")[0]
    bodies = {i: detector.create_publisher(msg.Skeleton2D, f"{folder}/{n}/skeleton2d", 10) for i, n in names.items()}
    graph.until(ids.get_subscription_count, "nobody listens to the list of ids")
    ids.publish(msg.IdsList(header=detections.header(recording, 0), ids=list(names.values())))
    graph.until(lambda: all(p.get_subscription_count() for p in bodies.values()), "nobody listens to the bodies")
    for t in range(FRAMES):
        for body, message in detections.hri(msg, recording, t).items():
            bodies[body].publish(message)
        graph.until(lambda n=t: len(graph.got["skeletons"]) > n, f"frame {t} gave no skeletons")
    ids.publish(msg.IdsList(header=detections.header(recording, FRAMES)))
    graph.until(lambda: len(graph.got["skeletons"]) > FRAMES, "everybody's leaving gave no message")


@pytest.mark.skipif(bool(NO_COMPILER), reason=NO_COMPILER)
@pytest.mark.parametrize(("kind", "topic"), [("hri", "/humans/bodies/tracked"), ("auto", "/keypoints")])
def test_bodies_on_topics_of_their_own(graph, detector, bundle, camera, classes, capfd, kind, topic):
    recording = detections.scene(camera)
    msg = classes("hri_msgs")
    tracked = []
    graph.node.create_subscription(msg.IdsList, "/humans/bodies/tracked", lambda m: tracked.append(list(m.ids)), 10)
    tf = []
    graph.node.create_subscription(classes("tf2_msgs").TFMessage, "/tf", lambda m: tf.extend(m.transforms), 100)
    graph.start(bundle, activate=False, keypoints_type=kind, rep155=True, publish_tf=True)
    graph.node.destroy_publisher(graph.keypoints)
    activate(graph)
    graph.until(graph.camera_info.get_subscription_count)
    graph.camera_info.publish(messages.camera_info(detections.header(recording, 0), recording.camera))
    graph.spin(0.2)
    send_bodies(graph, detector, msg, recording, topic)
    expected = lift(recording, PoseLifter(bundle, load_engine(bundle, "torch")))
    assert stamps(graph.got["skeletons"]) == recording.stamps_ns[: FRAMES + 1].tolist()
    for t, message in enumerate(graph.got["skeletons"][:FRAMES]):
        np.testing.assert_allclose(arrays(message)[1], expected.poses_m[t], atol=2e-4)
    assert graph.got["skeletons"][FRAMES].height == 0
    gone = "/humans/bodies/anna/skeleton2d" if kind == "hri" else "/anna/skeleton2d"
    graph.until(lambda: not graph.node.count_subscribers(gone), "who has left is listened to no more")
    graph.until(lambda: graph.node.count_publishers("/humans/bodies/anna/joint_states"), "bodies keep their names")
    graph.until(lambda: {t.child_frame_id for t in tf} >= {"body_anna", "body_bert", "left_wrist_anna"})
    assert not [t.child_frame_id for t in tf if t.child_frame_id.endswith(("_p1", "_p2"))], "and have no others"
    if kind == "hri":  # nobody's bodies are listed twice
        graph.until(lambda: tracked and not tracked[-1])
        assert tracked == [["anna", "bert"], []]
        assert graph.node.count_publishers("/humans/bodies/anna/skeleton2d") == 1, "the detector's own"
        assert capfd.readouterr().err.count("are the detector's, and are not sent again") == 1
    graph.spin(0.2)  # the last list may come after the skeletons: topics keep no order among each other
    tracked.clear()
    assert graph.change_state("deactivate")
    graph.spin(0.2)
    assert tracked == ([] if kind == "hri" else [[]]), "a list that is the detector's is not emptied"
    ours = int(topic == "/humans/bodies/tracked")
    assert graph.node.count_subscribers(topic) == ours, "an inactive node listens to nothing"
    assert graph.change_state("activate")
    graph.until(lambda: graph.node.count_subscribers(topic) == ours + 1, "and once active again to the same as before")


@pytest.mark.skipif(bool(NO_COMPILER), reason=NO_COMPILER)
def test_the_type_is_taken_up_in_the_executor_that_the_node_runs_in(graph, detector, bundle, classes):
    """The events executor holds a destroyed subscription until the callback returns, and one topic has one type."""
    ids = detector.create_publisher(classes("hri_msgs").IdsList, "/keypoints", 10)
    graph.node.destroy_publisher(graph.keypoints)
    lifter = graph.start(bundle, activate=False)
    graph.executor.remove_node(lifter)
    executor, never = own_executor(), Future()
    executor.add_node(lifter)
    lifter.trigger_configure()
    lifter.trigger_activate()
    deadline = time.monotonic() + TIMEOUT_S
    while not ids.get_subscription_count():
        assert time.monotonic() < deadline, "nobody listens to the list of ids"
        executor.spin_until_future_complete(never, 0.1)


def test_what_the_executor_calls_after_its_end_does_nothing(graph, bundle, camera):
    """The events executor goes on calling what is destroyed until it has worked off what waits before."""
    lifter = graph.start(bundle)
    recording = detections.scene(camera)
    graph.lift(recording, [0])
    keypoints, message = (
        lifter._keypoints,
        messages.keypoints(detections.header(recording, 1), recording.keypoints[1], None),
    )
    late = [partial(keypoints._subscriptions[0].callback, message), keypoints._timer.callback]
    late.append(lifter._diagnostics._timer.callback)
    for transition in ("deactivate", "cleanup"):
        assert graph.change_state(transition)
        for callback in late[: 2 if transition == "deactivate" else 3]:
            callback()
        assert not keypoints.topics, "and listens to nothing"


@pytest.mark.parametrize(
    ("in_place_of", "message"),
    [
        (lambda px, size: px / size, "keypoints are shares of the image; give pixels"),
        (lambda px, size: px * size, r"keypoints lie around \(\d+, \d+\) in an image of 1280 x 720 pixels: cam"),
    ],
)
def test_keypoints_that_are_no_pixels_are_refused(graph, bundle, camera, capfd, in_place_of, message):
    """Else whoever they show would be taken for somebody large, far away: poses that nobody can tell from good ones."""
    graph.start(bundle)
    recording = detections.scene(camera)
    graph.lift(recording, [0])
    recording.keypoints[..., :2] = in_place_of(recording.keypoints[..., :2], recording.size_px)
    for t in (1, 2):
        graph.send(recording, t)
    assert re.search(f"keypoints refused: {message}", graph.logged(capfd, "keypoints refused"))
    graph.spin(0.2)
    assert len(graph.got["skeletons"]) == 1


@pytest.mark.parametrize("optical", [True, False])
def test_the_frame_of_a_detector_that_does_not_name_the_optical_one_is_camera_infos(
    graph, bundle, camera, monkeypatch, optical
):
    """ZED's messages are in the frame of its 3D points, x forward; MediaPipe's in whatever a parameter says."""
    assert [name for name, d in DETECTORS.items() if not d.optical] == ["zed", "mediapipe"]
    monkeypatch.setitem(DETECTORS, "pointcloud", dataclasses.replace(DETECTORS["pointcloud"], optical=optical))
    graph.start(bundle)
    recording = detections.scene(camera)
    graph.send(recording, 0)
    message = messages.keypoints(detections.header(recording, 1), recording.keypoints[1], None)
    message.header.frame_id = "left_camera_frame"
    graph.keypoints.publish(message)
    graph.until(lambda: len(graph.got["skeletons"]) == 2)
    frames = [m.header.frame_id for m in graph.got["skeletons"]]
    assert frames == [FRAME, "left_camera_frame" if optical else FRAME]


def test_a_fault_is_said_once_whatever_its_numbers(graph, bundle, camera, capfd):
    graph.start(bundle)
    recording = detections.scene(camera)
    for t in range(5):
        message = messages.keypoints(detections.header(recording, t), recording.keypoints[t], None)
        message.data = message.data[t + 1 :]
        graph.send(recording, t)
        graph.keypoints.publish(message)
    graph.until(lambda: len(graph.got["skeletons"]) == 5)
    assert graph.logged(capfd, "keypoints refused").count("keypoints refused") == 1


def test_a_type_that_is_not_known_is_named_once(graph, detector, bundle, capfd):
    graph.start(bundle, activate=False)
    graph.node.destroy_publisher(graph.keypoints)
    detector.create_publisher(PoseArray, "/keypoints", 10)
    activate(graph)
    unknown = "/keypoints carries geometry_msgs/msg/PoseArray; known are sensor_msgs/msg/PointCloud2"
    log = graph.logged(capfd, unknown)
    graph.spin(1.0)
    log += capfd.readouterr().err
    assert log.count(unknown) == 1
    assert "keypoints_type to generic" in log


@pytest.mark.parametrize(
    ("kind", "made", "form"),
    [
        (PoseArray, detections.pose_array, {"points": "poses", "x": "position.x", "y": "position.y"}),
        (MarkerArray, detections.marker_array, {"points": "markers", "x": "pose.position.x", "y": "pose.position.y"}
         | {"header": "markers.0.header"}),
    ],
)  # fmt: skip
def test_any_message_by_a_form(graph, detector, bundle, camera, tmp_path, kind, made, form):
    """Poses or markers, of all things: one person's joints, their positions in pixels."""
    recording = detections.scene(camera)
    form = form | {"type": f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}", "joints": "h36m_17"}
    (tmp_path / "form.yaml").write_text(yaml.safe_dump(form))
    graph.start(bundle, activate=False, keypoints_type="generic", keypoints_form=str(tmp_path / "form.yaml"))
    graph.node.destroy_publisher(graph.keypoints)
    publisher = detector.create_publisher(kind, "/keypoints", 10)
    activate(graph)
    graph.until(lambda: publisher.get_subscription_count() and graph.camera_info.get_subscription_count())
    graph.camera_info.publish(messages.camera_info(detections.header(recording, 0), recording.camera))
    graph.spin(0.2)
    recording.keypoints[:, 1] = np.nan
    expected = lift(recording, PoseLifter(bundle, load_engine(bundle, "torch")))
    for t in range(3):
        publisher.publish(made(recording, t))
        graph.until(lambda n=t: len(graph.got["skeletons"]) > n, f"frame {t} gave no skeletons")
        np.testing.assert_allclose(arrays(graph.got["skeletons"][t])[1], expected.poses_m[t, :1], atol=1e-4)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"keypoints_type": "yoloo"}, "keypoints_type: 'yoloo' is unknown; did you mean 'yolo'"),
        ({"keypoints_type": "generic"}, "keypoints_form is empty"),
        ({"keypoints_type": "generic", "keypoints_form": "none.yaml"}, "form 'none.yaml' cannot be read"),
        ({"keypoints_type": "generic", "type": "nobody_msgs/msg/People"}, "nobody_msgs/msg/People is not installed"),
    ],
)
def test_what_cannot_be_listened_to_refuses_to_configure(graph, bundle, capfd, tmp_path, parameters, message):
    if "type" in parameters:
        form = tmp_path / "form.yaml"
        form.write_text(yaml.safe_dump({"type": parameters["type"], "joints": "coco_17", "points": "joints"}))
        parameters = {"keypoints_type": "generic", "keypoints_form": str(form)}
    graph.start(bundle, activate=False, **parameters)
    assert not graph.change_state("configure")
    assert message in capfd.readouterr().err
