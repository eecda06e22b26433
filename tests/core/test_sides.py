"""A detector takes left for right; what the tracks hold stays as it was."""

import dataclasses

import numpy as np
import pytest

from pstmo_ros.core import skeleton
from pstmo_ros.core.smoothing import SmoothingConfig
from pstmo_ros.core.tracks import Oddity, TrackConfig, Tracks
from pstmo_ros.core.window import WindowSpec
from tests.conftest import record, walker

SPEC = WindowSpec(27, 3, 50.0, 13)
HZ = 50.0
ALL = list(skeleton.MIRROR)
LEGS = [m if skeleton.JOINTS[j].endswith(("hip", "knee", "ankle")) else j for j, m in enumerate(ALL)]
ARMS = [m if skeleton.JOINTS[j].endswith(("shoulder", "elbow", "wrist")) else j for j, m in enumerate(ALL)]


def _frames(camera, yaw_deg=90.0, seconds=3.0, rate_hz=HZ, noise_px=3.0):
    """Frames of a walker, turned from walking across the view by ``yaw_deg``: 90 towards the camera."""
    joints = walker(seconds, rate_hz)
    centre = joints[:, :1] * (1, 0, 1)
    yaw = np.radians(yaw_deg)
    turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    recording = record([((joints - centre) @ turn.T + centre).astype(np.float32)], camera, rate_hz)
    noise = np.random.default_rng(0).normal(0, noise_px, recording.keypoints[..., :2].shape)
    recording.keypoints[..., :2] += noise
    return list(recording.frames())


def _reordered(frame, joints):
    return dataclasses.replace(frame, keypoints_px=frame.keypoints_px[:, joints], scores=frame.scores[:, joints])


def _run(frames, look_ahead_s=0.0):
    tracks = Tracks(SPEC, look_ahead_s, TrackConfig(), SmoothingConfig())
    due, oddities = [], []
    for frame in frames:
        due += tracks.observe(frame)
        oddities.append(list(tracks.oddities))
    return due + tracks.flush(), oddities


@pytest.mark.parametrize("exchange", [ALL, ARMS, LEGS], ids=["all", "arms", "legs"])
def test_a_while_of_left_for_right_leaves_no_trace(camera, exchange):
    frames = _frames(camera)
    seen = [_reordered(f, exchange) if 70 <= k < 90 else f for k, f in enumerate(frames)]
    due, oddities = _run(seen)
    for d, f in zip(due, frames, strict=True):
        np.testing.assert_array_equal(d.joints_px, f.keypoints_px[0])
    np.testing.assert_array_equal(due[-1].track.history.joints[-1], frames[-1].keypoints_px[0])
    assert [Oddity.CROSSED in o for o in oddities] == [70 <= k < 90 for k in range(len(frames))]


def test_without_ids_it_stays_the_same_person(camera):
    frames = [dataclasses.replace(f, person_ids=None) for f in _frames(camera)]
    due, _ = _run([_reordered(f, ALL) if 70 <= k < 90 else f for k, f in enumerate(frames)])
    assert {d.person_id for d in due} == {0}


def test_scores_go_with_their_joints(camera):
    wrist = skeleton.index("left_wrist")
    frames = [dataclasses.replace(f, scores=f.scores.copy()) for f in _frames(camera)]
    for f in frames:
        f.scores[:, wrist] = 0.5
    due, _ = _run([_reordered(f, ALL) if 70 <= k < 90 else f for k, f in enumerate(frames)])
    assert {float(d.scores[wrist]) for d in due} == {0.5}


@pytest.mark.parametrize("rate_hz", [10.0, 25.0, 60.0])
@pytest.mark.parametrize("yaw_deg", [0.0, 30.0, 90.0, 180.0])
def test_who_walks_keeps_their_sides(camera, yaw_deg, rate_hz):
    """Seen from the side, legs pass each other twice a second."""
    frames = _frames(camera, yaw_deg, rate_hz=rate_hz)
    due, oddities = _run(frames)
    assert not any(oddities)
    np.testing.assert_array_equal(due[-1].joints_px, frames[-1].keypoints_px[0])


