"""`make demo` of other recordings than the bundled one, and what it says where there is nothing to show."""

import argparse
import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pstmo_ros import demo
from pstmo_ros.core.pipeline import PoseLifter
from pstmo_ros.engines import load_engine
from pstmo_ros.lift import lift
from pstmo_ros.recording import save_recording
from tests.conftest import record, walker

pytestmark = pytest.mark.participants


@pytest.fixture
def recording(camera):
    return record([walker(1.0), walker(1.0, offset_m=(1.0, 5.0))], camera)


def run(*arguments):
    command = [sys.executable, "-m", "pstmo_ros.demo", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100)


def test_the_node_is_told_the_recordings_keypoint_order(bundle, recording, tmp_path):
    """Both have 17 keypoints: those of h36m_17 read as coco_17 would give poses, of nobody."""
    assert recording.layout == "h36m_17"
    save_recording(tmp_path / "a.npz", recording)
    args = argparse.Namespace(model=bundle.path, engine="torch")
    poses = demo.by_frame(recording, demo.play_live(recording, tmp_path / "a.npz", args))
    expected = lift(recording, PoseLifter(bundle, load_engine(bundle, "torch"))).poses_m
    there = np.isfinite(poses).all((-1, -2))
    assert there[0].all(), "nothing is skipped before it is late"
    np.testing.assert_allclose(poses[0], expected[0], atol=1e-4)


def test_the_demo_ends_its_processes_when_interrupted(bundle, tmp_path):
    command = [sys.executable, "-m", "pstmo_ros.demo", "--model", str(bundle.path), "--engine", "torch"]
    demo = subprocess.Popen(
        [*command, "--out", tmp_path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # as a script's background job starts
        start_new_session=True,
    )
    try:
        started = ""
        while "1/600" not in started and demo.poll() is None:  # its bar: lifter and player are at work
            started += demo.stderr.read(1)
        children = Path(f"/proc/{demo.pid}/task/{demo.pid}/children").read_text().split()
        nodes = [pid for pid in children if b"pstmo_ros.ros" in Path("/proc", pid, "cmdline").read_bytes()]
        assert len(nodes) == 2
        demo.send_signal(signal.SIGINT)
        demo.communicate(timeout=30)
        assert not [pid for pid in nodes if Path("/proc", pid).exists()]
        assert demo.returncode == 130
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(demo.pid, signal.SIGKILL)  # what it started, too, should it not have ended that


def test_the_demo_does_not_guess_whose_pose_is_whose(camera, tmp_path):
    save_recording(tmp_path / "a.npz", record([walker(0.2)], camera, ids=False))
    done = run("--recording", tmp_path / "a.npz")
    assert done.returncode == 1
    assert done.stderr.startswith("demo: recording")
    assert "has no person_ids" in done.stderr


def test_people_without_an_id_are_nobodys_poses(recording, tmp_path):
    recording.person_ids[3] = -1
    save_recording(tmp_path / "a.npz", recording)
    assert "has no person_ids" in run("--recording", tmp_path / "a.npz").stderr


def test_the_node_is_asked_again_where_its_answer_was_lost(monkeypatch):
    """DDS may match the two ends of a service one after the other: what is sent in between does not arrive."""
    unconfigured = SimpleNamespace(current_state=SimpleNamespace(label="unconfigured"))
    answers = [SimpleNamespace(done=lambda: False), SimpleNamespace(done=lambda: True, result=lambda: unconfigured)]
    client = SimpleNamespace(service_is_ready=lambda: True, call_async=lambda _: answers.pop(0))
    monkeypatch.setattr("rclpy.spin_once", lambda *_, timeout_sec: time.sleep(timeout_sec))
    monkeypatch.setattr(demo, "START_TIMEOUT_S", 20.0)
    node, process = SimpleNamespace(create_client=lambda *_: client), SimpleNamespace(poll=lambda: None)
    with pytest.raises(RuntimeError, match="the lifter cannot be configured"):
        demo._wait_until(lambda: False, node, process)


def test_a_node_that_cannot_be_configured_is_not_waited_for(bundle, tmp_path):
    started = time.monotonic()
    done = run("--model", bundle.path, "--engine", "tensorrtt", "--out", tmp_path)
    assert done.returncode == 1
    assert "demo: the lifter cannot be configured; its message above says why" in done.stderr
    assert "did you mean 'tensorrt'" in done.stderr
    assert time.monotonic() - started < demo.START_TIMEOUT_S / 2


def test_a_trial_of_no_length_is_named(tmp_path):
    assert run("--repeat", 0, "--out", tmp_path).stderr == "demo: --repeat is 0; give 1 or more\n"


def test_a_recording_of_nobody_is_named(recording):
    stamps = recording.stamps_ns.tolist()
    none = [[] for _ in stamps]
    received = demo.Received(stamps, stamps, none, [np.empty((0, 17, 3))] * len(stamps))
    with pytest.raises(RuntimeError, match="nobody was lifted"):
        demo.by_frame(dataclasses.replace(recording, truth_m=None), received)
