"""Lifter and player as users start them: processes of their own, which end when asked to."""

import re
import signal
import subprocess
import sys

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState

from pstmo_ros.core.pipeline import PoseLifter
from pstmo_ros.engines import load_engine
from pstmo_ros.lift import lift
from pstmo_ros.recording import save_recording
from tests.conftest import record, walker
from tests.ros.conftest import arrays, end, run_module, stamps

pytestmark = pytest.mark.participants


@pytest.fixture
def recording_file(camera, tmp_path):
    recording = record([walker(1.0), walker(1.0, offset_m=(1.0, 5.0))], camera)
    save_recording(tmp_path / "walk.npz", recording)
    return recording, tmp_path / "walk.npz"


@pytest.fixture
def lifter(bundle):
    settings = {"model": bundle.path, "engine": "torch", "layout": "h36m_17", "autostart": "true"}
    process = run_module("pstmo_ros.ros.node", **settings, max_delay_s="10.0")  # nothing is skipped on a busy machine
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_player_to_lifter_and_a_clean_end(graph, bundle, lifter, recording_file, how):
    recording, file = recording_file
    graph.until(lambda: graph.node.count_subscribers("/keypoints"), "the lifter did not start")
    player = run_module("pstmo_ros.ros.player", file=file, stamps="recorded", rate="4.0")
    frames = len(recording.stamps_ns)
    graph.until(lambda: len(graph.got["skeletons"]) == frames, "frames were lost")
    assert player.wait(20) == 0
    assert stamps(graph.got["skeletons"]) == recording.stamps_ns.tolist()
    expected = lift(recording, PoseLifter(bundle, load_engine(bundle, "torch")))
    for t, message in enumerate(graph.got["skeletons"]):
        np.testing.assert_allclose(arrays(message)[1], expected.poses_m[t], atol=1e-4)
    log = end(lifter, how)
    assert lifter.returncode == 0
    assert "Traceback" not in log
    assert "engine torch (cpu, fp32) reproduces the golden poses" in log, "what the engines say reaches the node's log"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_node_that_is_ended_while_it_compiles_ends_in_peace(bundle, tmp_path, monkeypatch, how):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    process = run_module("pstmo_ros.ros.node", model=bundle.path, engine="openvino", autostart="true")
    for line in process.stdout:
        if "compiling the model" in line:
            break
    log = end(process, how)
    assert "Traceback" not in log
    assert process.returncode == 0


_KILL = "os.kill(os.getpid(), signal.{how})"
_SWALLOW = f"""
import contextlib, os, signal, sys, time
from pstmo_ros.ros import node, spin
from pstmo_ros.ros.node import Lifter, main
def swallow():
    with contextlib.suppress(KeyboardInterrupt):
        {_KILL}
    time.sleep({{seconds}})
"""


@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize(
    "code",
    [
        # The imports: torch's takes seconds.
        f"""
import os, signal, sys
from pstmo_ros.ros.start import lifter
class Importing:
    def find_spec(name, *_):
        if name == "torch":
            {_KILL}
sys.meta_path.insert(0, Importing)
lifter()
""",
        # An interrupt that is swallowed, before there is a node and while a model is compiled.
        _SWALLOW.format(how="{how}", seconds=0.1)
        + "make = Lifter.__init__; Lifter.__init__ = lambda self: (swallow(), make(self))[1]; main()",
        _SWALLOW.format(how="{how}", seconds=60) + "Lifter.start = lambda self: swallow(); main()",
        # A model that is compiled because somebody asked for it by a lifecycle service.
        f"""
import os, signal, time
from pstmo_ros.ros import node
def compiling(*_):
    {_KILL}
    time.sleep(60)
node.load_engine = compiling
node.Lifter.start = lambda self: self.create_timer(0.1, self.trigger_configure)
node.main()
""",
        # More messages than can be taken.
        f"""
import os, signal, sys
from rclpy.node import Node
from std_msgs.msg import Header
from pstmo_ros.ros import spin
spin.init(None)
busy = Node("busy")
sent = busy.create_publisher(Header, "sent", 10)
def more(header):
    header.stamp.sec += 1
    sent.publish(header), sent.publish(header)
    if header.stamp.sec == 100:
        {_KILL}
busy.create_subscription(Header, "sent", more, 10)
while not sent.get_subscription_count():
    pass
more(Header())
spin.spin(busy)
spin.end(busy)
""",
    ],
    ids=["imports", "start", "compiling", "transition", "flood"],
)
def test_a_process_ends_in_peace_whatever_it_is_at(code, how):
    command = [sys.executable, "-c", code.format(how=how)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=40)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr


def test_a_transition_that_is_not_possible_does_not_end_the_node(graph, lifter):
    graph.until(lambda: graph.node.count_subscribers("/keypoints"), "the lifter did not start")
    assert not graph.change_state("configure")
    client = graph.client(ChangeState, "/lifter/change_state")
    client.call_async(ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE)))
    assert graph.state() == "active", "some versions of rclpy give no answer, but the node lives"
    log = end(lifter, signal.SIGINT)
    assert "refused" in log or "Unable to start transition" in log  # the node's word, or since Kilted rclpy's own


def test_without_autostart_the_node_says_how_to_go_on(graph, bundle):
    process = run_module("pstmo_ros.ros.node", model=bundle.path)
    graph.until(lambda: ("lifter", "/") in graph.node.get_node_names_and_namespaces())
    assert graph.state() == "unconfigured"
    assert "ros2 lifecycle set /lifter configure" in end(process, signal.SIGINT)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--params-file", "FILE"], "lifter.yaml.*value before ros__parameters.*; config/lifter.yaml of this package"),
        (["--params-file", "nowhere.yaml"], "nowhere.yaml"),
        (["-p", "model"], "-p model"),
        (["--modell"], "--modell"),
    ],
)
def test_what_ros_does_not_understand_is_told_in_a_line(tmp_path, arguments, said):
    (tmp_path / "lifter.yaml").write_text("lifter:\n  model: realtime\n")
    arguments = ["--ros-args", *(str(tmp_path / "lifter.yaml") if a == "FILE" else a for a in arguments)]
    code = f"from pstmo_ros.ros.spin import init; init({arguments})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert re.search(f"ROS does not start: .*{said}", done.stderr)
    assert "Traceback" not in done.stderr
