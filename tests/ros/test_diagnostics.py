"""What /diagnostics says of a node that has all it needs, and of one that has not."""

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus

from tests.conftest import record, walker
from tests.ros.conftest import statuses, values


@pytest.fixture
def recording(camera):
    return record([walker(0.6), walker(0.6, offset_m=(1.0, 5.0))], camera)


def test_diagnostics_tell_what_a_person_on_call_asks(graph, bundle, recording):
    graph.start(bundle, activate=False)
    reported = statuses(graph)
    assert graph.change_state("configure")
    graph.until(lambda: reported)
    assert (reported[-1].level, reported[-1].message) == (DiagnosticStatus.OK, "configured, not active")
    assert graph.change_state("activate")
    graph.match()
    graph.until(lambda: reported[-1].message == "no keypoints on /keypoints")
    assert reported[-1].level == DiagnosticStatus.WARN
    recording.keypoints[20:, 1] = np.nan
    graph.lift(recording, range(30))
    reported.clear()
    # The last frame counts once it is sent, and may arrive before it counts.
    graph.until(lambda: reported and values(reported[-1])["frames published"] == "30", "30 frames published")
    assert (reported[-1].level, reported[-1].message) == (DiagnosticStatus.OK, "lifting")
    told = values(reported[-1])
    assert (told["people tracked"], told["people occluded"], told["frames published"]) == ("1", "1", "30")
    assert told["engine"].startswith("torch")
    forward, latency = (float(told[name].removesuffix(" ms")) for name in ("forward pass p50", "latency p50"))
    assert 0 < forward < latency
    assert {"input rate", "output rate", "age of newest keypoints", "latency p99", "look-ahead", "last error"} <= set(
        told
    )


def test_nothing_of_the_activation_before_is_reported(graph, bundle, recording):
    graph.start(bundle)
    reported = statuses(graph)
    graph.lift(recording, [0])
    graph.until(lambda: reported and values(reported[-1]).get("people tracked") == "2")
    assert graph.change_state("deactivate")
    graph.until(lambda: reported[-1].message == "configured, not active")
    assert "people tracked" not in values(reported[-1])
    assert graph.change_state("activate")
    graph.until(lambda: reported[-1].message == "no keypoints on /keypoints")
    assert values(reported[-1])["age of newest keypoints"] == "nan s"


def test_keypoints_that_lead_to_nothing_are_an_error(graph, bundle, camera, monkeypatch):
    monkeypatch.setattr("pstmo_ros.ros.diagnostics._RECENT_S", 0.5)
    lifter = graph.start(bundle)
    reported = statuses(graph)
    lifter._worker.put = lambda job: None
    recording = record([walker(20.0)], camera)
    frames = iter(range(len(recording.stamps_ns)))

    def said_after_another_frame():
        graph.send(recording, next(frames))
        return any(s.level == DiagnosticStatus.ERROR and "nothing has been published" in s.message for s in reported)

    graph.until(said_after_another_frame)
    graph.spin(1.5)
    assert float(values(reported[-1])["age of newest keypoints"].split()[0]) > 1, "and keypoints age when they end"


def test_keypoints_without_a_camera_are_an_error_that_says_why(graph, bundle, camera, monkeypatch):
    monkeypatch.setattr("pstmo_ros.ros.diagnostics._RECENT_S", 1.0)
    graph.start(bundle)
    reported = statuses(graph)
    recording = record([walker(0.6)], camera)

    def said_after_another_frame():
        graph.send(recording, 0, with_camera=False)
        graph.spin(0.05)
        return any(s.level == DiagnosticStatus.ERROR and "no camera_info on" in s.message for s in reported)

    graph.until(said_after_another_frame)
    assert float(values(reported[-1])["input rate"].split()[0]) > 0, "they do arrive"
