import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from pstmo_ros.adapters.camera_info import camera_from, image_size
from pstmo_ros.core.camera import Camera
from pstmo_ros.ros import messages
from pstmo_ros.ros.calibration import Calibration

FISHEYE = Camera(848, 800, 285.0, 286.0, 424.0, 400.0, (-0.005, 0.04, -0.037, 0.006), "equidistant")
POINTS = np.random.default_rng(0).uniform((-1, -1, 3), (1, 1, 6), (50, 3))


@pytest.mark.parametrize("lens", ["equidistant", "fisheye"])
def test_a_fisheye_survives_the_message(lens):
    info = messages.camera_info(Header(), FISHEYE)
    assert info.distortion_model == "equidistant"
    info.distortion_model = lens
    assert camera_from(info) == FISHEYE


def test_region_of_interest_and_binning(camera):
    """The pixel of the image that is sent: the full image's, less the region's corner, over the binning."""
    info = messages.camera_info(Header(), camera)
    info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height = 200, 100, 640, 480
    info.binning_x, info.binning_y = 2, 4
    assert image_size(info) == (320, 120)
    cut = camera_from(info)
    assert (cut.width, cut.height) == (320, 120)
    expected = (camera.project(POINTS) - (200, 100)) / (2, 4)
    np.testing.assert_allclose(cut.project(POINTS), expected)
    np.testing.assert_allclose(cut.rays(expected), POINTS[:, :2] / POINTS[:, 2:], atol=1e-6)


def test_rectified_images_have_the_projection_matrix_and_no_distortion(camera):
    info = messages.camera_info(Header(), camera)
    info.p[0], info.p[2] = 800.0, 600.0
    rectified = camera_from(info, rectified=True)
    assert (rectified.fx, rectified.cx, rectified.distorted) == (800.0, 600.0, False)
    assert camera_from(info) == camera
    info.p = [0.0] * 12
    with pytest.raises(ValueError, match="P all zero"):
        camera_from(info, rectified=True)


def test_all_zero_k_is_uncalibrated():
    info = CameraInfo(width=640, height=480, distortion_model="equidistant", d=[0.1] * 4)
    assert camera_from(info) is None
    assert image_size(info) == (640, 480)


def test_an_unknown_lens_is_named(camera):
    info = messages.camera_info(Header(), camera)
    info.distortion_model = "equidistand"
    with pytest.raises(ValueError, match="did you mean 'equidistant'"):
        camera_from(info)


@pytest.mark.parametrize("rectified", [False, True])
def test_a_camera_info_that_changes_is_taken(camera, rectified):
    told = []
    calibration = Calibration("camera_info", (0, 0), rectified, print, told.append)
    message = messages.camera_info(Header(), camera)
    calibration.take(message)
    before = calibration.camera
    if rectified:
        message.p[0] = 800.0
    else:
        message.roi.x_offset = 100
    calibration.take(message)
    assert calibration.camera != before
    assert len(told) == 1, "that it has come is said, not each change: a zoom has many"
    assert f"{camera.width} x {camera.height} pixels" in told[0]
