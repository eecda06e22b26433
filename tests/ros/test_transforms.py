"""The frames of parameters with the real tf2_ros, where ROS 2 is installed (it has no wheel: C++ library)."""

import dataclasses
import threading
import time

import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from rclpy.parameter import Parameter
from scipy.spatial.transform import Rotation

from pstmo_ros.core.pipeline import PoseLifter
from pstmo_ros.engines import load_engine
from pstmo_ros.lift import lift
from pstmo_ros.ros import messages
from tests.conftest import record, walker
from tests.core.test_steady import LEVEL, drive, filmed
from tests.ros.conftest import FRAME, arrays

tf2_ros = pytest.importorskip("tf2_ros", reason="tf2_ros comes with a ROS 2 installation, not as a wheel")

TURN = Rotation.from_euler("xyz", [-100, 0, -90], degrees=True)


@pytest.fixture
def recording(camera):
    return record([walker(0.4), walker(0.4, offset_m=(1.0, 5.0))], camera)


def camera_in_map(stamp_ns, height_m):
    message = TransformStamped()
    message.header.stamp, message.header.frame_id, message.child_frame_id = messages.stamp(stamp_ns), "map", FRAME
    message.transform.translation.z = height_m
    turn = message.transform.rotation
    turn.x, turn.y, turn.z, turn.w = TURN.as_quat().tolist()
    return message


def in_map(poses, height_m):
    return TURN.apply(poses.reshape(-1, 3)).reshape(poses.shape) + np.array([0, 0, height_m])


@pytest.fixture
def in_camera(graph, bundle, recording):
    """What the node gives in the camera's frame; it is then unconfigured, and waits for parameters."""
    graph.start(bundle)
    poses = [arrays(m)[1] for m in graph.lift(recording, range(6))]
    graph.lifter.trigger_deactivate()
    graph.lifter.trigger_cleanup()
    return poses


def to_map(graph, wait_s=1.0):
    graph.lifter.set_parameters([Parameter("target_frame", value="map"), Parameter("transform_wait_s", value=wait_s)])
    graph.lifter.trigger_configure()
    graph.lifter.trigger_activate()
    graph.match()
    graph.until(lambda: graph.node.count_subscribers("/tf") and graph.node.count_subscribers("/tf_static"))


def test_a_static_transform(graph, recording, in_camera):
    to_map(graph)
    broadcaster = tf2_ros.StaticTransformBroadcaster(graph.node)
    broadcaster.sendTransform(camera_in_map(0, 1.5))
    for expected, message in zip(in_camera, graph.lift(recording, range(6)), strict=True):
        assert message.header.frame_id == "map"
        np.testing.assert_allclose(arrays(message)[1], in_map(expected, 1.5), atol=1e-4)
    graph.lifter.trigger_deactivate()
    graph.lifter.trigger_cleanup()
    graph.until(lambda: not graph.lifter.count_subscribers("/tf"), "an unconfigured node listens to nothing")
    assert "/tf2_frames" not in dict(graph.lifter.get_service_names_and_types_by_node("lifter", "/"))


def test_a_transform_at_the_stamp_even_if_it_comes_later(graph, recording, in_camera):
    """A camera that rises by 1 m/s; its pose at a frame arrives 0.2 s after the frame."""
    to_map(graph)
    broadcaster = tf2_ros.TransformBroadcaster(graph.node)
    graph.until(broadcaster.pub_tf.get_subscription_count)
    first = int(recording.stamps_ns[0])
    broadcaster.sendTransform(camera_in_map(first, 1.0))

    def later():
        time.sleep(0.2)
        broadcaster.sendTransform(camera_in_map(first + 10**9, 2.0))

    thread = threading.Thread(target=later)
    thread.start()
    got = graph.lift(recording, range(6))
    thread.join()
    heights = 1.0 + (recording.stamps_ns[:6] - first) * 1e-9
    for expected, height_m, message in zip(in_camera, heights, got, strict=True):
        np.testing.assert_allclose(arrays(message)[1], in_map(expected, height_m), atol=1e-4)


