"""The node over DDS beside a bare relay of the same messages, what messages cost, and how long it takes to start."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np
from std_msgs.msg import Header

from bench.traffic import Traffic, crowd, lifter, running, send
from pstmo_ros.adapters.point_cloud import from_point_cloud
from pstmo_ros.core import layouts, skeleton
from pstmo_ros.core.types import Pose3D
from pstmo_ros.ros import messages
from pstmo_ros.ros.graph import own_graph


def measure(
    models: tuple[str, ...], loads: tuple[tuple[int, float], ...], seconds: float, turns: int
) -> list[dict[str, object]]:
    """A row for each load and model: end-to-end latency and processor time per frame, of relay and node, and memory.

    loads: people, and messages a second. Relay and node take turns for ``seconds`` in all, each: what else runs on the
    machine comes and goes.
    """
    own_graph()
    rows: list[dict[str, object]] = []
    for count, rate_hz in loads:
        recording, bare = crowd(count), list[Traffic]()
        lifted: dict[str, list[Traffic]] = {model: [] for model in models}
        for _ in range(turns):
            with running("bench.relay") as process:
                bare.append(send(recording, process.pid, rate_hz, seconds / turns))
            for model in models:
                with lifter({"model": model, "tracks.max_people": count}) as process:
                    lifted[model].append(send(recording, process.pid, rate_hz, seconds / turns))
        for model, traffic in lifted.items():
            figures = _figures("relay", bare) | _figures("node", traffic)
            said = [t.forward_ms for t in traffic if t.forward_ms is not None]
            assert len(said) == turns, "the node said nothing on /diagnostics"
            added, forward = figures["node p50 ms"] - figures["relay p50 ms"], float(np.median(said))
            figures |= {"added p50 ms": added, "of that forward ms": forward, "the rest ms": added - forward}
            lost = sum(t.sent - len(t.latency_ms) for t in traffic)
            figures["node MB"] = max(mb for t in traffic for _, mb in t.memory_mb)
            rows.append({"model": model, "people": count, "messages/s": rate_hz, **figures, "lost": lost})
    return rows


def conversions(people: tuple[int, ...]) -> list[dict[str, object]]:
    """Median ms that a message's way to the lifter and the poses' way into one take, for each number of people."""
    rows: list[dict[str, object]] = []
    for count in people:
        recording, header = crowd(count), Header(frame_id="camera")
        assert recording.person_ids is not None
        message = messages.keypoints(header, recording.keypoints[0], recording.person_ids[0])
        layout, again = layouts.get(recording.layout), messages.skeletons(header, ())
        frame = from_point_cloud(message, layout, recording.size_px)
        joints = np.zeros((skeleton.J, 3), np.float32)
        poses = [Pose3D(i, 0, joints, joints, frame.scores[0], joints, joints[:, 0]) for i in range(count)]
        taken = {
            "in_ms": _median_ms(from_point_cloud, message, layout, recording.size_px),
            "out_ms": _median_ms(messages.skeletons, header, poses, again),
        }
        rows.append({"people": count, **taken})
    return rows


def starts() -> dict[str, float]:
    """Seconds from a process' start until the node is active, beyond importing torch: the first time, and again."""
    own_graph()
    torch_s = min(_seconds([sys.executable, "-c", "import torch"]) for _ in range(3))  # the first one reads from disk
    taken = {"importing torch s": torch_s}
    with tempfile.TemporaryDirectory() as folder:
        environment = {"XDG_CACHE_HOME": folder}
        for name in ("first start s", "second start s"):
            started = time.monotonic()
            with lifter({}, environment) as process:
                assert process.stderr is not None
                for line in process.stderr:
                    if "active: listening" in line:
                        break
                taken[name] = time.monotonic() - started - torch_s
    return taken


def _median_ms(call: Callable[..., object], *arguments: object) -> float:
    took = []
    for _ in range(1000):
        started = time.perf_counter()
        call(*arguments)
        took.append(time.perf_counter() - started)
    return float(np.median(took)) * 1e3


def _seconds(command: list[str]) -> float:
    started = time.monotonic()
    subprocess.run(command, check=True)
    return time.monotonic() - started


def _figures(name: str, traffic: list[Traffic]) -> dict[str, float]:
    p50, p99 = np.percentile(np.concatenate([t.latency_ms for t in traffic]), (50, 99))
    cpu_ms = float(np.mean([t.cpu_ms for t in traffic]))
    return {f"{name} p50 ms": float(p50), f"{name} p99 ms": float(p99), f"{name} CPU ms": cpu_ms}
