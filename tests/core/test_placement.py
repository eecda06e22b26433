import numpy as np
import pytest
from scipy.optimize import least_squares

from pstmo_ros.core import skeleton
from pstmo_ros.core.placement import place
from tests.conftest import walker


def _scene(camera):
    truth = walker(2.0, offset_m=(0.3, 5.0))
    roots = truth[:, skeleton.ROOT]
    return truth - roots[:, None], camera.rays(camera.project(truth)), roots


def test_exact_pose_and_pixels_give_the_exact_root(camera):
    poses, rays, roots = _scene(camera)
    np.testing.assert_allclose(place(poses, rays, np.ones(rays.shape[:2])), roots, atol=2e-3)


def test_unseen_joints_do_not_matter_and_are_not_guessed(camera):
    poses, rays, roots = _scene(camera)
    rays[:, skeleton.index("left_wrist")] = np.nan
    scores = np.ones(rays.shape[:2])
    scores[:, skeleton.index("right_ankle")] = 0
    rays[:, skeleton.index("right_ankle")] = 99
    np.testing.assert_allclose(place(poses, rays, scores), roots, atol=2e-3)


def test_a_doubtful_joint_pulls_less(camera):
    poses, rays, roots = _scene(camera)
    rays[:, skeleton.index("left_wrist")] += 0.2
    sure = place(poses, rays, np.ones(rays.shape[:2]))
    scores = np.ones(rays.shape[:2])
    scores[:, skeleton.index("left_wrist")] = 0.05
    assert np.abs(place(poses, rays, scores) - roots).max() < 0.2 * np.abs(sure - roots).max()


@pytest.mark.parametrize("seen", [0, 2])
def test_too_few_joints_give_no_position(camera, seen):
    poses, rays, _ = _scene(camera)
    scores = np.zeros(rays.shape[:2])
    scores[:, list(skeleton.LIMBS[:seen])] = 1
    assert np.isnan(place(poses, rays, scores)).all()


@pytest.mark.filterwarnings("error")
def test_a_pose_that_is_not_a_number_has_no_position_and_is_nobody_elses_matter(camera):
    poses, rays, roots = _scene(camera)
    poses[0] = np.nan
    translations = place(poses, rays, np.ones(rays.shape[:2]))
    assert np.isnan(translations[0]).all()
    np.testing.assert_allclose(translations[1:], roots[1:], atol=2e-3)


def test_all_joints_on_one_ray_give_no_position(camera):
    poses, rays, _ = _scene(camera)
    assert np.isnan(place(poses, np.zeros_like(rays), np.ones(rays.shape[:2]))).all()


def test_it_is_the_error_in_the_image_that_is_least(camera):
    """Hands and legs near the camera: their rays count as much as their pixels say, not as their depth does."""
    rng = np.random.default_rng(1)
    pose = rng.uniform(-0.5, 0.5, (skeleton.J, 3))
    pose[list(skeleton.LIMBS[:6]), 2] -= 1.2
    pose -= pose[skeleton.ROOT]
    root, limbs = np.array([0.1, 0.1, 2.4]), list(skeleton.LIMBS)

    def seen(at):
        points = pose + at
        return points[:, :2] / points[:, 2:]

    rays = seen(root) + 0.01 * rng.standard_normal((100, skeleton.J, 2))
    least = [least_squares(lambda at, r=r: (seen(at) - r)[limbs].ravel(), root).x for r in rays]
    placed = place(np.repeat(pose[None], len(rays), 0), rays, np.ones(rays.shape[:2]))
    assert np.linalg.norm(placed - least, axis=-1).mean() < 0.01