def test_without_a_transform_nothing_is_sent_and_one_warning_says_why(graph, recording, in_camera, capfd):
    to_map(graph, wait_s=0.0)
    before = len(graph.got["skeletons"])
    for t in range(4):
        graph.send(recording, t)
        graph.spin(0.1)
    log = capfd.readouterr().err
    assert len(graph.got["skeletons"]) == before
    assert log.count("poses are not published: no transform from camera_optical_frame to target_frame map") == 1
    tf2_ros.StaticTransformBroadcaster(graph.node).sendTransform(camera_in_map(0, 1.5))
    graph.spin(0.3)
    (message,) = graph.lift(recording, [4])
    np.testing.assert_allclose(arrays(message)[1], in_map(in_camera[4], 1.5), atol=1e-4)


def test_a_recording_that_loops_brings_its_transforms_again(graph, recording, in_camera):
    """tf2 refuses transforms from before its memory: a loop of more than that would never have one again."""
    to_map(graph)
    broadcaster = tf2_ros.TransformBroadcaster(graph.node)
    graph.until(broadcaster.pub_tf.get_subscription_count)
    for seconds in (60.0, 0.0):
        moved = dataclasses.replace(recording, stamps_ns=recording.stamps_ns + int(seconds * 1e9))
        graph.send(moved, 0)
        graph.spin(0.1)
        for stamp_ns in (moved.stamps_ns[0], moved.stamps_ns[-1]):
            broadcaster.sendTransform(camera_in_map(int(stamp_ns), 1.5))
        graph.spin(0.1)
        graph.lift(moved, range(1, 3))


def test_a_camera_that_moves_is_followed(graph, aware, camera):
    moving = filmed([walker(0.4) @ LEVEL.T + (0, 0, 1)], camera, drive(0.4, 30.0, (0.3, -0.5)))
    graph.start(aware, odom_frame="odom")
    broadcaster = tf2_ros.TransformBroadcaster(graph.node)
    graph.until(broadcaster.pub_tf.get_subscription_count)
    for stamp_ns, pose in zip(moving.stamps_ns.tolist(), moving.odom_from_camera, strict=True):
        message = TransformStamped()
        message.header.stamp, message.header.frame_id, message.child_frame_id = messages.stamp(stamp_ns), "odom", FRAME
        turn, way = message.transform.rotation, message.transform.translation
        turn.x, turn.y, turn.z, turn.w = Rotation.from_matrix(pose[:3, :3]).as_quat().tolist()
        way.x, way.y, way.z = pose[:3, 3].tolist()
        broadcaster.sendTransform(message)
    graph.spin(0.5)
    expected = lift(moving, PoseLifter(aware, load_engine(aware, "torch"))).poses_m
    for t, message in enumerate(graph.lift(moving, range(20))):
        np.testing.assert_allclose(arrays(message)[1], expected[t], atol=1e-4)


def test_gravity_is_known_as_soon_as_a_transform_is(graph, aware, recording):
    """The camera looks down by 10 degrees: what the model is told follows from the map's z."""

    def expected(down):
        known = dataclasses.replace(recording, camera=dataclasses.replace(recording.camera, down=down))
        return lift(known, PoseLifter(aware, load_engine(aware, "torch"))).poses_m[0]

    graph.start(aware, gravity_frame="map")
    (message,) = graph.lift(recording, [0])
    np.testing.assert_allclose(arrays(message)[1], expected(None), atol=1e-4)
    graph.lifter.trigger_deactivate()
    graph.lifter.trigger_activate()
    graph.match()
    tf2_ros.StaticTransformBroadcaster(graph.node).sendTransform(camera_in_map(0, 1.5))
    graph.spin(0.5)
    (message,) = graph.lift(recording, [0])
    assert message.header.frame_id == FRAME
    down = TURN.inv().apply([0, 0, -1])
    np.testing.assert_allclose(arrays(message)[1], expected(tuple(down)), atol=1e-4)
