import os
import subprocess
import sys
import time

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseArray
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from pstmo_ros.adapters import stamp_ns
from pstmo_ros.ros import messages
from pstmo_ros.ros.graph import own_graph
from pstmo_ros.ros.node import Lifter
from tests.ros.interfaces import NO_COMPILER, message_classes

FRAME = "camera_optical_frame"
TIMEOUT_S = 30.0
OVER_DDS = ("hri_msgs", "tf2_msgs")  # packages whose messages the tests send
OUTPUTS = {"skeletons": PointCloud2, "poses": PoseArray, "markers": MarkerArray}


@pytest.fixture(scope="session", autouse=True)
def _own_graph(tmp_path_factory):
    """A ROS domain of this test run's own, seen by nobody else; subprocesses inherit it."""
    own_graph()
    os.environ["ROS_LOG_DIR"] = str(tmp_path_factory.mktemp("ros_log"))


class Graph:
    """A detector, a camera and a subscriber beside the node under test, over real DDS."""

    def __init__(self):
        rclpy.init()
        self.node = rclpy.create_node("tester")
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.got = {name: [] for name in OUTPUTS}
        for name, kind in OUTPUTS.items():
            self.node.create_subscription(kind, f"/lifter/{name}", self.got[name].append, 1000)
        self.keypoints = self.node.create_publisher(PointCloud2, "/keypoints", 100)
        self.camera_info = self.node.create_publisher(CameraInfo, "/camera_info", 100)
        self.clients = {}
        self.lifter = None

    def close(self):
        if self.lifter is not None:
            self.lifter.destroy_node()
        self.node.destroy_node()
        rclpy.shutdown()

    def until(self, condition, why=""):
        deadline = time.monotonic() + TIMEOUT_S
        while not condition():
            assert time.monotonic() < deadline, f"timed out: {why}"
            self.executor.spin_once(timeout_sec=0.02)

    def spin(self, seconds):
        """So long, and on a busy machine longer: until nothing is waiting."""
        started = now = time.monotonic()
        idle = False
        while now < started + seconds or not idle:
            assert now < started + TIMEOUT_S, "there is always something to do"
            self.executor.spin_once(timeout_sec=0.02)
            before, now = now, time.monotonic()
            idle = now - before >= 0.02

    def logged(self, capfd, *texts):
        """The log of this process since it was last read, once every text is in it."""
        log = ""

        def complete():
            nonlocal log
            log += capfd.readouterr().err
            return all(text in log for text in texts)

        self.until(complete, f"not in the log: {texts}")
        return log

    def start(self, bundle, activate=True, **parameters):
        """The node in this process, with the test model on eager torch unless told otherwise.

        Frames may wait as long as they like: on a busy machine none is to be skipped that a test waits for.
        """
        values = {"model": str(bundle.path), "engine": "torch", "layout": "h36m_17", "max_delay_s": 10.0} | parameters
        overrides = [Parameter(name.replace("__", "."), value=value) for name, value in values.items()]
        self.lifter = Lifter(parameter_overrides=overrides)
        self.executor.add_node(self.lifter)
        if activate:
            self.lifter.trigger_configure()
            self.lifter.trigger_activate()
            self.match()
        return self.lifter

    def match(self):
        """Wait until the publishers of both sides know of the other side's subscriptions.

        Not for an output that an override has made best effort: our subscriptions are reliable.
        """
        topics = [f"/lifter/{name}" for name in OUTPUTS]
        outputs = [p for p in self.lifter.publishers if p.topic_name in topics]
        outputs = [p for p in outputs if p.qos_profile.reliability == ReliabilityPolicy.RELIABLE]
        self.until(
            lambda: (
                all(p.get_subscription_count() for p in (self.keypoints, self.camera_info, *outputs))
                and all(self.node.count_publishers(topic) for topic in topics)
            ),
            "the lifter's topics did not match",
        )

    def send(self, recording, t, with_camera=True, ids=True):
        header = Header(stamp=messages.stamp(int(recording.stamps_ns[t])), frame_id=FRAME)
        if with_camera:
            self.camera_info.publish(messages.camera_info(header, recording.camera))
            self.spin(0.02)
        self.keypoints.publish(
            messages.keypoints(header, recording.keypoints[t], recording.person_ids[t] if ids else None)
        )

    def lift(self, recording, frames, **how):
        """Send frames one by one, waiting for each skeleton message; returns those messages."""
        first = len(self.got["skeletons"])
        for t in frames:
            before = len(self.got["skeletons"])
            self.send(recording, t, **how)
            self.until(lambda n=before: len(self.got["skeletons"]) > n, f"frame {t} gave no skeletons")
        return self.got["skeletons"][first:]

    def call(self, kind, name, request, attempts=1):
        """A service's answer.

        A request can be lost while the two sides still match: a caller whose request may be repeated asks for several
        ``attempts``.
        """
        for _ in range(attempts):
            client = self.client(kind, name)
            future, deadline = client.call_async(request), time.monotonic() + TIMEOUT_S / attempts
            while not future.done() and time.monotonic() < deadline:
                self.executor.spin_once(timeout_sec=0.02)
            if future.done():
                return future.result()
        raise AssertionError(f"{name} did not answer")

    def client(self, kind, name):
        """A client whose service is there: one for the whole test.

        A new client may rarely stay unmatched, or be told that the service is not there, however long it waits; one
        that has been answered keeps its match. Only a new one waits for the service therefore, and is made anew.
        """
        if name not in self.clients:
            self.clients[name] = self.new_client(kind, name)
        return self.clients[name]

    def new_client(self, kind, name):
        for _ in range(6):
            client, deadline = self.node.create_client(kind, name), time.monotonic() + TIMEOUT_S / 6
            while time.monotonic() < deadline:
                if client.service_is_ready():
                    return client
                self.executor.spin_once(timeout_sec=0.02)
            self.node.destroy_client(client)
        raise AssertionError(f"{name} is not there")

    def change_state(self, transition):
        request = ChangeState.Request()
        request.transition.label = transition
        return self.call(ChangeState, "/lifter/change_state", request).success

    def state(self):
        return self.call(GetState, "/lifter/get_state", GetState.Request(), attempts=6).current_state.label


