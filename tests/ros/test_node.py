"""The node over real DDS: what goes in comes out, once, in time and in place; what cannot is named."""

import dataclasses
import gc

import numpy as np
import pytest
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import Marker

from pstmo_ros.core.pipeline import LifterConfig, PoseLifter
from pstmo_ros.core.smoothing import SmoothingConfig
from pstmo_ros.engines import load_engine
from pstmo_ros.lift import lift
from pstmo_ros.ros import messages
from tests.conftest import record, walker
from tests.ros.conftest import FRAME, OUTPUTS, arrays, stamps


@pytest.fixture
def recording(camera):
    return record([walker(1.2), walker(1.2, offset_m=(1.0, 5.0))], camera)


def test_every_message_gives_the_pose_that_lift_gives(graph, bundle, recording):
    graph.start(bundle)
    got = graph.lift(recording, range(len(recording.stamps_ns)))
    expected = lift(recording, PoseLifter(bundle, load_engine(bundle, "torch")))
    assert stamps(got) == recording.stamps_ns.tolist()
    assert {m.header.frame_id for m in got} == {FRAME}
    for t, message in enumerate(got):
        ids, poses, scores = arrays(message)
        assert ids == [1, 2]
        np.testing.assert_allclose(poses, expected.poses_m[t], atol=1e-4)
        np.testing.assert_allclose(scores, expected.scores[t], atol=1e-6)


def test_the_outputs_agree(graph, bundle, recording):
    graph.start(bundle)
    graph.lift(recording, range(3))
    graph.until(lambda: all(len(graph.got[name]) == 3 for name in OUTPUTS), "an output is missing")
    skeletons, poses, markers = (graph.got[name][-1] for name in OUTPUTS)
    joints = arrays(skeletons)[1]
    listed = np.array([[p.position.x, p.position.y, p.position.z] for p in poses.poses]).reshape(2, 17, 3)
    np.testing.assert_allclose(listed, joints, atol=1e-6)
    drawn = {m.id: m.points for m in markers.markers if m.ns == "joints"}
    np.testing.assert_allclose([[p.x, p.y, p.z] for p in drawn[2]], joints[1], atol=1e-6)
    for message in (poses, markers.markers[0]):
        assert message.header == skeletons.header


def test_people_without_ids_keep_the_one_they_are_given(graph, bundle, recording):
    graph.start(bundle)
    got = graph.lift(recording, range(10), ids=False)
    assert {tuple(arrays(m)[0]) for m in got} == {(0, 1)}


@pytest.mark.parametrize("look_ahead_s", [0.0, 0.1])
def test_somebody_who_leaves_leaves_the_outputs(graph, bundle, recording, look_ahead_s):
    recording.keypoints[3:, 0] = np.nan
    recording.keypoints[4:, 1] = np.nan
    graph.start(bundle, look_ahead_s=look_ahead_s)
    for t in range(5 + round(look_ahead_s * 50)):
        graph.send(recording, t)
    graph.until(lambda: len(graph.got["skeletons"]) == len(graph.got["markers"]) == 5)
    *_, one, nobody = graph.got["skeletons"]
    assert arrays(one)[0] == [2]
    assert (nobody.height, nobody.width) == (0, 17)
    assert stamps(graph.got["skeletons"]) == recording.stamps_ns[:5].tolist()
    deleted = [{m.id for m in a.markers if m.action == Marker.DELETE} for a in graph.got["markers"]]
    assert deleted == [set(), set(), set(), {1}, {2}]


def test_look_ahead_delays_poses_and_keeps_their_stamps(graph, bundle, recording):
    graph.start(bundle, look_ahead_s=0.2)
    for t in range(len(recording.stamps_ns)):
        graph.send(recording, t)
    frames = len(recording.stamps_ns) - 10
    graph.until(lambda: len(graph.got["skeletons"]) >= frames)
    assert stamps(graph.got["skeletons"]) == recording.stamps_ns[:frames].tolist()
    expected = lift(recording, PoseLifter(bundle, load_engine(bundle, "torch"), LifterConfig(0.2)))
    np.testing.assert_allclose(arrays(graph.got["skeletons"][-1])[1], expected.poses_m[frames - 1], atol=1e-4)


def test_without_calibration_poses_are_about_the_pelvis_and_say_so(graph, bundle, recording, capfd):
    graph.start(bundle, image_size=[1280, 720])
    (message,) = graph.lift(recording, [0], with_camera=False)
    assert message.header.frame_id == FRAME + "_root_relative"
    assert np.abs(arrays(message)[1][:, 0]).max() < 1e-6
    assert "no camera_info on /camera_info: poses are about the pelvis" in capfd.readouterr().err
    (message,) = graph.lift(recording, [1])
    assert message.header.frame_id == FRAME, "metric as soon as the camera is known"
    assert arrays(message)[1][0, 0, 2] > 1


