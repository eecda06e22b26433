"""A camera on a robot that drives and turns, with an engine that knows every pose: all that it sees stands still."""

import dataclasses

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pstmo_ros.core import skeleton
from pstmo_ros.core.bundle import load
from pstmo_ros.core.camera import Camera
from pstmo_ros.core.normalize import NORMALIZATIONS
from pstmo_ros.core.pipeline import LifterConfig, PoseLifter
from pstmo_ros.core.smoothing import SmoothingConfig
from pstmo_ros.core.tracks import TrackConfig, Tracks
from pstmo_ros.core.types import Stand
from pstmo_ros.core.window import WindowSpec
from pstmo_ros.engines import load_engine, model_path
from tests.conftest import RATE_HZ, record, walker

LEVEL = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])  # odom_from_camera: a camera that looks along x, 1 m up


def drive(seconds, degrees_per_s=0.0, metres_per_s=(0.0, 0.0), tilt_deg=0.0):
    """Poses (T, 4, 4), odom_from_camera, of a camera that turns to the left and moves."""
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    poses = np.tile(np.eye(4), (len(t), 1, 1))
    turns = Rotation.from_euler("z", np.radians(degrees_per_s) * t[:, None]).as_matrix()
    poses[:, :3, :3] = turns @ Rotation.from_euler("y", tilt_deg, degrees=True).as_matrix() @ LEVEL
    poses[:, 0, 3], poses[:, 1, 3], poses[:, 2, 3] = metres_per_s[0] * t, metres_per_s[1] * t, 1.0
    return poses


def filmed(people, camera, poses, *options):
    """What a camera that stands so records of people (T, 17, 3) in odom."""
    seen = [np.einsum("tji,tkj->tki", p[:, :3, :3], x - p[:, None, :3, 3]) for x in people for p in [poses]]
    return dataclasses.replace(record(seen, camera, *options), odom_from_camera=poses)


def standing(seconds, x=5.0, y=0.0):
    """Somebody who stands still, in odom."""
    pose = walker(0.1)[0]
    body = (pose - pose[skeleton.ROOT]) @ LEVEL.T + (x, y, 0.9)
    return np.tile(body, (round(seconds * RATE_HZ), 1, 1))


def knowing(bundle, config, people):
    """A lifter whose engine knows the pose that everybody keeps, in the axes that it is asked in."""
    pose = people[0][0] - people[0][0, skeleton.ROOT]

    def engine(windows):
        view = lifter.tracks.steadier.view
        return np.tile(pose @ (view.rotation.T if view else LEVEL), (len(windows), 1, 1))

    lifter = PoseLifter(bundle, engine, config)
    return lifter


@pytest.mark.parametrize("look_ahead_s", [0.0, 0.2])
def test_somebody_who_stands_still_does_so_while_the_robot_drives_and_turns(bundle, camera, look_ahead_s):
    people = [standing(3.0, 6.0, 0.0), standing(3.0, 7.0, 1.5)]
    recording = filmed(people, camera, drive(3.0, 25.0, (0.8, -1.2), tilt_deg=10))
    bundle = bundle.at(look_ahead_s)
    lifter = knowing(bundle, LifterConfig(look_ahead_s), people)
    stands = {f.stamp_ns: f.stand for f in recording.frames()}
    truths = dict(zip(recording.stamps_ns.tolist(), recording.truth_m, strict=True))
    lifted = [p for f in recording.frames() for p in lifter.step(f, camera)]
    lifted += lifter.flush(recording.size_px, camera)
    assert len(lifted) == 2 * len(stands)
    for pose in lifted:
        np.testing.assert_allclose(pose.position_m, truths[pose.stamp_ns][pose.person_id - 1], atol=2e-3)
        np.testing.assert_allclose(
            stands[pose.stamp_ns].placed(pose.position_m), people[pose.person_id - 1][0], atol=2e-3
        )
    speeds = np.linalg.norm([p.velocity_m_s for p in lifted if np.isfinite(p.velocity_m_s).all()], axis=-1)
    assert speeds.max() < 0.05, "over ground"