def test_a_detector_that_begins_with_the_wrong_side_is_followed_when_it_is_right(camera):
    frames = _frames(camera)
    due, _ = _run([_reordered(f, ALL) if k < 15 else f for k, f in enumerate(frames)], look_ahead_s=0.2)
    for d, f in list(zip(due, frames, strict=True))[25:]:
        np.testing.assert_array_equal(d.joints_px, f.keypoints_px[0])
    held = due[-1].track.history.joints
    np.testing.assert_array_equal(held, np.stack([f.keypoints_px[0] for f in frames])[-len(held) :])


def test_a_detector_that_stays_with_the_other_side_is_believed(camera):
    frames = _frames(camera, seconds=5.0)
    seen = [_reordered(f, ALL) if k >= 100 else f for k, f in enumerate(frames)]
    due, _ = _run(seen)
    np.testing.assert_array_equal(due[-1].joints_px, seen[-1].keypoints_px[0])


def test_a_frame_between_both_sides_does_not_mislead(camera):
    """Detectors that smooth, or are unsure, put both sides in the middle for a frame."""
    frames = _frames(camera)
    seen = [_reordered(f, ALL) if 70 <= k < 90 else f for k, f in enumerate(frames)]
    for k in (70, 90):
        middle = (frames[k].keypoints_px + frames[k].keypoints_px[:, ALL]) / 2
        seen[k] = dataclasses.replace(frames[k], keypoints_px=middle)
    due, _ = _run(seen)
    for k, (d, f) in enumerate(zip(due, frames, strict=True)):
        if k not in (70, 90):
            np.testing.assert_array_equal(d.joints_px, f.keypoints_px[0])


def test_who_turns_around_unseen_is_not_put_back(camera):
    frames, behind = _frames(camera), _frames(camera, yaw_deg=-90.0)
    _, oddities = _run(frames[:60] + behind[80:])
    assert not any(oddities)


def test_a_late_frame_is_taken_as_its_neighbours(camera):
    frames = _frames(camera)
    seen = [_reordered(f, ALL) if k >= 70 else f for k, f in enumerate(frames[:80])]
    seen[76], seen[77] = seen[77], seen[76]
    due, _ = _run(seen)
    expected = [frames[k] for k in (*range(76), 77, 76, 78, 79)]
    for d, f in zip(due, expected, strict=True):
        np.testing.assert_array_equal(d.joints_px, f.keypoints_px[0])


def test_after_a_gap_the_detector_is_taken_at_its_word(camera):
    frames = _frames(camera)
    seen = [_reordered(f, ALL) if 70 <= k < 75 else f for k, f in enumerate(frames)]
    due, _ = _run(seen[:75] + seen[95:96])
    kept = [f.keypoints_px[0] for f in [*frames[71:75], frames[95]]]
    np.testing.assert_array_equal(due[-1].track.history.joints[-5:], kept)


def test_scores_that_wait_are_put_back_with_their_joints(camera):
    frames = _frames(camera)
    for frame in frames:
        frame.scores[0] = np.linspace(0.3, 1.0, skeleton.J)
    due, _ = _run([_reordered(f, ALL) if k < 20 else f for k, f in enumerate(frames)], look_ahead_s=1.0)
    for d, f in zip(due, frames, strict=True):
        np.testing.assert_array_equal(d.joints_px, f.keypoints_px[0])
        np.testing.assert_array_equal(d.scores, f.scores[0])


def test_what_came_before_a_gap_stays_when_the_detector_turns_out_to_be_right(camera):
    """It comes back with the wrong side for a while: that says nothing about how it was before."""
    frames = _frames(camera)
    shown = [k for k in range(100) if not 60 <= k < 80]
    due, _ = _run([_reordered(frames[k], ALL) if 80 <= k < 87 else frames[k] for k in shown], look_ahead_s=1.0)
    held = due[-1].track.history.joints
    np.testing.assert_array_equal(held, np.stack([frames[k].keypoints_px[0] for k in shown])[-len(held) :])
    for d, k in zip(due, shown, strict=True):
        np.testing.assert_array_equal(d.joints_px, frames[k].keypoints_px[0])