def test_an_uncalibrated_camera_gives_the_image_size_alone(graph, bundle, recording, capfd):
    graph.start(bundle)
    graph.camera_info.publish(CameraInfo(width=1280, height=720))
    graph.spin(0.2)
    (message,) = graph.lift(recording, [0], with_camera=False)
    assert message.header.frame_id == FRAME + "_root_relative"
    assert "camera_info has K all zero: the camera is not calibrated" in capfd.readouterr().err


def test_without_calibration_or_image_size_the_node_says_what_it_lacks(graph, bundle, recording, capfd):
    graph.start(bundle)
    for t in range(3):
        graph.send(recording, t, with_camera=False)
    lacking = "keypoints are not lifted: no camera_info on /camera_info, and parameter image_size"
    log = graph.logged(capfd, lacking)
    graph.spin(0.5)
    assert not graph.got["skeletons"]
    assert (log + capfd.readouterr().err).count(lacking) == 1


def test_a_camera_info_of_nothing_is_not_called_missing(graph, bundle, recording, capfd):
    graph.start(bundle)
    graph.camera_info.publish(CameraInfo())
    graph.send(recording, 0, with_camera=False)
    graph.logged(capfd, "keypoints are not lifted: camera_info is of no use: its image is 0 x 0 pixels large")


def test_keypoints_of_no_frame_are_warned_about(graph, bundle, recording, capfd):
    graph.start(bundle)
    graph.lift(recording, [0])
    header = Header(stamp=messages.stamp(int(recording.stamps_ns[1])))
    graph.keypoints.publish(messages.keypoints(header, recording.keypoints[1], None))
    graph.logged(capfd, "keypoints have an empty frame_id")


def test_bad_keypoints_are_named_and_the_node_goes_on(graph, bundle, recording, capfd):
    graph.start(bundle)
    graph.lift(recording, [0])
    header = Header(stamp=messages.stamp(int(recording.stamps_ns[1])), frame_id=FRAME)
    good = recording.keypoints[1]
    faults = {
        "width is 18": messages.keypoints(header, np.zeros((1, 18, 3), np.float32), None),
        "person_id repeats": messages.keypoints(header, good, np.array([1, 1])),
        "lack the field 'x', 'y', 'score'": PointCloud2(header=header, height=1, width=17),
        "data has 0 bytes": messages.keypoints(header, good, None),
    }
    faults["data has 0 bytes"].data = []
    for fault, message in faults.items():
        graph.keypoints.publish(message)
        graph.logged(capfd, f"keypoints refused: keypoints {fault}")
    assert len(graph.got["skeletons"]) == 1
    (after,) = graph.lift(recording, [1])
    assert arrays(after)[0] == [1, 2]


def test_an_all_nan_person_is_nobody(graph, bundle, recording):
    graph.start(bundle)
    recording.keypoints[0] = np.nan
    (message,) = graph.lift(recording, [0])
    assert message.height == 0


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"model": "realtme"}, "'realtme' is neither a file nor a bundled model"),
        ({"model": "/none.safetensors"}, "'/none.safetensors' does not exist"),
        ({"engine": "tensorrt9"}, "engine: 'tensorrt9' is unknown"),
        ({"layout": "coco17"}, "did you mean 'coco_17'"),
        ({"image_size": [640]}, r"image_size: [640]; give [width, height]"),
        ({"image_size": None}, "image_size is empty; give a list of integers"),
        ({"look_ahead_s": -1.0}, "look_ahead_s: -1.0; give a number from 0 to 10"),
        ({"look_ahead_s": 5.0}, "this model's window takes 0 to 0.78"),
        ({"look_ahead_s": "now"}, "look_ahead_s: 'now'; give a number"),
        ({"tracks__min_scor": 0.2}, "tracks.min_scor is unknown; did you mean 'tracks.min_score'"),
    ],
)
def test_bad_parameters_refuse_to_configure(graph, bundle, capfd, parameters, message):
    graph.start(bundle, activate=False, **parameters)
    assert not graph.change_state("configure")
    assert graph.state() == "unconfigured"
    assert message in capfd.readouterr().err


def test_a_corrupt_model_refuses_to_configure_and_a_good_one_can_follow(graph, bundle, recording, tmp_path, capfd):
    (tmp_path / "cut.safetensors").write_bytes(bundle.path.read_bytes()[:5000])
    graph.start(bundle, activate=False, model=str(tmp_path / "cut.safetensors"))
    assert not graph.change_state("configure")
    assert "cut.safetensors' is not a readable safetensors file" in capfd.readouterr().err
    graph.lifter.set_parameters([Parameter("model", value=str(bundle.path))])
    assert graph.change_state("configure")
    assert graph.change_state("activate")
    graph.match()
    assert graph.lift(recording, [0])[0].height == 2


