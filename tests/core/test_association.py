"""Who is who without ids, and with ids that lie."""

import dataclasses

import numpy as np
import pytest

from pstmo_ros.core import skeleton
from pstmo_ros.core.association import Motion, compare, follow, similarity
from pstmo_ros.core.smoothing import SmoothingConfig
from pstmo_ros.core.tracks import Oddity, State, TrackConfig, Tracks
from pstmo_ros.core.window import WindowSpec
from tests.conftest import record, walker
from tests.core import crowds

SPEC = WindowSpec(27, 3, 50.0, 13)


def _tracks(**config) -> Tracks:
    return Tracks(SPEC, 0.0, TrackConfig(**config), SmoothingConfig())


def _shift(frame, seconds):
    return dataclasses.replace(frame, stamp_ns=frame.stamp_ns + round(seconds * 1e9))


def _only(frame, people, ids=None):
    return dataclasses.replace(
        frame, keypoints_px=frame.keypoints_px[people], scores=frame.scores[people], person_ids=ids
    )


@pytest.mark.parametrize("scene", crowds.SCENES)
def test_people_who_pass_and_hide_each_other_keep_their_ids(scene):
    seeds = range(40 if scene == "crossing" else 4)
    assert [seed for seed in seeds if crowds.confused(crowds.SCENES[scene], 8.0, seed)] == []


def test_a_hidden_person_is_occluded_then_lost(camera):
    frames = list(record([walker(3.0), walker(3.0, offset_m=(1.0, 5.0))], camera, ids=False).frames())
    tracks, seen = _tracks(max_coast_s=1.0), []
    tracks.observe(frames[0])
    for frame in frames[1:70]:
        tracks.observe(_only(frame, [0]))
        seen.append(tracks.state(1))
    assert (tracks.state(0), seen[0], seen[48], seen[51]) == (
        State.TRACKED, State.OCCLUDED, State.OCCLUDED, State.LOST,
    )  # fmt: skip
    back = tracks.observe(frames[70])
    assert sorted(d.person_id for d in back) == [0, 2], "whoever comes after that is somebody new"


def _two(camera, seconds=2.0):
    return list(record([walker(seconds, offset_m=(-1.0, 4.0)), walker(seconds, offset_m=(1.5, 5.0))], camera).frames())


def test_ids_swapped_by_the_detector_take_their_histories_along(camera):
    frames, tracks = _two(camera), _tracks()
    for frame in frames[:30]:
        before = {d.person_id: d.track.history for d in tracks.observe(frame)}
    swapped = dataclasses.replace(frames[30], person_ids=(2, 1))
    after = {d.person_id: d.track.history for d in tracks.observe(swapped)}
    assert after == {1: before[2], 2: before[1]}
    jumps = [np.nanmax(np.abs(np.diff(h.joints, axis=0))) for h in after.values()]
    assert max(jumps) < 30, "no history has a leap in it"


@pytest.mark.parametrize("gap_s", [0.02, 0.8])
def test_a_recycled_id_starts_a_history_of_its_own(camera, gap_s):
    frames, tracks = _two(camera), _tracks()
    for frame in frames[:30]:
        tracks.observe(_only(frame, [0], (1,)))
    (due,) = tracks.observe(_shift(_only(frames[29], [1], (1,)), gap_s))
    assert due.person_id == 1
    assert len(due.track.history) == 1
    assert tracks.oddities == [Oddity.RECYCLED]


def test_a_person_whose_id_flickers_keeps_the_history(camera):
    frames, tracks = _two(camera), _tracks()
    for t, frame in enumerate(frames[:30]):
        (due,) = tracks.observe(_only(frame, [0], (1 if t < 20 else 7,)))
    assert due.person_id == 7
    assert len(due.track.history) == 30
    assert tracks.person_ids == (7,)


