"""The node over DDS beside a bare relay of the same messages, and how long it takes to start."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time

import numpy as np

from bench.traffic import Traffic, crowd, lifter, running, send
from pstmo_ros.ros.graph import own_graph


def measure(models: tuple[str, ...], loads: tuple[tuple[int, float], ...], seconds: float) -> list[dict[str, object]]:
    """A row for each load and model: end-to-end latency and processor time per frame, of relay and node.

    loads: people, and messages a second.
    """
    own_graph()
    rows: list[dict[str, object]] = []
    for count, rate_hz in loads:
        recording = crowd(count)
        with running("bench.relay") as process:
            bare = send(recording, process.pid, rate_hz, seconds)
        for model in models:
            with lifter(model=model) as process:
                lifted = send(recording, process.pid, rate_hz, seconds)
            figures = _figures("relay", bare) | _figures("node", lifted)
            added, forward = figures["node p50 ms"] - figures["relay p50 ms"], lifted.forward_ms
            assert forward is not None, "the node said nothing on /diagnostics"
            figures |= {"added p50 ms": added, "of that forward ms": forward, "the rest ms": added - forward}
            lost = lifted.sent - len(lifted.latency_ms)
            rows.append({"model": model, "people": count, "messages/s": rate_hz, **figures, "lost": lost})
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
            with lifter(environment) as process:
                assert process.stderr is not None
                for line in process.stderr:
                    if "active: listening" in line:
                        break
                taken[name] = time.monotonic() - started - torch_s
    return taken


def _seconds(command: list[str]) -> float:
    started = time.monotonic()
    subprocess.run(command, check=True)
    return time.monotonic() - started


def _figures(name: str, traffic: Traffic) -> dict[str, float]:
    p50, p99 = np.percentile(traffic.latency_ms, (50, 99))
    return {f"{name} p50 ms": float(p50), f"{name} p99 ms": float(p99), f"{name} CPU ms": traffic.cpu_ms}