def test_without_odometry_the_filter_takes_the_robots_movement_for_the_persons(bundle, camera):
    people = [standing(3.0, 6.0)]
    recording = dataclasses.replace(filmed(people, camera, drive(3.0, 0.0, (0.8, -1.2))), odom_from_camera=None)
    lifter = knowing(bundle, LifterConfig(), people)
    for frame in recording.frames():
        (pose,) = lifter.step(frame, camera)
    assert np.linalg.norm(pose.position_m - recording.truth_m[-1, 0], axis=-1).min() > 0.01, "it lags behind"
    assert np.linalg.norm(pose.velocity_m_s, axis=-1).min() > 1


@pytest.mark.parametrize(("degrees_per_s", "off_m", "most_off_m"), [(5.0, 1e-5, 1e-4), (-25.0, 6e-3, 0.03)])
def test_windows_of_a_camera_that_turns_are_those_of_one_that_does_not(camera, degrees_per_s, off_m, most_off_m):
    """Hidden joints, whose gaps are bridged, and a lens that distorts included. A camera that turns far has views one
    after the other, which people stand a little differently in."""
    walk = walker(2.0) @ LEVEL.T + (0, 0, 1.0)
    model = load(model_path("small")).at(0.0)
    engine = load_engine(model, "torch")
    lifted = []
    for turn in (0.0, degrees_per_s):
        recording = filmed([walk], camera, drive(2.0, turn))
        recording.keypoints[30:40, 0, skeleton.index("left_wrist")] = np.nan
        recording.keypoints[-5:, 0, skeleton.index("right_ankle")] = np.nan
        lifter = PoseLifter(model, engine)
        poses = [lifter.step(frame, camera)[0] for frame in recording.frames()]
        lifted.append([f.stand.placed(p.position_m) for f, p in zip(recording.frames(), poses, strict=True)])
    apart = np.linalg.norm(np.subtract(*lifted), axis=-1)
    assert apart.mean() < off_m
    assert apart.max() < most_off_m


def test_people_keep_their_ids_while_a_slow_detectors_camera_turns_fast(bundle, camera):
    people = [standing(3.0, 6.0, y) for y in (-0.8, 0.0, 0.8)]
    slow = slice(None, None, 8)
    recording = filmed([p[slow] for p in people], camera, drive(3.0, 90.0)[slow], RATE_HZ / 8, False)

    def ids(recording):
        lifter = knowing(bundle, LifterConfig(), people)
        return [[p.person_id for p in lifter.step(f, camera)] for f in recording.frames()][:4]

    assert ids(recording) == [[0, 1, 2]] * 4
    assert ids(dataclasses.replace(recording, odom_from_camera=None)) != [[0, 1, 2]] * 4


@pytest.mark.parametrize("ids", [True, False])
def test_who_stands_where_the_camera_has_turned_to_is_not_who_is_behind_it_now(camera, ids):
    """Though both were in the middle of the image, and a detector that sees nobody may say nothing meanwhile."""
    people, turn = [standing(2.0), standing(2.0) * (-1, -1, 1)], drive(2.0)
    turn[50:, :2] *= -1
    frames = list(filmed(people, camera, turn, RATE_HZ, ids).frames())
    tracks = Tracks(WindowSpec(27, 3, 50.0, 13), 0.0, TrackConfig(), SmoothingConfig())
    for t in range(40):
        (before,) = tracks.observe(frames[t], camera)
    (now,) = tracks.observe(frames[60], camera)
    assert now.person_id != before.person_id
    assert now.track is not before.track
    assert tracks.person_ids == (now.person_id,)


def test_odometry_that_comes_late_or_stops_moves_nobody(bundle, camera):
    people = [standing(3.0)]
    recording = filmed(people, camera, drive(3.0))
    lifter = knowing(bundle, LifterConfig(), people)
    for t, frame in enumerate(recording.frames()):
        if not 20 <= t < 40:
            frame = dataclasses.replace(frame, stand=None)
        (pose,) = lifter.step(frame, camera)
        assert pose.person_id == 1
        np.testing.assert_allclose(pose.position_m, recording.truth_m[t, 0], atol=2e-3)
    lifter.tracks.clear()
    assert lifter.tracks.steadier.view is None, "who starts anew knows nothing of how the camera stood"


def test_without_intrinsics_how_the_camera_stands_changes_nothing(bundle, camera):
    recording = filmed([walker(1.0) @ LEVEL.T + (0, 0, 1.0)], camera, drive(1.0, 10.0))
    engine = load_engine(bundle, "torch")
    knows, not_so = PoseLifter(bundle, engine), PoseLifter(bundle, engine)
    for frame in recording.frames():
        (one,) = knows.step(frame, None)
        (other,) = not_so.step(dataclasses.replace(frame, stand=None), None)
        np.testing.assert_array_equal(one.root_relative_m, other.root_relative_m)


