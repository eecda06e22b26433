import numpy as np

from pstmo_ros.core.smoothing import OneEuro, SmoothingConfig

MS = 1_000_000


def _run(values, period_ms=20, **config):
    smooth = OneEuro(SmoothingConfig(**config))
    return np.array([smooth(i * period_ms * MS, np.full((18, 3), v)) for i, v in enumerate(values)])[:, 0, 0]


def test_still_and_noisy_becomes_calmer():
    noise = np.random.default_rng(0).normal(0, 0.02, 500)
    assert _run(noise)[50:].std() < 0.6 * noise[50:].std()


def test_fast_motion_is_followed_more_closely_than_by_a_fixed_cut_off():
    ramp = np.concatenate([np.zeros(50), np.arange(100) * 0.06])  # 3 m/s
    adaptive, fixed = _run(ramp), _run(ramp, beta=0.0)
    assert abs(ramp[-1] - adaptive[-1]) < 0.5 * abs(ramp[-1] - fixed[-1])


def test_time_drives_it_not_the_number_of_frames():
    t50, t25 = np.arange(0, 2, 0.02), np.arange(0, 2, 0.04)
    fast, slow = _run(np.sin(3 * t50)), _run(np.sin(3 * t25), period_ms=40)
    np.testing.assert_allclose(fast[::2], slow, atol=0.08)


def test_nothing_smears_over_a_coordinate_that_was_unknown():
    smooth = OneEuro(SmoothingConfig())
    smooth(0, np.array([[0.0, 0, np.nan]]))
    np.testing.assert_array_equal(smooth(20 * MS, np.array([[0.0, 0, 5.0]]))[0], [0, 0, 5])
    assert np.isnan(smooth(40 * MS, np.array([[0.0, 0, np.nan]]))[0, 2])
    assert smooth(60 * MS, np.array([[0.0, 0, 7.0]]))[0, 2] == 7


def test_a_place_that_was_unknown_for_a_frame_comes_back_for_good():
    smooth = OneEuro(SmoothingConfig())
    values = [np.full((1, 3), np.nan if k == 3 else 1.0 + 0.1 * k) for k in range(8)]
    out = [smooth(k * 20 * MS, value) for k, value in enumerate(values)]
    assert np.isnan(out[3]).all()
    np.testing.assert_array_equal(out[4], values[4])
    assert np.isfinite(out[5:]).all()


def test_a_late_frame_passes_through_and_leaves_no_trace():
    smooth, reference = OneEuro(SmoothingConfig()), OneEuro(SmoothingConfig())
    for s in (smooth, reference):
        s(0, np.zeros((1, 3)))
        s(40 * MS, np.ones((1, 3)))
    np.testing.assert_array_equal(smooth(20 * MS, np.full((1, 3), 9.0)), np.full((1, 3), 9.0))
    np.testing.assert_array_equal(smooth(60 * MS, np.ones((1, 3))), reference(60 * MS, np.ones((1, 3))))


def test_off_means_untouched():
    values = np.random.default_rng(0).normal(size=20)
    np.testing.assert_array_equal(_run(values, enabled=False), values)
