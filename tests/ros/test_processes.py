"""Lifter and player as users start them: processes of their own, which end when asked to."""

import json
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from sensor_msgs.msg import CameraInfo, PointCloud2

from pstmo_ros.core.pipeline import PoseLifter
from pstmo_ros.engines import load_engine
from pstmo_ros.lift import lift
from pstmo_ros.recording import save_recording
from tests.conftest import record, walker
from tests.ros.conftest import arrays, run_module, stamps

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


def end(process, how):
    """As Ctrl-C under `ros2 launch` does it: the terminal asks, and launch asks again."""
    process.send_signal(how)
    time.sleep(0.02)
    process.send_signal(how)
    output, _ = process.communicate(timeout=20)
    return output


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
    assert "engine torch (cpu) reproduces the golden poses" in log, "what the engines say reaches the node's log"


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


FAULTS = {
    "file:=none.npz": "recording 'none.npz' does not exist",
    "rate:=0.0": "parameter rate: 0.0; give a number from 0.001 to 1000",
    "stamps:=later": "parameter stamps is 'later'; give one of now, recorded",
    "rate:='fast'": "parameter rate: 'fast'",
    "image_size:=[640]": "parameter image_size: [640]; give [width, height] in pixels",
    "fiel:=x.npz": "parameter fiel is unknown; did you mean 'file'",
}


@pytest.fixture(scope="module")
def refusals():
    """What the player says to each of FAULTS, and its exit status.

    One process is the player as often as there are faults: most of a start is the libraries'.
    """
    code = f"""
import runpy, sys
for fault in {list(FAULTS)}:
    sys.argv[1:] = ["--ros-args", "-p", fault]
    try:
        runpy.run_module("pstmo_ros.ros.player", run_name="__main__")
    except SystemExit as end:
        print("exit status", end.code, flush=True)
"""
    process = [sys.executable, "-c", code]
    done = subprocess.run(process, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=100)
    said = re.findall(r"(.*?)exit status (.+?)\n", done.stdout, re.DOTALL)
    return dict(zip(FAULTS, said, strict=True))


@pytest.mark.parametrize(("fault", "message"), FAULTS.items())
def test_player_faults_are_one_line(refusals, fault, message):
    output, status = refusals[fault]
    assert status == "1"
    assert message in output
    assert "Traceback" not in output


def test_the_player_steps_through_detectors_json(graph, tmp_path):
    """A frame a line, from a folder that OpenPose wrote; the end of input is the end, also of playing over and over."""
    for t in range(3):
        person = {"person_id": [-1], "pose_keypoints_2d": [100.0, 50.0 + t, 0.5] * 25}
        (tmp_path / f"{t:012d}_keypoints.json").write_text(json.dumps({"people": [person]}))
    got = []
    graph.node.create_subscription(PointCloud2, "/keypoints", got.append, 10)
    settings = {"file": tmp_path, "source_rate_hz": "10.0", "image_size": "[640, 480]", "step": "true", "loop": "true"}
    player = run_module("pstmo_ros.ros.player", stdin=subprocess.PIPE, stamps="recorded", **settings)
    for t in range(2):
        player.stdin.write("\n")
        player.stdin.flush()
        graph.until(lambda n=t: len(got) > n, f"step {t} sent nothing")
    graph.spin(0.3)
    assert stamps(got) == [0, 100_000_000]
    assert (got[0].height, got[0].width) == (1, 25)
    player.stdin.close()
    assert player.wait(20) == 0


@pytest.mark.parametrize(("frames", "interval_s"), [(3, 0.02), (1, 1.0)])
def test_a_round_begins_an_image_after_the_one_before(graph, camera, tmp_path, frames, interval_s):
    save_recording(tmp_path / "walk.npz", record([walker(frames * 0.02)], camera))
    got = []
    graph.node.create_subscription(PointCloud2, "/keypoints", got.append, 10)
    graph.node.create_subscription(CameraInfo, "/camera_info", lambda message: None, 10)
    player = run_module("pstmo_ros.ros.player", file=tmp_path / "walk.npz", loop="true")
    graph.until(lambda: len(got) > 2 * frames)
    end(player, signal.SIGINT)
    assert np.diff(stamps(got)).min() > 0.9e9 * interval_s


def test_stepped_through_faster_than_recorded_no_round_goes_back_in_time(graph, camera, tmp_path):
    """Of what goes back a little, a lifter would take each frame for a late one of the round before."""
    save_recording(tmp_path / "walk.npz", record([walker(0.4)], camera))
    settings = {"file": tmp_path / "walk.npz", "step": "true", "loop": "true", "publish_camera_info": "false"}
    got = []
    graph.node.create_subscription(PointCloud2, "/keypoints", got.append, 200)
    player = run_module("pstmo_ros.ros.player", stdin=subprocess.PIPE, **settings)
    player.stdin.write("\n" * 40)
    player.stdin.close()
    graph.until(lambda: len(got) == 40)
    assert player.wait(20) == 0
    assert np.diff(stamps(got)).min() == 20_000_000


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
