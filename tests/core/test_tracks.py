import dataclasses

import numpy as np
import pytest

from pstmo_ros.core.smoothing import SmoothingConfig
from pstmo_ros.core.tracks import Oddity, TrackConfig, Tracks
from pstmo_ros.core.window import History, WindowSpec
from tests.conftest import record, walker

SPEC = WindowSpec(27, 3, 50.0, 13)


def _tracks(look_ahead_s=0.0, **config) -> Tracks:
    return Tracks(SPEC, look_ahead_s, TrackConfig(**config), SmoothingConfig())


def _frames(camera, seconds=2.0, ids=True, people=2):
    walkers = [walker(seconds, offset_m=(1.5 * i - 0.7, 4.0 + i)) for i in range(people)]
    return list(record(walkers, camera, ids=ids).frames())


def _only(frame, *people):
    chosen = list(people)
    ids = tuple(frame.person_ids[p] for p in people)
    return dataclasses.replace(
        frame, keypoints_px=frame.keypoints_px[chosen], scores=frame.scores[chosen], person_ids=ids
    )


def _shift(frame, seconds):
    return dataclasses.replace(frame, stamp_ns=frame.stamp_ns + round(seconds * 1e9))


def test_the_detectors_ids_are_kept(camera):
    tracks = _tracks()
    for frame in _frames(camera):
        assert [d.track.person_id for d in tracks.observe(frame)] == [1, 2]


def test_without_ids_people_keep_the_id_they_were_given(camera):
    tracks = _tracks()
    for i, frame in enumerate(_frames(camera, ids=False)):
        order = [1, 0] if i % 2 else [0, 1]  # detectors list people in any order
        frame = dataclasses.replace(frame, keypoints_px=frame.keypoints_px[order], scores=frame.scores[order])
        due = tracks.observe(frame)
        at = {d.track.person_id: d.joints_px[0, 0] for d in due}
        assert sorted(at) == [0, 1]
        assert at[0] < at[1]


def test_someone_who_left_is_forgotten_and_a_newcomer_is_new(camera):
    tracks = _tracks(max_coast_s=0.5)
    frames = _frames(camera, ids=False)
    tracks.observe(frames[0])
    assert tracks.person_ids == (0, 1)
    assert [d.track.person_id for d in tracks.observe(_shift(frames[1], 2.0))] == [2, 3]
    assert tracks.person_ids == (2, 3)


def test_a_short_absence_keeps_the_person(camera):
    tracks = _tracks()
    frames = _frames(camera, ids=False, people=1)
    first = tracks.observe(frames[0])[0].track
    assert tracks.observe(frames[30])[0].track is first


def test_nobody_in_view_is_fine(camera):
    tracks = _tracks()
    frame = _frames(camera)[0]
    empty = dataclasses.replace(frame, keypoints_px=frame.keypoints_px[:0], scores=frame.scores[:0], person_ids=())
    assert tracks.observe(empty) == []
    assert len(tracks.observe(_shift(frame, 0.02))) == 2


def test_doubtful_keypoints_are_not_seen(camera):
    frame = _frames(camera)[0]
    frame.scores[0, 3] = 0.05
    due = _tracks(min_score=0.1).observe(frame)[0]
    assert np.isnan(due.joints_px[3]).all()
    assert due.scores[3] == 0


def test_a_person_of_whom_nothing_is_sure_is_left_out(camera):
    frame = _frames(camera)[0]
    frame.scores[0] = 0.05
    assert [d.track.person_id for d in _tracks().observe(frame)] == [2]


def test_look_ahead_gives_each_frame_once_at_its_own_stamp(camera):
    tracks, frames = _tracks(look_ahead_s=0.2), _frames(camera, people=1)
    given = [d.stamp_ns for f in frames for d in tracks.observe(f)]
    assert given == [f.stamp_ns for f in frames[:-10]]
    assert [d.stamp_ns for d in tracks.flush()] == [f.stamp_ns for f in frames[-10:]]
    assert tracks.flush() == []