def test_a_fast_robot_camera_does_not_cost_an_id_its_history(camera):
    frames, tracks = _two(camera), _tracks()
    for t, frame in enumerate(frames[:40:5]):  # 10 Hz, and the view sweeps 60 px a frame
        moved = dataclasses.replace(frame, keypoints_px=frame.keypoints_px + np.float32(60 * t))
        due = tracks.observe(moved)
    assert [(d.person_id, len(d.track.history)) for d in due] == [(1, 8), (2, 8)]


def test_the_largest_people_are_followed_when_there_are_too_many(camera):
    walkers = [walker(1.0, offset_m=(0.8 * i - 1.0, 6.0 - i)) for i in range(3)]
    frames, tracks = list(record(walkers, camera).frames()), _tracks(max_people=2)
    assert [d.person_id for d in tracks.observe(frames[0])] == [2, 3]
    assert tracks.oddities == [Oddity.CROWDED]
    assert [d.person_id for d in tracks.observe(_only(frames[1], [0], (1,)))] == [1], "the hidden make room"
    assert len(tracks) == 2


def test_whoever_is_followed_and_in_view_stays_however_large_a_newcomer_is(camera):
    walkers = [walker(1.0, offset_m=(0.8 * i - 1.0, 6.0 - i)) for i in range(3)]
    frames, tracks = list(record(walkers, camera).frames()), _tracks(max_people=2)
    tracks.observe(_only(frames[0], [0, 1], (1, 2)))
    assert [d.person_id for d in tracks.observe(frames[1])] == [1, 2]
    assert [o.value for o in tracks.oddities] == [
        "more people than tracks.max_people: of those who come now, the smallest in the image are not followed"
    ]


def test_similarity_is_one_in_place_and_falls_with_distance():
    at = [float(similarity(np.full(17, d))) for d in (0, 0.02, 0.1, 1.0)]
    assert at[0] == 1
    assert at == sorted(at, reverse=True)
    assert at[-1] < 0.01


def test_motion_goes_on_as_before_while_nobody_looks():
    joints, period_ns = walker(0.1)[0, :, :2] * 100, 33_000_000
    motion = Motion(0, joints)
    for t in range(1, 30):
        follow([motion], compare([motion], t * period_ns, joints[None] + t * np.array([3.0, -1.0])), {0: 0})
    np.testing.assert_allclose(motion.predict(59 * period_ns), joints + 59 * np.array([3.0, -1.0]), atol=0.5)


@pytest.mark.parametrize("ids", [True, False])
def test_after_a_while_two_joints_are_known_again_by_their_id_alone(camera, ids):
    frames, tracks = list(record([walker(2.0)], camera, ids=ids).frames()), _tracks()
    for frame in frames[:50]:
        tracks.observe(frame)
    frames[80].scores[0, 2:] = 0
    assert len(tracks.observe(frames[80])) == ids


@pytest.mark.parametrize("ids", [True, False])
def test_joints_at_both_ends_of_all_numbers_do_not_stop_anybody(camera, ids):
    frames, tracks = list(record([walker(1.0)], camera, ids=ids).frames()), _tracks()
    frames[0].keypoints_px[0, :2, 0] = np.finfo(np.float32).max, np.finfo(np.float32).min
    assert all(len(tracks.observe(frame)) == 1 for frame in frames)


@pytest.mark.parametrize("side", ["left", "right"])
def test_whoever_shows_an_arm_alone_keeps_the_id_while_it_swings(camera, side):
    t = np.arange(60) / 15
    raised = np.pi / 4 * (1 + np.sin(2 * np.pi * t))
    arm = [skeleton.index(f"{side}_{name}") for name in skeleton.ARM]
    body = np.full((len(t), 17, 3), np.nan, np.float32)
    for joint, metres in zip(arm, (0.0, 0.28, 0.54), strict=True):
        body[:, joint] = np.stack([metres * np.sin(raised), metres * np.cos(raised), np.full_like(t, 2.5)], -1)
    tracks = _tracks()
    assert {d.person_id for f in record([body], camera, 15, ids=False).frames() for d in tracks.observe(f)} == {0}
