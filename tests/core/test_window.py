import numpy as np
import pytest

from pstmo_ros.core.window import History, WindowSpec

SPEC = WindowSpec(frames=9, stride=3, rate_hz=50.0, target=4)
MS = 1_000_000


def _joints(value: float) -> np.ndarray:
    return np.full((17, 2), value, np.float32)


def _history(stamps_ms, keep_s=10.0, max_gap_s=0.3) -> History:
    """A history in which every joint's coordinate is its stamp in ms."""
    history = History(keep_s, max_gap_s)
    for stamp in stamps_ms:
        history.add(stamp * MS, _joints(stamp))
    return history


def test_grid_is_the_models_time_step_around_the_target():
    assert (np.diff(SPEC.grid_ns(1_000 * MS)) == 60 * MS).all()
    assert SPEC.grid_ns(1_000 * MS)[SPEC.target] == 1_000 * MS
    assert SPEC.past_s == pytest.approx(0.24)
    assert SPEC.future_s == pytest.approx(0.24)


@pytest.mark.parametrize("period_ms", [8, 20, 33, 100])
def test_any_detector_rate_gives_the_same_motion(period_ms):
    history = _history(range(0, 2000, period_ms))
    grid = SPEC.grid_ns(1_000 * MS)
    np.testing.assert_allclose(history.window(grid)[:, 0, 0], grid / MS, rtol=1e-6)


def test_jittered_stamps_are_interpolated_where_they_belong():
    stamps = np.unique(np.random.default_rng(0).integers(0, 2000, 300))
    grid = SPEC.grid_ns(1_000 * MS)
    np.testing.assert_allclose(_history(stamps).window(grid)[:, 5, 1], grid / MS, rtol=1e-5)


def test_ends_are_held():
    values = _history([100, 120, 140]).window(SPEC.grid_ns(130 * MS))[:, 0, 0]
    np.testing.assert_allclose(values, [100, 100, 100, 100, 130, 140, 140, 140, 140])


def test_late_frames_take_their_place_in_time():
    shuffled = np.random.default_rng(1).permutation(np.arange(0, 1000, 20))
    grid = SPEC.grid_ns(600 * MS)
    np.testing.assert_array_equal(_history(shuffled).window(grid), _history(range(0, 1000, 20)).window(grid))


def test_a_frame_sent_twice_counts_once_and_the_newer_wins():
    history = _history([0, 20, 40])
    history.add(20 * MS, _joints(25))
    assert len(history) == 3
    assert history.window(np.array([20 * MS]))[0, 0, 0] == 25


def test_a_joint_hidden_briefly_is_bridged_and_hidden_long_is_missing():
    history = History(10.0, 0.3)
    for stamp in range(0, 1000, 20):
        joints = _joints(stamp)
        if 200 < stamp < 400:
            joints[3] = np.nan
        if 200 < stamp < 800:
            joints[7] = np.nan
        history.add(stamp * MS, joints)
    window = history.window(np.array([300 * MS, 500 * MS]))
    assert window[0, 3, 0] == pytest.approx(300, rel=1e-5)
    assert np.isnan(window[:, 7]).all()
    assert np.isfinite(np.delete(window, 7, axis=1)).all()


def test_a_joint_lost_at_the_end_is_held_for_the_gap_only():
    history = History(10.0, 0.1)
    for stamp in range(0, 500, 20):
        joints = _joints(stamp)
        if stamp > 200:
            joints[2] = np.nan
        history.add(stamp * MS, joints)
    window = history.window(np.array([280, 320, 480]) * MS)
    assert window[0, 2, 0] == 200
    assert np.isnan(window[1:, 2]).all()


def test_a_person_gone_for_long_does_not_smear_across_the_gap():
    history = _history([0, 20, 40, 3000, 3020])
    window = history.window(np.array([1500, 3010]) * MS)
    assert np.isnan(window[0]).all()
    assert window[1, 0, 0] == pytest.approx(3010, rel=1e-5)


def test_memory_is_bounded_by_time():
    history = _history(range(0, 60_000, 10), keep_s=1.0)
    assert len(history) == 102
    assert history.stamps_ns[0] == 58_980 * MS  # a second before the newest frame but one


def test_a_pause_takes_no_past_from_those_who_wait_for_a_look_ahead():
    grid = np.arange(400, 980, 20) * MS
    before, after = _history(range(0, 1000, 20), keep_s=0.6), _history([*range(0, 1000, 20), 5000], keep_s=0.6)
    np.testing.assert_array_equal(after.window(grid), before.window(grid))


def test_an_empty_history_is_all_missing():
    assert np.isnan(History(1.0, 0.3).window(SPEC.grid_ns(0))).all()