def test_a_stand_takes_points_there_and_back():
    turn = Rotation.from_euler("xyz", [-100, 5, -90], degrees=True).as_matrix()
    stand, points = Stand(turn, np.array([1.0, 2, 3])), np.random.default_rng(0).normal(size=(4, 17, 3))
    np.testing.assert_allclose(stand.seen(stand.placed(points)), points, atol=1e-12)
    np.testing.assert_allclose(stand.placed(np.zeros(3)), [1, 2, 3])


@pytest.mark.parametrize("look_ahead_s", [0.0, 0.2])
def test_odometry_that_becomes_known_moves_nobody_whose_pose_is_still_to_come(bundle, camera, look_ahead_s):
    """Because it waits for its look-ahead, or for the thread that lifts."""
    people = [standing(3.0)]
    recording = filmed(people, camera, drive(3.0))
    lifter, lifted = knowing(bundle.at(look_ahead_s), LifterConfig(look_ahead_s), people), []
    frames = [dataclasses.replace(f, stand=f.stand if t >= 60 else None) for t, f in enumerate(recording.frames())]
    for windows in [lifter.observe(frame, camera) for frame in frames]:
        lifter.tracks.steadier.view = windows.view  # whose axes the engine answers in
        lifted += lifter.lift(windows, camera)
    for pose in lifted:
        np.testing.assert_allclose(pose.position_m, recording.truth_m[0, 0], atol=2e-3)
    assert np.nanmax(np.abs([p.velocity_m_s for p in lifted])) < 0.05


def test_who_waits_since_before_odometry_was_known_stays_while_the_camera_turns_away(bundle, camera):
    people, turning = [standing(3.0)], drive(2.0, 40.0)
    recording = filmed(people, camera, np.concatenate([np.tile(turning[:1], (50, 1, 1)), turning]))
    lifter, lifted = knowing(bundle.at(0.5), LifterConfig(0.5), people), []
    for t, frame in enumerate(recording.frames()):
        lifted += lifter.step(frame if t >= 50 else dataclasses.replace(frame, stand=None), camera)
    for t, pose in enumerate(lifted):
        np.testing.assert_allclose(pose.position_m, recording.truth_m[t, 0], atol=2e-3)


@pytest.mark.parametrize("max_coast_s", [1.5, 10.0])
def test_windows_that_wait_through_a_pause_are_of_the_view_that_the_camera_has_turned_to(bundle, camera, max_coast_s):
    """Of those who have left since, as well."""
    recording = filmed([standing(5.0)], camera, drive(5.0, 15.0))
    config = LifterConfig(0.5, TrackConfig(max_coast_s=max_coast_s))
    lifter = PoseLifter(bundle.at(0.5), load_engine(bundle.at(0.5), "torch"), config)
    frames = list(recording.frames())
    for frame in frames[:100]:
        lifter.observe(frame, camera)
    windows = lifter.observe(frames[-1], camera)
    assert len(windows.due) == 25
    for due, window in zip(windows.due, windows.joints_px, strict=True):
        np.testing.assert_allclose(window[lifter.spec.target], due.joints_px, atol=0.01)


