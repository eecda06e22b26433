"""The player as users start it: what it sends, what it answers, and what it says."""

import json
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
from rcl_interfaces.srv import GetParameters
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, PointCloud2

from pstmo_ros.recording import save_recording
from pstmo_ros.ros import messages
from tests.conftest import record, walker
from tests.ros.conftest import end, run_module, stamps

pytestmark = pytest.mark.participants

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


@pytest.mark.parametrize("step", ["true", "false"])
def test_the_player_answers_while_it_plays(graph, step):
    """Who lists the parameters of all nodes would otherwise wait for it."""
    settings = {"loop": "true", "step": step, "rate": "2.0"}
    player = run_module("pstmo_ros.ros.player", stdin=subprocess.PIPE, **settings, wait_for_subscriber="false")
    try:
        graph.until(lambda: graph.node.count_publishers("/keypoints"), "the player did not start")
        graph.spin(0.5)
        values = graph.call(GetParameters, "/player/get_parameters", GetParameters.Request(names=["rate"]), 6).values
        assert [v.double_value for v in values] == [2.0]
        log = end(player, signal.SIGINT)
        assert (player.returncode, "Traceback" in log) == (0, False)
    finally:
        player.kill()


def test_the_players_time_is_that_of_a_simulation(graph, camera, tmp_path):
    save_recording(tmp_path / "walk.npz", record([walker(0.4)], camera))
    got = []
    graph.node.create_subscription(PointCloud2, "/keypoints", got.append, 200)
    clock = graph.node.create_publisher(Clock, "/clock", 10)
    settings = {"file": tmp_path / "walk.npz", "publish_camera_info": "false", "use_sim_time": "true"}
    player = run_module("pstmo_ros.ros.player", **settings)
    graph.until(lambda: clock.get_subscription_count(), "nobody asks what time it is")
    graph.spin(0.5)
    assert not got, "it has no time before the simulation has"
    clock.publish(Clock(clock=messages.stamp(123 * 10**9)))
    graph.until(lambda: player.poll() is not None)
    assert player.returncode == 0
    assert stamps(got)[0] == 123 * 10**9
