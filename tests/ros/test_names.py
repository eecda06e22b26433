"""Names and QoS, as launch files set them: namespaces, remapping, several nodes in one graph, qos_overrides."""

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, PointCloud2

from pstmo_ros.ros import messages
from pstmo_ros.ros.node import Lifter
from tests.conftest import record, walker
from tests.ros.conftest import arrays
from tests.ros.detections import header


@pytest.fixture
def recording(camera):
    return record([walker(0.2), walker(0.2, offset_m=(1.0, 5.0))], camera)


@pytest.fixture
def other(graph, bundle):
    """A second lifter, named and remapped by arguments as `ros2 run` takes them."""
    arguments = ["-r", "__ns:=/robot1", "-r", "keypoints:=/detector/keypoints", "-p", f"model:={bundle.path}"]
    lifter = Lifter(cli_args=["--ros-args", *arguments, "-p", "engine:=torch", "-p", "layout:=h36m_17"])
    graph.executor.add_node(lifter)
    lifter.trigger_configure()
    lifter.trigger_activate()
    yield lifter
    lifter.destroy_node()


def test_two_lifters_in_one_graph_each_by_their_own_names(graph, bundle, recording, other):
    graph.start(bundle)
    keypoints = graph.node.create_publisher(PointCloud2, "/detector/keypoints", 10)
    camera_info = graph.node.create_publisher(CameraInfo, "/robot1/camera_info", 10)
    got, reported = [], set()
    graph.node.create_subscription(PointCloud2, "/robot1/lifter/skeletons", got.append, 10)
    graph.node.create_subscription(
        DiagnosticArray, "/diagnostics", lambda m: reported.update(s.name for s in m.status), 10
    )
    graph.until(lambda: keypoints.get_subscription_count() and camera_info.get_subscription_count())
    graph.until(lambda: reported == {"lifter: lifting", "robot1/lifter: lifting"})

    assert arrays(graph.lift(recording, [0])[0])[0] == [1, 2]
    assert not got, "the other one's people are not this one's"

    camera_info.publish(messages.camera_info(header(recording, 1), recording.camera))
    graph.spin(0.1)
    keypoints.publish(messages.keypoints(header(recording, 1), recording.keypoints[1, :1], recording.person_ids[1, :1]))
    graph.until(lambda: got)
    assert arrays(got[0])[0] == [1]
    graph.spin(0.2)
    assert len(graph.got["skeletons"]) == 1


def reliability(found):
    return {info.qos_profile.reliability for info in found if info.node_name == "lifter"}


def test_qos_overrides_of_inputs_and_outputs(graph, bundle, recording):
    graph.start(
        bundle,
        **{
            "qos_overrides./camera_info.subscription.reliability": "reliable",
            "qos_overrides./lifter/markers.publisher.reliability": "best_effort",
            "qos_overrides./diagnostics.publisher.reliability": "best_effort",
        },
    )
    for again in (False, True):
        if again:
            graph.lifter.trigger_deactivate()
            graph.lifter.trigger_activate()
            graph.match()
        inputs = [
            reliability(graph.node.get_subscriptions_info_by_topic(f"/{t}")) for t in ("camera_info", "keypoints")
        ]
        assert inputs == [{ReliabilityPolicy.RELIABLE}, {ReliabilityPolicy.BEST_EFFORT}]
    topics = ("skeletons", "markers", "closest")  # in the order in which they are made
    outputs = [reliability(graph.node.get_publishers_info_by_topic(f"/lifter/{topic}")) for topic in topics]
    assert outputs == [{ReliabilityPolicy.RELIABLE}, {ReliabilityPolicy.BEST_EFFORT}, {ReliabilityPolicy.RELIABLE}]
    assert reliability(graph.node.get_publishers_info_by_topic("/diagnostics")) == {ReliabilityPolicy.BEST_EFFORT}
    graph.lift(recording, [0])


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("/keypoints.subscription.reliability", "best", "'best' is unknown; did you mean 'best_effort'"),
        ("/lifter/poses.publisher.history", "unknown", "known: system_default, keep_last, keep_all"),
        ("/lifter/poses.publisher.depth", "ten", "'ten'; give an integer"),
        ("/lifter/poses.publisher.depth", True, "True; give an integer"),
        ("/lifter/poses.publisher.depth", 2**40, "give an integer from 0 to 2147483647"),
        ("/lifter/poses.durability", "volatile", "is unknown; give qos_overrides./TOPIC.publisher"),
    ],
)
def test_a_qos_override_that_is_none_is_named(graph, bundle, capfd, name, value, message):
    graph.start(bundle, activate=False, **{f"qos_overrides.{name}": value})
    assert not graph.change_state("configure")
    log = capfd.readouterr().err
    assert f"parameter qos_overrides.{name}" in log
    assert message in log


def test_qos_of_a_topic_that_is_not_there_is_said(graph, bundle, capfd):
    graph.start(bundle, **{"qos_overrides./keypointz.subscription.depth": 5})
    assert "qos_overrides./keypointz.subscription.depth has no effect" in capfd.readouterr().err
