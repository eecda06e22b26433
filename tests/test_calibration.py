"""Calibration files as ROS' camera_calibration writes them."""

import json

import pytest

from pstmo_ros.core.camera import Camera
from pstmo_ros.formats import Source, read
from pstmo_ros.formats.calibration import read_calibration

WRITTEN = """image_width: 640
image_height: 480
camera_name: head
camera_matrix:
  rows: 3
  cols: 3
  data: [615.5,   0.  , 322.1,
           0.  , 616.2, 241.9,
           0.  ,   0.  ,   1.  ]
distortion_model: plumb_bob
distortion_coefficients:
  rows: 1
  cols: 5
  data: [0.11, -0.23, 0.001, -0.002, 0.0]
rectification_matrix: {rows: 3, cols: 3, data: [1., 0., 0., 0., 1., 0., 0., 0., 1.]}
projection_matrix: {rows: 3, cols: 4, data: [620., 0., 321., 0., 0., 622., 242., 0., 0., 0., 1., 0.]}
"""
CAMERA = Camera(640, 480, 615.5, 616.2, 322.1, 241.9, (0.11, -0.23, 0.001, -0.002, 0.0))


@pytest.fixture
def written(tmp_path):
    (tmp_path / "head.yaml").write_text(WRITTEN)
    return tmp_path / "head.yaml"


def test_it_is_the_camera_of_the_raw_image(written):
    assert read_calibration(written) == CAMERA


def test_the_rectified_image_has_the_projection_matrix_and_no_distortion(tmp_path, written):
    people = [{"image_id": "0.jpg", "keypoints": [9.0, 5.0, 1.0] * 17, "idx": 1}]
    (tmp_path / "alphapose.json").write_text(json.dumps(people))
    source = Source(rate_hz=30, layout="coco_17", calibration=str(written), rectified=True)
    assert read(tmp_path / "alphapose.json", source).camera == Camera(640, 480, 620.0, 622.0, 321.0, 242.0)
    written.write_text(WRITTEN.replace("projection_matrix", "P"))
    with pytest.raises(ValueError, match=r"head.yaml': projection_matrix is None"):
        read(tmp_path / "alphapose.json", source)


@pytest.mark.parametrize("name", ["equidistant", "fisheye", "kannala_brandt"])  # as in camera_info
def test_a_fisheye_lens(written, name):
    text = WRITTEN.replace("plumb_bob", name).replace(", 0.0]\nrect", "]\nrect")
    written.write_text(text)
    assert read_calibration(written).lens == "equidistant"


def test_a_detectors_file_has_a_camera_by_it_and_the_images_size(tmp_path, written):
    people = [{"image_id": "0.jpg", "keypoints": [9.0, 5.0, 1.0] * 17, "idx": 1}]
    (tmp_path / "alphapose.json").write_text(json.dumps(people))
    recording = read(tmp_path / "alphapose.json", Source(rate_hz=30, layout="coco_17", calibration=str(written)))
    assert (recording.camera, recording.size_px) == (CAMERA, (640, 480))
    with pytest.raises(ValueError, match=r"is for images of \(640, 480\) pixels, and .* has \(1280, 720\)"):
        read(
            tmp_path / "alphapose.json",
            Source(rate_hz=30, size_px=(1280, 720), layout="coco_17", calibration=str(written)),
        )


@pytest.mark.parametrize(
    ("was", "now", "message"),
    [
        ("image_width: 640", "image_width: wide", "head.yaml': image_width is 'wide'; give the image's in pixels"),
        ("image_height: 480\n", "", "image_height is None"),
        ("camera_matrix:", "K:", r"camera_matrix is None; give its numbers as data: \[...\]"),
        ("322.1", "x", "camera_matrix is .*give its numbers"),
        ("322.1,", "", "camera_matrix holds .*; give 9 numbers"),
        ("-0.23", ".nan", "distortion_coefficients holds .*; give finite numbers"),
        ("615.5", "0.0", "focal length fx=0.0"),
        ("plumb_bob", "plum", "distortion model 'plum' is unknown"),
        ("rows: 3", "rows: [", "cannot be read"),
    ],
)
def test_each_fault_is_named(written, was, now, message):
    written.write_text(WRITTEN.replace(was, now, 1))
    with pytest.raises(ValueError, match=message):
        read_calibration(written)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"none.yaml' cannot be read"):
        read_calibration(tmp_path / "none.yaml")