def test_frames_that_show_nobody_are_answered_in_their_turn(camera):
    tracks, frames = _tracks(look_ahead_s=0.1), _frames(camera, people=1)[:20]
    for i in (4, 5, 19):
        frames[i] = dataclasses.replace(frames[i], scores=np.zeros_like(frames[i].scores))
    answered = []
    for frame in [*frames[:8], frames[7], *frames[8:]]:  # the repeated one gives nothing more
        due = tracks.observe(frame)
        assert {d.stamp_ns for d in due} <= set(tracks.answered)
        answered += tracks.answered
    assert answered == [f.stamp_ns for f in frames[:15]]
    tracks.flush()
    assert tracks.answered == [f.stamp_ns for f in frames[15:]]


def test_a_late_frame_still_gets_its_pose(camera):
    tracks, frames = _tracks(), _frames(camera, people=1)
    order = [0, 1, 3, 2, 4]
    assert [d.stamp_ns for i in order for d in tracks.observe(frames[i])] == [frames[i].stamp_ns for i in order]


def test_a_late_frame_still_gets_its_pose_with_ids_or_without(camera):
    for ids in (True, False):
        tracks, frames = _tracks(), _frames(camera, people=2, ids=ids)
        for i in (0, 1, 2, 30, 10):
            due = tracks.observe(frames[i])
        assert [d.stamp_ns for d in due] == [frames[10].stamp_ns] * 2
        assert tracks.oddities == [Oddity.LATE]
        assert [len(d.track.history) for d in due] == [5, 5], "in the same people's histories"


def test_time_that_jumps_back_starts_afresh(camera):
    tracks, frames = _tracks(), _frames(camera, people=1)
    for frame in frames:
        tracks.observe(_shift(frame, 100))
    due = tracks.observe(frames[0])
    assert len(due[0].track.history) == 1
    assert tracks.oddities == [Oddity.WENT_BACK]
    tracks.observe(frames[1])
    assert tracks.oddities == []


def test_time_that_leaps_ahead_starts_afresh_and_so_does_its_return(camera):
    tracks, frames = _tracks(), _frames(camera, people=1)
    tracks.observe(frames[0])
    due = tracks.observe(_shift(frames[1], 3600))
    assert (len(due[0].track.history), tracks.oddities) == (1, [Oddity.WENT_AHEAD])
    due = tracks.observe(frames[2])
    assert (len(due[0].track.history), tracks.oddities) == (1, [Oddity.WENT_BACK]), "one stamp gone wrong is survived"


@pytest.mark.parametrize("ids", [True, False])
def test_a_frame_that_comes_twice_counts_once(camera, ids):
    tracks, frames = _tracks(), _frames(camera, ids=ids)
    for frame in frames[:3]:
        assert len(tracks.observe(frame)) == 2
        assert tracks.observe(frame) == []
        assert tracks.oddities == [Oddity.DUPLICATE]
    assert [len(d.track.history) for d in tracks.observe(frames[3])] == [4, 4]


def test_people_may_come_one_message_each(camera):
    """Detectors that send a message per person give them all the image's stamp."""
    tracks, frames = _tracks(), _frames(camera)
    for frame in frames[:3]:
        for p in range(2):
            one = dataclasses.replace(
                frame, keypoints_px=frame.keypoints_px[[p]], scores=frame.scores[[p]], person_ids=(p + 1,)
            )
            assert [d.person_id for d in tracks.observe(one)] == [p + 1]
            assert tracks.oddities == []


def test_people_close_together_in_messages_of_their_own_stay_two(camera):
    tracks, frames = _tracks(), _frames(camera, people=1)
    for frame in frames[:10]:
        beside = frame.keypoints_px + np.float32([30, 0])
        due = []
        for p, points in enumerate((frame.keypoints_px, beside)):
            due += tracks.observe(dataclasses.replace(frame, keypoints_px=points, person_ids=(p,)))
    assert tracks.person_ids == (0, 1)
    assert [(d.person_id, len(d.track.history)) for d in due] == [(0, 10), (1, 10)]