def test_whole_numbers_do_for_parameters_in_seconds(graph, bundle):
    graph.start(bundle, marker_lifetime_s=2)
    assert graph.state() == "active"


def test_lifecycle(graph, bundle, recording):
    graph.start(bundle, activate=False)
    assert graph.state() == "unconfigured"
    assert graph.change_state("configure")
    assert graph.change_state("activate")
    graph.match()
    graph.lift(recording, range(2))
    assert gc.get_freeze_count(), "no collection of garbage walks through torch while poses are waited for"
    assert graph.change_state("deactivate")
    assert not gc.get_freeze_count()
    graph.send(recording, 2)
    graph.spin(0.3)
    assert len(graph.got["skeletons"]) == 2, "an inactive node is silent"
    assert graph.change_state("cleanup")
    assert not graph.node.count_publishers("/lifter/skeletons"), "cleanup lets go of everything"
    graph.lifter.set_parameters([Parameter("look_ahead_s", value=0.1)])
    assert graph.change_state("configure")
    assert graph.change_state("activate")
    graph.match()
    for t in range(10):
        graph.send(recording, t)
    graph.until(lambda: len(graph.got["skeletons"]) == 7)  # the five frames of 0.1 s are still to come
    assert graph.change_state("shutdown")
    assert graph.state() == "finalized"


def test_nothing_is_left_of_the_activation_before(graph, bundle, recording):
    graph.start(bundle, look_ahead_s=0.1)
    for t in range(8):
        graph.send(recording, t)
    graph.until(lambda: len(graph.got["skeletons"]) == 3)  # five frames wait for what follows
    assert graph.change_state("deactivate")
    assert graph.change_state("activate")
    graph.match()
    for t in range(20, 30):
        graph.send(recording, t)
    graph.until(lambda: len(graph.got["skeletons"]) == 8)
    assert stamps(graph.got["skeletons"][3:]) == recording.stamps_ns[20:25].tolist()


def set_parameter(graph, name, value):
    request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
    (result,) = graph.call(SetParameters, "/lifter/set_parameters", request).results
    return result


def test_parameters_are_refused_while_they_would_have_no_effect(graph, bundle):
    graph.start(bundle)
    result = set_parameter(graph, "look_ahead_s", 0.5)
    assert not result.successful
    assert "look_ahead_s: read on configure; clean up first" in result.reason
    assert not set_parameter(graph, "tracks.min_score", 1.5).successful, "out of range"
    for name, value in {"look_ahead_s": 0.0, "image_size": [0, 0]}.items():
        assert set_parameter(graph, name, value).successful, "what it is already: a file may be loaded again"


@pytest.mark.parametrize("humble", [False, True])
def test_live_parameters_take_effect_at_once(graph, bundle, recording, monkeypatch, humble):
    if humble:
        monkeypatch.delattr(Node, "add_post_set_parameters_callback", raising=False)
    graph.start(bundle)
    graph.lift(recording, range(3))
    recording.keypoints[3:, 0, :, 2] = 0.4
    assert arrays(graph.lift(recording, [3])[0])[0] == [1, 2]
    assert set_parameter(graph, "tracks.min_score", 0.5).successful
    assert set_parameter(graph, "marker_lifetime_s", 2.0).successful
    assert set_parameter(graph, "smoothing.enabled", False).successful
    (message,) = graph.lift(recording, [4])
    assert arrays(message)[0] == [2], "the other's keypoints are now too doubtful"
    raw = PoseLifter(bundle, load_engine(bundle, "torch"), LifterConfig(smoothing=SmoothingConfig(enabled=False)))
    expected = lift(
        dataclasses.replace(recording, keypoints=recording.keypoints[:5], stamps_ns=recording.stamps_ns[:5]), raw
    )
    np.testing.assert_allclose(arrays(message)[1][0], expected.poses_m[4, 1], atol=1e-4)
    graph.until(lambda: len(graph.got["markers"]) == 5)
    recording.keypoints[5:, 0, :, 2] = 1
    graph.lift(recording, [5])
    graph.until(lambda: len(graph.got["markers"]) == 6)
    assert {m.lifetime.sec for m in graph.got["markers"][-1].markers} == {2}


def test_outputs_that_nobody_wants_are_not_made(graph, bundle, recording, monkeypatch):
    made, make = [], messages.pose_array
    monkeypatch.setattr(messages, "pose_array", lambda *a: made.append(a) or make(*a))
    graph.start(bundle)
    graph.lift(recording, [0])
    graph.until(lambda: made)
    made.clear()
    for subscription in list(graph.node.subscriptions):
        if subscription.topic_name == "/lifter/poses":
            graph.node.destroy_subscription(subscription)
    graph.until(lambda: graph.lifter.count_subscribers("/lifter/poses") == 0)
    graph.spin(0.2)
    graph.lift(recording, [1])
    assert not made
