"""A node as a process of its own, and a detector and camera that send to it: what the soak and the bench stand on."""

from __future__ import annotations

import dataclasses
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pstmo_ros.recording import SAMPLE, Recording, load_recording

START_S = 120.0  # the first start compiles the model
TICKS_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Traffic:
    """What came of it. latency_ms: of each frame that came back. memory_mb: (seconds since the start, MB), each second.

    cpu_ms: the node's processor time per frame, all its threads. forward_ms: the median of the model's part of the
    latency, as the node's diagnostics have it at the end; None from what has no model.
    """

    sent: int
    latency_ms: np.ndarray
    cpu_ms: float
    memory_mb: list[tuple[float, float]] = field(default_factory=list)
    forward_ms: float | None = None


def crowd(people: int) -> Recording:
    """The bundled recording's two people, side by side as often as it takes, by a lens that distorts, as most do."""
    sample = load_recording(SAMPLE)
    two = sample.keypoints.shape[1]
    shifts = np.array([(60.0 * (k // two), 0, 0) for k in range(people)], np.float32)
    keypoints = sample.keypoints[:, np.arange(people) % two] + shifts[:, None]
    ids = np.tile(np.arange(people) + 1, (len(keypoints), 1))
    assert sample.camera is not None
    camera = dataclasses.replace(sample.camera, distortion=(0.05, 0.01, 0.001, 0.001, 0.0))
    return dataclasses.replace(sample, keypoints=keypoints, person_ids=ids, camera=camera, truth_m=None)


@contextmanager
def lifter(
    parameters: Mapping[str, object], environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """The lifter, configuring and activating itself, with its log on standard error; ended afterwards."""
    settings = {"autostart": "true"} | dict(parameters)
    given = [a for name, value in settings.items() for a in ("-p", f"{name}:={value}")]
    log = ("--log-level", "warn", "--log-level", "lifter:=info")
    with running("pstmo_ros.ros.node", "--ros-args", *log, *given, environment=environment) as process:
        yield process


@contextmanager
def running(
    module: str, *arguments: str, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A module as a process of its own."""
    command = [sys.executable, "-m", module, *arguments]
    variables = os.environ | (environment or {})
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=variables)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)


def send(recording: Recording, pid: int, rate_hz: float, seconds: float) -> Traffic:
    """Send a recording to and fro for so long to the process that listens, and wait for its skeletons."""
    import rclpy
    from diagnostic_msgs.msg import DiagnosticArray
    from sensor_msgs.msg import CameraInfo, PointCloud2
    from std_msgs.msg import Header

    from pstmo_ros.adapters import stamp_ns
    from pstmo_ros.ros import messages
    from pstmo_ros.ros.diagnostics import FORWARD

    rclpy.init()
    node = rclpy.create_node("traffic")
    keypoints = node.create_publisher(PointCloud2, "/keypoints", 50)
    camera_info = node.create_publisher(CameraInfo, "/camera_info", 50)
    late_ms: list[float] = []
    said: dict[str, str] = {}

    def arrived(message: PointCloud2) -> None:
        late_ms.append(time.time() * 1e3 - stamp_ns(message.header) * 1e-6)

    def reported(message: DiagnosticArray) -> None:
        said.update((v.key, v.value) for status in message.status for v in status.values)

    node.create_subscription(PointCloud2, "/lifter/skeletons", arrived, 1000)
    node.create_subscription(DiagnosticArray, "/diagnostics", reported, 10)
    deadline = time.monotonic() + START_S
    while not (keypoints.get_subscription_count() and camera_info.get_subscription_count()):
        assert time.monotonic() < deadline, "the node did not start"
        rclpy.spin_once(node, timeout_sec=0.1)
    frames, camera = len(recording.stamps_ns), recording.camera
    assert camera is not None
    there_and_back = itertools.cycle([*range(frames), *range(frames - 2, 0, -1)])
    start, sent, memory, cpu_s = time.monotonic() + 2, 0, [], 0.0
    for n, t in enumerate(there_and_back):
        due = start + n / rate_hz
        if due - start > seconds:
            break
        while (left := due - time.monotonic()) > 0:
            rclpy.spin_once(node, timeout_sec=left)
        cpu_s = cpu_s or processor_s(pid)
        header = Header(stamp=messages.stamp(time.time_ns()), frame_id="camera")
        if n % max(round(rate_hz), 1) == 0:
            camera_info.publish(messages.camera_info(header, camera))
            memory.append((due - start, resident_mb(pid)))
        ids = None if recording.person_ids is None else recording.person_ids[t]
        keypoints.publish(messages.keypoints(header, recording.keypoints[t], ids))
        sent += 1
    end = time.monotonic() + 2
    while time.monotonic() < end and len(late_ms) < sent:
        rclpy.spin_once(node, timeout_sec=0.1)
    cpu_s = processor_s(pid) - cpu_s
    node.destroy_node()
    rclpy.shutdown()
    forward_ms = float(said[FORWARD].removesuffix(" ms")) if said else None
    return Traffic(sent, np.array(late_ms), cpu_s / sent * 1e3, memory, forward_ms)


def resident_mb(pid: int) -> float:
    """Memory of a process, MB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def processor_s(pid: int) -> float:
    """Processor time that a process has had, seconds."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / TICKS_S
