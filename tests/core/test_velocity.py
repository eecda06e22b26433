import numpy as np
import pytest

from pstmo_ros.core.velocity import Velocity

MS = 1_000_000


def test_a_steady_movement_has_its_velocity():
    velocity = Velocity()
    out = [velocity(k * 20 * MS, np.array([[0.02 * k, 0.0, -0.01 * k]])) for k in range(10)]
    assert np.isnan(out[0]).all()
    np.testing.assert_allclose(out[1:], np.tile([1.0, 0.0, -0.5], (9, 1, 1)), atol=1e-9)


@pytest.mark.parametrize(("gap_ms", "known"), [(400, True), (600, False)])
def test_what_lies_between_two_places_far_apart_in_time_is_no_movement(gap_ms, known):
    velocity = Velocity()
    for k in range(5):
        velocity(k * 20 * MS, np.full((1, 3), 0.02 * k))
    assert np.isfinite(velocity((80 + gap_ms) * MS, np.full((1, 3), 5.0))).all() == known


def test_a_late_frame_gets_the_newest_velocity_and_leaves_no_trace():
    velocity, reference = Velocity(), Velocity()
    for each in (velocity, reference):
        each(0, np.zeros((1, 3)))
        newest = each(40 * MS, np.ones((1, 3)))
    np.testing.assert_array_equal(velocity(20 * MS, np.full((1, 3), 9.0)), newest)
    after = np.full((1, 3), 1.5)
    np.testing.assert_array_equal(velocity(60 * MS, after), reference(60 * MS, after))
