"""Minutes at a robot's pace: does the node's memory grow, does it lose frames, how late are its poses?

    python -m tests.ros.soak [--minutes 10] [--rate 50] [--people 3] [--model M] [--engine E]

A lifter as its own process, a detector with ids and a subscriber here. Ends with 1 when memory grows by more than
5 MB after the first minute, a frame is lost, or the 99th percentile of the latency exceeds two frame intervals.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from pstmo_ros.core.camera import Camera
from pstmo_ros.recording import Recording
from tests.conftest import record, walker

GROWTH_MB, SETTLE_S, START_S = 5.0, 60.0, 120.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rate", type=float, default=50)
    parser.add_argument("--people", type=int, default=3)
    parser.add_argument("--model", default="realtime")
    parser.add_argument("--engine", default="auto")
    args = parser.parse_args()
    os.environ["ROS_DOMAIN_ID"] = str(random.randint(1, 101))
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    walkers = [walker(4.0, args.rate, (0.6 * i - 0.6, 4.0 + i), phase=i) for i in range(args.people)]
    recording = record(walkers, Camera(1280, 720, 900.0, 910.0, 640.0, 355.0), args.rate)
    settings = {"model": args.model, "engine": args.engine, "layout": recording.layout, "autostart": "true"}
    parameters = [a for name, value in settings.items() for a in ("-p", f"{name}:={value}")]
    command = [sys.executable, "-m", "pstmo_ros.ros.node", "--ros-args", "--log-level", "warn", *parameters]
    lifter = subprocess.Popen(command)
    try:
        late_s, sent, memory = soak(recording, lifter.pid, args)
    finally:
        lifter.send_signal(signal.SIGINT)
        lifter.wait(20)
    return report(args, late_s, sent, memory)


def soak(
    recording: Recording, pid: int, args: argparse.Namespace
) -> tuple[list[float], int, list[tuple[float, float]]]:
    """Send for the given time; -> latencies (s), frames sent, and (seconds since the start, MB) once a second."""
    import rclpy
    from sensor_msgs.msg import CameraInfo, PointCloud2
    from std_msgs.msg import Header

    from pstmo_ros.adapters import stamp_ns
    from pstmo_ros.ros import messages

    rclpy.init()
    node = rclpy.create_node("soak")
    keypoints = node.create_publisher(PointCloud2, "/keypoints", 50)
    camera_info = node.create_publisher(CameraInfo, "/camera_info", 50)
    late_s: list[float] = []

    def arrived(message: PointCloud2) -> None:
        late_s.append(time.time() - stamp_ns(message.header) * 1e-9)

    node.create_subscription(PointCloud2, "/lifter/skeletons", arrived, 1000)
    deadline = time.monotonic() + START_S  # the first start compiles the model
    while not (keypoints.get_subscription_count() and camera_info.get_subscription_count()):
        assert time.monotonic() < deadline, "the lifter did not start"
        rclpy.spin_once(node, timeout_sec=0.1)
    frames = len(recording.stamps_ns)
    there_and_back = itertools.cycle([*range(frames), *range(frames - 2, 0, -1)])
    start, sent, memory = time.monotonic() + 2, 0, []
    for n, t in enumerate(there_and_back):
        due = start + n / args.rate
        if due - start > args.minutes * 60:
            break
        while (left := due - time.monotonic()) > 0:
            rclpy.spin_once(node, timeout_sec=left)
        header = Header(stamp=messages.stamp(time.time_ns()), frame_id="camera")
        if n % round(args.rate) == 0:
            camera_info.publish(messages.camera_info(header, recording.camera))
            memory.append((due - start, resident_mb(pid)))
        keypoints.publish(messages.keypoints(header, recording.keypoints[t], recording.person_ids[t]))
        sent += 1
    end = time.monotonic() + 2
    while time.monotonic() < end and len(late_s) < sent:
        rclpy.spin_once(node, timeout_sec=0.1)
    node.destroy_node()
    rclpy.shutdown()
    return late_s, sent, memory


def resident_mb(pid: int) -> float:
    """Memory of a process, MB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def report(args: argparse.Namespace, late_s: list[float], sent: int, memory: list[tuple[float, float]]) -> int:
    """Print the figures; -> 0 when all are as they should be."""
    settled = [mb for at, mb in memory if at >= min(SETTLE_S, memory[-1][0] / 2)]
    growth, lost, late_ms = settled[-1] - settled[0], sent - len(late_s), np.array(late_s) * 1e3
    p50, p99 = np.percentile(late_ms, (50, 99))
    limit = 2000 / args.rate
    print(f"| {args.minutes:g} min, {args.rate:g} Hz, {args.people} people | measured | wanted |\n|---|---|---|")
    print(f"| frames sent / lost | {sent} / {lost} | 0 lost |")
    print(
        f"| memory after the first minute / growth since | {settled[0]:.0f} / {growth:+.1f} MB | < {GROWTH_MB:g} MB |"
    )
    print(f"| latency p50 / p99 / worst | {p50:.1f} / {p99:.1f} / {late_ms.max():.1f} ms | p99 < {limit:.0f} ms |")
    return int(lost > 0 or growth > GROWTH_MB or p99 > limit)


if __name__ == "__main__":
    sys.exit(main())