@pytest.mark.parametrize(("look_ahead_s", "stands"), [(0.0, False), (0.2, False), (0.2, True)])
def test_nobody_notices_that_a_camera_zooms_or_changes_its_resolution(bundle, camera, look_ahead_s, stands):
    recording = filmed([standing(2.0, 5.0, y) for y in (-0.8, 0.8)], camera, drive(2.0), RATE_HZ, False)
    model = bundle.at(look_ahead_s)
    engine, lifted = load_engine(model, "torch"), []
    zoomed = dataclasses.replace(camera, width=640, height=360, fx=500.0, fy=510.0, cx=330.0, cy=170.0)
    for other in (camera, zoomed):
        lifter, poses = PoseLifter(model, engine, LifterConfig(look_ahead_s)), []
        for t, frame in enumerate(recording.frames()):
            now = camera if t < 50 else other
            seen_px = now.project(recording.truth_m[t]).astype(np.float32)
            stand = frame.stand if stands else None
            poses += lifter.step(dataclasses.replace(frame, keypoints_px=seen_px, stand=stand), now)
        lifted.append(poses)
    for one, same in zip(*lifted, strict=True):
        assert (one.person_id, one.stamp_ns) == (same.person_id, same.stamp_ns)
        np.testing.assert_allclose(one.position_m, same.position_m, atol=1e-3)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_a_view_keeps_its_size_when_the_camera_changes_its_resolution(bundle, camera, normalization):
    recording = filmed([standing(1.0)], camera, drive(1.0))
    model = dataclasses.replace(bundle, metadata=bundle.metadata | {"normalization": normalization})
    halved = dataclasses.replace(camera, width=640, height=360, fx=450.0, fy=455.0, cx=320.0, cy=177.5)
    shown = []

    def engine(points):
        shown.append(points)
        return np.zeros((len(points), 17, 3), np.float32)

    for other in (camera, halved):
        lifter = PoseLifter(model, engine)
        for t, frame in enumerate(recording.frames()):
            now = camera if t < 20 else other
            seen_px = now.project(recording.truth_m[t]).astype(np.float32)
            lifter.step(dataclasses.replace(frame, keypoints_px=seen_px, size_px=(now.width, now.height)), now)
    for one, same in zip(shown[:50], shown[50:], strict=True):
        np.testing.assert_allclose(one, same, atol=1e-4)


def test_a_camera_whose_intrinsics_are_lost_says_nobodys_place(bundle, camera):
    recording = filmed([standing(1.0)], camera, drive(1.0, 20.0))
    lifter = PoseLifter(bundle, load_engine(bundle, "torch"))
    for t, frame in enumerate(recording.frames()):
        known = not 20 <= t < 40
        (pose,) = lifter.step(frame, camera if known else None)
        assert (pose.position_m is not None) == known


LENSES = {
    "plumb_bob": (-0.25, 0.08, 0.002, -0.001, 0.0),
    "rational_polynomial": (0.6, 0.1, 0.001, -0.002, 0.003, 0.9, 0.25, 0.01),
    "equidistant": (-0.005, 0.04, -0.037, 0.006),
}


@pytest.mark.parametrize("lens", LENSES)
@pytest.mark.parametrize(("look_ahead_s", "known_from"), [(0.0, 0), (0.2, 0), (0.0, 40)])
def test_people_stand_where_they_would_without_distortion(bundle, camera, lens, look_ahead_s, known_from):
    """From where camera_info comes on, too: what was seen before is then undistorted."""
    recording = filmed([standing(2.0, 5.0, y) for y in (-0.8, 0.8)], camera, drive(2.0))
    model = bundle.at(look_ahead_s)
    engine, lifted = load_engine(model, "torch"), []
    config = LifterConfig(look_ahead_s, smoothing=SmoothingConfig(enabled=False))  # which remembers what came before
    for other in (camera.plain, dataclasses.replace(camera, lens=lens, distortion=LENSES[lens])):
        lifter, poses = PoseLifter(model, engine, config), []
        for t, frame in enumerate(recording.frames()):
            seen_px = other.project(recording.truth_m[t]).astype(np.float32)
            frame = dataclasses.replace(frame, keypoints_px=seen_px, stand=None)
            poses += lifter.step(frame, other if t >= known_from else None)
        lifted.append(poses[2 * known_from :])
    assert lifted[0]
    for one, same in zip(*lifted, strict=True):
        assert (one.person_id, one.stamp_ns) == (same.person_id, same.stamp_ns)
        np.testing.assert_allclose(one.position_m, same.position_m, atol=1e-3)


def test_a_keypoint_is_undistorted_once_not_in_each_window(bundle, camera, monkeypatch):
    """Newton's method over whole windows took a small model's time several times over."""
    undone, rays = [], Camera.rays

    def counted(self, points_px):
        undone.append(np.size(points_px) // 2 if self.distorted else 0)
        return rays(self, points_px)

    monkeypatch.setattr(Camera, "rays", counted)
    assert camera.distorted
    lifter = PoseLifter(bundle, load_engine(bundle, "torch"))
    for frame in record([walker(1.0)], camera).frames():
        undone.clear()
        assert lifter.step(frame, camera)
        assert sum(undone) == skeleton.J
