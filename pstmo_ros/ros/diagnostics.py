"""What the node says about itself: one status on /diagnostics, once a second, whether or not anything arrives."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.qos import QoSProfile

from pstmo_ros.core.tracks import State, Tracks
from pstmo_ros.core.types import Floats
from pstmo_ros.ros.inputs import overridable

PERIOD_S = 1.0
FORWARD = "forward pass p50"
_RECENT_S = 5.0  # rates and latency are of this long, and a fault is a warning for this long
_LEVELS = (DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR)
_OK, _WARN, _ERROR = range(3)


class Diagnostics:
    """Collects what happens, from any thread, and publishes it while the node is configured."""

    def __init__(self, node: Any, about: dict[str, str]) -> None:
        """about: what does not change while configured, such as model and engine."""
        self._node, self._about = node, about
        self.tracks: Tracks | None = None
        self._received: deque[float] = deque(maxlen=2000)  # arrivals, by the monotonic clock
        self._latencies: deque[tuple[float, float]] = deque(maxlen=2000)  # when, and how long it took
        self._forwards: deque[tuple[float, float]] = deque(maxlen=2000)  # the same of the model's part of it
        self._counts: Counter[str] = Counter()
        self._faults: dict[str, tuple[float, int]] = {}  # text -> when last, level
        self._stamp_ns: int | None = None  # of the newest keypoints
        self._refused_since: float | None = None  # while keypoints are: then nobody knows whether there are people
        self._last_error = "none"
        self.active = False
        self._topics: Sequence[str] = ()
        self.skipped = 0
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", **overridable(QoSProfile(depth=10)))
        # A steady clock: with use_sim_time and no simulator, the node's own clock stands still.
        self._clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(PERIOD_S, self.publish, clock=self._clock)

    def activated(self, topics: Sequence[str]) -> None:
        """Keypoints are expected from now on, on these topics."""
        self.active, self._topics, self._refused_since, self._stamp_ns = True, topics, None, None
        for times in (self._received, self._latencies, self._forwards):
            times.clear()

    def deactivated(self) -> None:
        """Keypoints are no longer listened to, and nobody is followed."""
        self.active = False

    def received(self, stamp_ns: int) -> None:
        """A keypoint message arrived, stamped by the node's clock."""
        self._received.append(time.monotonic())
        self._counts["keypoints received"] += 1
        self._stamp_ns = stamp_ns

    def took(self, them: bool) -> None:
        """Whether the keypoints that have just arrived can be lifted."""
        self._refused_since = None if them else self._refused_since or time.monotonic()

    def published(self, latency_s: float) -> None:
        """A frame's poses went out, ``latency_s`` after the message that made them due."""
        self._latencies.append((time.monotonic(), latency_s))
        self._counts["frames published"] += 1

    def timed(self, infer: Callable[[Floats], Floats]) -> Callable[[Floats], Floats]:
        """The model's forward pass, with a note of how long it takes: the rest of the latency is the node's."""

        def noted(points: Floats) -> Floats:
            started = time.monotonic()
            out = infer(points)
            now = time.monotonic()
            self._forwards.append((now, now - started))
            return out

        return noted

    def count(self, what: str) -> None:
        """Something odd but harmless happened."""
        self._counts[what] += 1

    def warn(self, text: str) -> None:
        """Something is wrong that the user can mend."""
        self._fault(text, _WARN)

    def error(self, text: str) -> None:
        """Something failed."""
        self._fault(text, _ERROR)

    def close(self) -> None:
        """Stop publishing."""
        self._node.destroy_timer(self._timer)
        self._node.destroy_publisher(self._publisher)
        self._timer = None

    def status(self) -> DiagnosticStatus:
        """The present state of affairs."""
        now = time.monotonic()
        level, text = self._worst(now)
        p50, p99 = _percentiles_ms(now, self._latencies)
        values = self._about | {
            "input rate": f"{_rate(now, list(self._received)):.1f} Hz",
            "output rate": f"{_rate(now, [at for at, _ in list(self._latencies)]):.1f} Hz",
            "age of newest keypoints": f"{self._age_s():.3f} s",
            "latency p50": f"{p50:.1f} ms",
            "latency p99": f"{p99:.1f} ms",
            FORWARD: f"{_percentiles_ms(now, self._forwards)[0]:.2f} ms",
            "frames skipped (too slow)": str(self.skipped),
            **{f"people {state}": str(n) for state, n in self._people().items()},
            **{name: str(n) for name, n in list(self._counts.items())},
            "last error": self._last_error,
        }
        return DiagnosticStatus(
            level=_LEVELS[level],
            name=f"{self._node.get_fully_qualified_name().lstrip('/')}: lifting",
            message=text,
            hardware_id=self._about.get("engine", ""),
            values=[KeyValue(key=k, value=v) for k, v in values.items()],
        )

    def publish(self) -> None:
        """Send the status."""
        if self._timer is None:  # destroyed, but the executor has not heard of it yet
            return
        message = DiagnosticArray(status=[self.status()])
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)

    def _people(self) -> dict[str, int]:
        """How many are tracked, and how many are hidden; of a node that is not active, nothing."""
        if not self.active or self.tracks is None:
            return {}
        states = [self.tracks.state(i) for i in self.tracks.person_ids]
        return {s.value: states.count(s) for s in (State.TRACKED, State.OCCLUDED)}

    def _age_s(self) -> float:
        """Of the newest keypoints, by the node's clock; NaN where there are none."""
        now_ns = self._node.get_clock().now().nanoseconds
        return float("nan") if self._stamp_ns is None else (now_ns - self._stamp_ns) * 1e-9

    def _fault(self, text: str, level: int) -> None:
        self._faults[text] = (time.monotonic(), level)
        self._last_error = text
        while len(self._faults) > 20:
            self._faults.pop(next(iter(self._faults)), None)

    def _worst(self, now: float) -> tuple[int, str]:
        faults = [(level, at, text) for text, (at, level) in list(self._faults.items()) if now - at <= _RECENT_S]
        if self.active and (stalled_s := self._stalled_s(now)) > _RECENT_S:
            why = "".join(f"; {text}" for *_, text in sorted(faults, reverse=True))
            return _ERROR, f"keypoints arrive, and nothing has been published for {stalled_s:.0f} s{why}"
        if faults:
            level, _, text = max(faults)
            return level, text
        if not self.active:
            return _OK, "configured, not active"
        if not self._received or now - self._received[-1] > _RECENT_S:
            return _WARN, f"no keypoints on {', '.join(self._topics)}"
        return _OK, "lifting"

    def _stalled_s(self, now: float) -> float:
        """Seconds for which people have been there, or keypoints were refused, and nothing has come of it."""
        if not self._received or now - self._received[-1] > _RECENT_S:
            return 0.0
        last = self._latencies[-1][0] if self._latencies else self._received[0]
        if self._refused_since is not None:
            return now - max(last, self._refused_since)
        return now - last if self._people().get(State.TRACKED.value) else 0.0


def _percentiles_ms(now: float, taken: deque[tuple[float, float]]) -> tuple[float, float]:
    """50th and 99th of what took how long (s) lately, in ms; NaN where nothing did."""
    recent = [took for at, took in list(taken) if now - at <= _RECENT_S]
    p50, p99 = np.percentile(recent, (50, 99)) * 1e3 if recent else (float("nan"),) * 2
    return p50, p99


def _rate(now: float, times: list[float]) -> float:
    recent = [t for t in times if now - t <= _RECENT_S]
    if len(recent) < 2:
        return 0.0
    return (len(recent) - 1) / max(recent[-1] - recent[0], 1e-9)
