"""target_frame, gravity_frame and odom_frame with a stand-in for tf2_ros; test_transforms.py has the real one."""

import dataclasses
import sys
import types
from typing import ClassVar

import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from lifecycle_msgs.srv import GetState
from rclpy.clock import JumpThreshold
from rclpy.duration import Duration
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import PointCloud2

from pstmo_ros.core.pipeline import PoseLifter
from pstmo_ros.engines import load_engine
from pstmo_ros.lift import lift
from pstmo_ros.ros import messages
from tests.conftest import record, walker
from tests.core.test_steady import LEVEL, drive, filmed
from tests.ros.conftest import FRAME, OUTPUTS, arrays, listen, statuses, values

CAMERA_TO_MAP = Rotation.from_euler("xyz", [-100, 0, -90], degrees=True)  # looks down by 10 degrees


@pytest.fixture
def recording(camera):
    return record([walker(0.6), walker(0.6, offset_m=(1.0, 5.0))], camera)


class Buffer:
    """Stands in for tf2_ros, which has no wheel: knows one transform, from a stamp on, and the camera's way in odom."""

    known_from_ns = 0
    asked, waited_s = 0, 0.0
    way: ClassVar[dict[int, np.ndarray]] = {}  # stamp -> odom_from_camera

    def __init__(self, node):
        self.srv = node.create_service(GetState, "tf2_frames", lambda *_: None)
        threshold = JumpThreshold(min_forward=None, min_backward=Duration(seconds=-1), on_clock_change=True)
        self.jump_handle = node.get_clock().create_jump_callback(threshold, post_callback=lambda jump: None)

    def lookup_transform(self, target, source, time, timeout):
        type(self).asked += 1
        type(self).waited_s += timeout.nanoseconds * 1e-9
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


def test_a_transform_that_does_not_come_is_not_waited_for_again_and_again(graph, bundle, recording, tf2, monkeypatch):
    monkeypatch.setattr(Buffer, "known_from_ns", int(recording.stamps_ns[5]))
    monkeypatch.setattr(Buffer, "waited_s", 0.0)
    graph.start(bundle, target_frame="map", transform_wait_s=0.05)
    reported = statuses(graph)
    for t in range(5):
        graph.send(recording, t)
    graph.until(lambda: reported and values(reported[-1]).get("keypoints received") == "5")
    graph.lift(recording, [5])
    assert Buffer.waited_s == pytest.approx(0.05)
    graph.lift(recording, [6])
    assert Buffer.waited_s == pytest.approx(0.1), "for the next one, it may be worth while"


def test_a_clock_that_is_reset_after_cleanup_meets_nothing_that_is_gone(graph, bundle, recording, tf2):
    """rclpy's clock holds the buffer's callback by its address alone."""
    lifter = graph.start(bundle, target_frame="map", use_sim_time=True)
    clock = graph.node.create_publisher(Clock, "/clock", 10)
    graph.until(clock.get_subscription_count)
    graph.spin(0.2)
    lifter.trigger_deactivate()
    lifter.trigger_cleanup()
    lifter.trigger_configure()
    lifter.trigger_activate()
    graph.match()
    for second in (100, 101, 50):
        clock.publish(Clock(clock=messages.stamp(second * 10**9)))
        graph.spin(0.1)
    assert graph.lift(recording, [0])


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