@pytest.fixture(scope="session")
def classes(tmp_path_factory):
    """PACKAGE -> its module of real message classes, generated from tests/ros/fixtures."""
    folder = tmp_path_factory.mktemp("interfaces")
    return lambda package: message_classes(package, folder, over_dds=package in OVER_DDS and not NO_COMPILER)


@pytest.fixture
def graph(request, monkeypatch):
    """The graph of this process alone, unless a test is marked as one of several participants.

    Where participants look for each other, rmw_fastrtps now and then (4 times in 1000 on a busy machine, none without)
    leaves a new node's services unmatched for good.
    """
    if not request.node.get_closest_marker("participants"):
        monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "OFF")
    graph = Graph()
    yield graph
    graph.close()


def stamps(received):
    return [stamp_ns(m.header) for m in received]


def arrays(message):
    ids, poses, scores = messages.skeletons_to_arrays(message)
    return ids.tolist(), poses, scores


def listen(graph, kind, topic):
    got = []
    graph.node.create_subscription(kind, topic, got.append, 10)
    return got


def statuses(graph):
    found = []
    graph.node.create_subscription(DiagnosticArray, "/diagnostics", lambda m: found.extend(m.status), 10)
    return found


def values(status):
    return {v.key: v.value for v in status.values}


def run_module(module, *arguments, stdin=None, **parameters):
    """A node as its own process, as a user starts it."""
    settings = [a for name, value in parameters.items() for a in ("-p", f"{name}:={value}")]
    command = [sys.executable, "-m", module, *arguments, "--ros-args", *settings]
    return subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def end(process, how):
    """As Ctrl-C under `ros2 launch` does it: the terminal asks, and launch asks again."""
    process.send_signal(how)
    time.sleep(0.02)
    process.send_signal(how)
    output, _ = process.communicate(timeout=20)
    return output
