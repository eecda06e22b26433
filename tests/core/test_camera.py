import numpy as np
import pytest

from pstmo_ros.core.camera import Camera
from pstmo_ros.core.normalize import NORMALIZATIONS, denormalize, normalize


def test_pixels_and_rays_are_inverse_under_distortion(camera):
    pixels = np.random.default_rng(0).uniform((0, 0), (1280, 720), (200, 2))
    np.testing.assert_allclose(camera.pixels(camera.rays(pixels)), pixels, atol=1e-3)


def test_projection_follows_the_plumb_bob_formula():
    """One point worked out by hand: x = y = 0.5, r2 = 0.5, k1 = -0.2, p1 = 0.01."""
    camera = Camera(100, 100, 100.0, 100.0, 50.0, 50.0, (-0.2, 0.0, 0.01, 0.0, 0.0))
    x = 0.5 * 0.9 + 2 * 0.01 * 0.25
    y = 0.5 * 0.9 + 0.01 * (0.5 + 2 * 0.25)
    np.testing.assert_allclose(camera.project(np.array([1.0, 1.0, 2.0])), (50 + 100 * x, 50 + 100 * y))


def test_points_behind_the_camera_have_no_pixel(camera):
    assert np.isnan(camera.project(np.array([0.1, 0.1, -2.0]))).all()


@pytest.mark.parametrize("kind", NORMALIZATIONS)
def test_normalize_and_denormalize_are_inverse(camera, kind):
    pixels = np.random.default_rng(1).uniform((0, 0), (1280, 720), (3, 17, 2))
    back = denormalize(normalize(pixels, (1280, 720), camera, kind), (1280, 720), camera, kind)
    np.testing.assert_allclose(back, pixels, atol=1e-2)


def test_screen_keeps_the_aspect_ratio():
    """x spans [-1, 1] and y is divided by the width too, as the authors' weights expect."""
    corners = normalize(np.array([[0, 0], [1000, 500]]), (1000, 500), None, "screen")
    np.testing.assert_allclose(corners, [[-1, -0.5], [1, 0.5]])


def test_rays_do_not_depend_on_resolution():
    full, half = Camera.from_field_of_view((1280, 720), 70), Camera.from_field_of_view((640, 360), 70)
    point = np.array([[300.0, 200.0]])
    np.testing.assert_allclose(
        normalize(point, (1280, 720), full, "rays"), normalize(point / 2, (640, 360), half, "rays")
    )


def test_uncalibrated_matrix_is_refused():
    with pytest.raises(ValueError, match="not calibrated"):
        Camera.from_matrix(np.zeros((3, 3)), (640, 480))
