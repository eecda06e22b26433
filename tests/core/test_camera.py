import dataclasses

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


LENSES = {
    "webcam": Camera(1280, 720, 900.0, 910.0, 640.0, 355.0, (-0.28, 0.08, 0.001, -0.0005, -0.01)),
    "depth camera": Camera(
        1280, 720, 610.0, 610.0, 638.0, 366.0, (0.4, -2.6, 0.0005, -0.0001, 1.4, 0.28, -2.4, 1.3), "rational_polynomial"
    ),
    "fisheye": Camera(848, 800, 285.0, 285.0, 424.0, 400.0, (-0.005, 0.04, -0.037, 0.006), "equidistant"),
}


@pytest.mark.parametrize("name", LENSES)
def test_every_lens_is_undone(name):
    camera = LENSES[name]
    size = camera.width, camera.height
    points = np.random.default_rng(0).uniform((-0.9, -0.5, 1.0), (0.9, 0.5, 1.0), (500, 3)) * 3
    pixels = camera.project(points)
    inside = ((pixels >= 0) & (pixels < size)).all(-1)
    assert inside.sum() > 200
    np.testing.assert_allclose(camera.rays(pixels[inside]), points[inside, :2] / 3, atol=1e-6)
    pixels[3] = np.nan
    assert np.isnan(camera.rays(pixels)).any(-1).tolist()[3]


def test_the_fisheye_follows_the_equidistant_formula():
    """One point worked out by hand: 45 degrees to the right, theta = pi / 4, k1 = 0.1."""
    camera = Camera(100, 100, 100.0, 100.0, 50.0, 50.0, (0.1, 0.0, 0.0, 0.0), "equidistant")
    theta = np.pi / 4
    np.testing.assert_allclose(camera.project(np.array([2.0, 0, 2.0])), (50 + 100 * theta * (1 + 0.1 * theta**2), 50))


def test_what_a_fisheye_sees_beyond_its_side_has_no_ray():
    pixels = np.array([[285 * 1.7 + 424, 400.0]])  # 97 degrees off the axis
    camera = Camera(1000, 800, 285.0, 285.0, 424.0, 400.0, (0.0,) * 4, "equidistant")
    assert np.isnan(camera.rays(pixels)).all()


def test_the_rational_polynomial_follows_the_formula():
    camera = Camera(100, 100, 100.0, 100.0, 50.0, 50.0, (0.2, 0, 0, 0, 0, 0.1, 0, 0), "rational_polynomial")
    x = 0.5 * (1 + 0.2 * 0.25) / (1 + 0.1 * 0.25)
    np.testing.assert_allclose(camera.project(np.array([1.0, 0, 2.0])), (50 + 100 * x, 50))


def test_lenses_that_do_not_add_up_are_named():
    with pytest.raises(ValueError, match="did you mean 'equidistant'"):
        Camera.from_matrix(np.eye(3), (10, 10), None, "equidistent")
    with pytest.raises(ValueError, match="distortion has 6 numbers; plumb_bob takes 5"):
        Camera.from_matrix(np.eye(3), (10, 10), np.ones(6))
    for lost in ({"cx": np.nan}, {"fx": np.inf}, {"distortion": (0.0, np.nan, 0.0, 0.0, 0.0)}):
        with pytest.raises(ValueError, match="not all are finite"):
            dataclasses.replace(Camera(10, 10, 1.0, 1.0, 5.0, 5.0), **lost)


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


def test_opencvs_distortion_is_a_row():
    matrix, row = np.diag([500.0, 500.0, 1.0]), np.array([[0.1, -0.05, 0.001, 0.002, 0.0]])
    assert Camera.from_matrix(matrix, (640, 480), row).distortion == tuple(row[0])


def test_uncalibrated_matrix_is_refused():
    with pytest.raises(ValueError, match="not calibrated"):
        Camera.from_matrix(np.zeros((3, 3)), (640, 480))


def test_what_a_lens_folds_away_has_no_ray_on_the_other_side():
    """KITTI's left colour camera folds at 791 pixels from its centre, just beyond its image."""
    distortion = (-0.3728755, 0.2037299, 0.002219027, 0.001383707, -0.07233722)
    camera = Camera(1392, 512, 984.2439, 980.8141, 690.0, 233.1966, distortion)
    rays = camera.rays(np.array([[1391.0, 233.0], [1440.0, 233.0], [1490.0, 233.0], [1600.0, 233.0], [-200.0, 233.0]]))
    assert 0.8 < rays[0, 0] < rays[1, 0] < 1.1
    assert np.isnan(rays[2:]).all()


def test_rays_near_a_fold_are_exact_whatever_else_is_asked_for():
    """Few joints are undone in fewer steps than many: each ray by itself, out to near KITTI's fold at 1.2."""
    distortion = (-0.3728755, 0.2037299, 0.002219027, 0.001383707, -0.07233722)
    camera = Camera(1392, 512, 984.2439, 980.8141, 690.0, 233.1966, distortion)
    rays = np.stack([np.linspace(-1.15, 1.15, 400), np.full(400, 0.1)], -1)
    np.testing.assert_allclose([camera.rays(camera.pixels(ray)) for ray in rays], rays, atol=1e-5)


def test_rays_are_on_this_side_of_where_lenses_fold():
    """Going out from the axis, the image of a ray moves away from the centre until the lens folds over."""
    rng, share = np.random.default_rng(0), np.linspace(0, 1, 50)[:, None, None]
    for _ in range(200):
        distortion = rng.normal(0, (0.15, 0.1, 0.001, 0.001, 0.03))
        camera = Camera(1280, 720, *rng.uniform(500, 1200, 2), 640.0, 360.0, tuple(distortion))
        pixels = rng.uniform((-100, -100), (1380, 820), (100, 2))
        rays = camera.rays(pixels)
        rays = rays[np.isfinite(rays).all(-1)]
        out = np.linalg.norm((camera.pixels(share * rays) - (640, 360)) / (camera.fx, camera.fy), axis=-1)
        assert (np.diff(out, axis=0) > -1e-3).all()