@pytest.mark.parametrize("ids", [True, False])
@pytest.mark.parametrize("at_px", [(1270, 400), (700, 400)], ids=["at the border", "close"])
def test_a_stray_joint_is_nobody_and_pushes_nobody_out(camera, ids, at_px):
    tracks = _tracks(max_people=2)
    for i, frame in enumerate(_frames(camera, ids=ids)[:50]):
        points, scores = frame.keypoints_px.copy(), frame.scores.copy()
        points[1], scores[1, 1:] = (at_px[0], at_px[1] + i), 0  # a joint of somebody else
        scores[0] *= not 10 <= i < 40  # somebody who is hidden for a while
        due = tracks.observe(dataclasses.replace(frame, keypoints_px=points, scores=scores))
        assert Oddity.RECYCLED not in tracks.oddities
    first = 1 if ids else 0
    assert [d.person_id for d in due] == [first]
    assert tracks.person_ids == (first,)


@pytest.mark.parametrize("ids", [True, False])
def test_memory_does_not_grow_with_people_who_come_and_go(camera, ids):
    tracks, frames = _tracks(), _frames(camera, ids=ids, people=1)
    for i in range(50):
        frame = dataclasses.replace(frames[0], person_ids=(i,) if ids else None)
        tracks.observe(_shift(frame, 5.0 * i))
        assert len(tracks) == 1


def test_memory_does_not_grow_with_time(camera):
    tracks, frames = _tracks(), _frames(camera, people=1)
    for i in range(500):
        tracks.observe(_shift(frames[0], 0.02 * i))
    assert len(tracks._stamps) < 100


def test_whoever_is_hidden_longest_makes_room(camera):
    tracks, frames = _tracks(max_people=2), _frames(camera, people=3)
    for frame, people in zip(frames, [(0, 1), (1,), (2,)], strict=False):
        tracks.observe(_only(frame, *people))
    assert tracks.person_ids == (2, 3)


def test_a_gap_shorter_than_a_jump_is_no_leap(camera):
    tracks, frames = _tracks(max_coast_s=0.3), _frames(camera)
    tracks.observe(frames[0])
    tracks.observe(_shift(frames[1], 0.6))
    assert tracks.oddities == []


@pytest.mark.parametrize(("look_ahead_s", "max_gap_s"), [(0.5, 0.1), (0.0, 0.3)])
def test_windows_reach_back_to_their_beginning(camera, look_ahead_s, max_gap_s):
    """As a history does that forgets nothing; one joint is hidden for a while that a window's beginning cuts."""
    tracks, whole = _tracks(look_ahead_s, max_gap_s=max_gap_s), History(100, max_gap_s)
    for k, frame in enumerate(_frames(camera, 4.0, people=1)):
        if 100 <= k < 100 + 40 * max_gap_s:
            frame.scores[0, 3] = 0
        whole.add(frame.stamp_ns, np.where(frame.scores[0, :, None] > 0, frame.keypoints_px[0], np.nan))
        for due in tracks.observe(frame):
            grid = SPEC.grid_ns(due.stamp_ns)
            np.testing.assert_allclose(due.track.history.window(grid), whole.window(grid), atol=1e-3)


def test_a_newcomer_without_an_id_gets_none_that_is_taken(camera):
    tracks, frames = _tracks(), _frames(camera)
    tracks.observe(_only(frames[0], 0))
    tracks.observe(dataclasses.replace(_only(frames[1], 0), person_ids=(2,)))
    due = tracks.observe(dataclasses.replace(frames[2], person_ids=None))
    assert len({d.person_id for d in due}) == len(tracks) == 2


@pytest.mark.parametrize("max_coast_s", [0.0, 0.01])
def test_whoever_was_in_the_last_frame_has_not_been_hidden(camera, max_coast_s):
    tracks, frames = _tracks(max_coast_s=max_coast_s), _frames(camera, ids=False)
    for frame in frames[:10]:
        due = tracks.observe(frame)
    assert [(d.person_id, len(d.track.history)) for d in due] == [(0, 10), (1, 10)]
    nobody = dataclasses.replace(frames[10], scores=np.zeros_like(frames[10].scores))
    tracks.observe(nobody)
    assert {d.person_id for d in tracks.observe(frames[11])} == {2, 3}, "who was not, has left"


def test_fewer_people_are_followed_at_once(camera):
    tracks, frames = _tracks(), _frames(camera, people=3)
    tracks.observe(frames[0])
    tracks.observe(_only(frames[1], 1, 2))
    tracks.reconfigure(TrackConfig(max_people=2), SmoothingConfig())
    assert tracks.person_ids == (2, 3)
