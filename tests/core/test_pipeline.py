"""The spine with an oracle for an engine: what is tested is everything around the network."""

import dataclasses

import numpy as np
import pytest

from pstmo_ros.core import skeleton
from pstmo_ros.core.pipeline import LifterConfig, PoseLifter
from pstmo_ros.core.smoothing import SmoothingConfig
from pstmo_ros.engines import load_engine
from tests.conftest import record, walker

RAW = LifterConfig(smoothing=SmoothingConfig(enabled=False))


class Oracle:
    """Knows every pose: recognises a person by the rays of the window's target frame."""

    def __init__(self, truth, camera, target):
        self.poses = truth.reshape(-1, 17, 3)
        self.rays = camera.rays(camera.project(self.poses))
        self.target, self.batches = target, []

    def __call__(self, windows):
        self.batches.append(len(windows))
        apart = np.linalg.norm(windows[:, None, self.target] - self.rays, axis=-1).mean(-1)
        poses = self.poses[apart.argmin(1)]
        return (poses - poses[:, skeleton.ROOT, None]).astype(np.float32)


def _scene(bundle, camera, people=2, seconds=2.0):
    recording = record([walker(seconds, offset_m=(1.2 * i, 4.0 + i), phase=i) for i in range(people)], camera)
    oracle = Oracle(recording.truth_m, camera, bundle.config.window.target)
    return recording, oracle


def test_metric_poses_stand_where_the_people_are(bundle, camera):
    recording, oracle = _scene(bundle, camera)
    lifter = PoseLifter(bundle, oracle, RAW)
    for frame, truth in zip(recording.frames(), recording.truth_m, strict=True):
        poses = lifter.step(frame, camera)
        assert [p.person_id for p in poses] == [1, 2]
        assert all(p.stamp_ns == frame.stamp_ns for p in poses)
        np.testing.assert_allclose([p.position_m for p in poses], truth, atol=5e-3)


def test_everyone_is_lifted_in_one_forward_pass(bundle, camera):
    recording, oracle = _scene(bundle, camera, people=3)
    lifter = PoseLifter(bundle, oracle, RAW)
    for frame in recording.frames():
        lifter.step(frame, camera)
    assert set(oracle.batches) == {3}


def test_without_a_camera_poses_are_root_relative_only(bundle, camera):
    recording, _ = _scene(bundle, camera)
    lifter = PoseLifter(bundle, load_engine(bundle, "torch"), RAW)
    pose = lifter.step(next(recording.frames()), None)[0]
    assert pose.position_m is None
    np.testing.assert_allclose(pose.root_relative_m[skeleton.ROOT], 0, atol=1e-6)


def test_absolute_time_does_not_matter(bundle, camera):
    recording, _ = _scene(bundle, camera)
    engine = load_engine(bundle, "torch")
    now, later = PoseLifter(bundle, engine), PoseLifter(bundle, engine)
    for frame in recording.frames():
        a = now.step(frame, camera)
        b = later.step(dataclasses.replace(frame, stamp_ns=frame.stamp_ns + 10**15), camera)
        np.testing.assert_array_equal([p.root_relative_m for p in a], [p.root_relative_m for p in b])


def test_one_person_is_lifted_the_same_in_a_crowd(bundle, camera):
    recording, _ = _scene(bundle, camera, people=2)
    alone = dataclasses.replace(recording, keypoints=recording.keypoints[:, :1], person_ids=recording.person_ids[:, :1])
    engine = load_engine(bundle, "torch")
    crowd, single = PoseLifter(bundle, engine), PoseLifter(bundle, engine)
    for both, one in zip(recording.frames(), alone.frames(), strict=True):
        a, b = crowd.step(both, camera)[0], single.step(one, camera)[0]
        np.testing.assert_allclose(a.root_relative_m, b.root_relative_m, atol=1e-5)


def test_look_ahead_beyond_the_window_is_refused(bundle):
    with pytest.raises(ValueError, match=r"look_ahead_s is 2.*0 to 0\.78"):
        PoseLifter(bundle, load_engine(bundle, "torch"), LifterConfig(look_ahead_s=2))


def test_a_joint_that_was_not_seen_has_score_zero_and_still_a_position(bundle, camera):
    recording, _ = _scene(bundle, camera, people=1)
    recording.keypoints[:, 0, skeleton.index("left_wrist")] = np.nan
    lifter = PoseLifter(bundle, load_engine(bundle, "torch"), RAW)
    for frame in recording.frames():
        pose = lifter.step(frame, camera)[0]
    assert pose.scores[skeleton.index("left_wrist")] == 0
    assert np.isfinite(pose.root_relative_m).all()


@pytest.mark.parametrize("hidden", [slice(20, 21), slice(0, 10)], ids=["for a frame", "at first"])
def test_velocities_do_not_leap_when_somebody_has_no_place(bundle, camera, hidden):
    recording, oracle = _scene(bundle, camera, people=1)
    recording.keypoints[hidden, :, skeleton.LIMBS, 2] = 0
    lifter, speeds = PoseLifter(bundle, oracle, RAW), {True: [], False: []}
    for frame in recording.frames():
        (pose,) = lifter.step(frame, camera)
        speeds[pose.position_m is not None].append(np.linalg.norm(pose.velocity_m_s, axis=-1))
    assert len(speeds[False]) == len(range(100)[hidden])
    assert np.nanmax(speeds[True]) < 4, "a walker's; the place of the pelvis is no step"
    assert np.isfinite(speeds[True][1:]).all()
