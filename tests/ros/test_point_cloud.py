import array
import copy

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, PointCloud2, PointField
from std_msgs.msg import Header

from pstmo_ros.adapters import KeypointsError
from pstmo_ros.adapters.camera_info import camera_from
from pstmo_ros.adapters.point_cloud import from_point_cloud
from pstmo_ros.core import layouts
from pstmo_ros.core.camera import Camera
from pstmo_ros.ros import messages

COCO = layouts.get("coco_17")
SIZE = (640, 480)


def cloud(people=2, ids=None):
    frame = np.random.default_rng(0).uniform(1, 400, (people, 17, 3)).astype(np.float32)
    frame[..., 2] = 0.8
    return frame, copy.deepcopy(messages.keypoints(Header(), frame, ids))  # one that a test may spoil


def by_hand(frame, formats, order="<", point_pad=0, row_pad=0, **extra):
    """A cloud as another driver might lay it out: other types, byte order, padding between points and rows."""
    names = ("x", "y", "score", *extra)
    dtype = np.dtype([(n, order + formats[n]) for n in names] + [("pad", f"V{point_pad}")] * bool(point_pad))
    points = np.zeros(frame.shape[:2], dtype)
    for k, name in enumerate(("x", "y", "score")):
        points[name] = frame[..., k]
    for name, value in extra.items():
        points[name] = np.asarray(value)[:, None]
    kinds = {"f4": PointField.FLOAT32, "f8": PointField.FLOAT64, "i4": PointField.INT32, "u2": PointField.UINT16}
    message = PointCloud2(height=len(frame), width=frame.shape[1], is_bigendian=order == ">")
    message.fields = [PointField(name=n, offset=dtype.fields[n][1], datatype=kinds[formats[n]], count=1) for n in names]
    message.point_step = dtype.itemsize
    message.row_step = message.point_step * message.width + row_pad
    message.data = array.array("B", b"".join(row.tobytes() + b"\xff" * row_pad for row in points))
    return message


def test_people_come_out_as_they_were_sent():
    frame, message = cloud(ids=np.array([7, 3]))
    got = from_point_cloud(message, COCO, SIZE)
    np.testing.assert_array_equal(got.keypoints_px, frame[..., :2])
    np.testing.assert_array_equal(got.scores, frame[..., 2])
    assert got.person_ids == (7, 3)
    assert (got.layout, got.size_px) == ("coco_17", SIZE)


@pytest.mark.parametrize("order", ["<", ">"])
def test_types_padding_and_byte_order_of_other_drivers(order):
    frame, _ = cloud()
    formats = {"x": "f8", "y": "f4", "score": "f8", "person_id": "u2"}
    message = by_hand(frame, formats, order, point_pad=5, row_pad=11, person_id=[4, 9])
    got = from_point_cloud(message, COCO, SIZE)
    np.testing.assert_allclose(got.keypoints_px, frame[..., :2], rtol=1e-6)
    assert got.person_ids == (4, 9)


def test_unseen_joints_and_absent_people():
    frame, _ = cloud(people=3)
    frame[0, 5] = np.nan
    frame[0, 6, 2] = np.nan
    frame[0, 7, 2] = 0
    frame[0, 8, 0] = np.inf
    frame[1] = np.nan
    got = from_point_cloud(messages.keypoints(Header(), frame, np.array([1, 1, 2])), COCO, SIZE)
    assert got.person_ids == (1, 2), "the all-NaN person is nobody, whatever id it carries"
    assert (got.scores[0, 5:9] == 0).all()
    assert np.isnan(got.keypoints_px[0, 5:9]).all()


def test_a_negative_id_means_that_the_detector_has_none():
    _, message = cloud(ids=np.array([-1, -1]))
    assert from_point_cloud(message, COCO, SIZE).person_ids is None


def test_nobody_is_fine():
    empty = messages.keypoints(Header(), np.zeros((0, 17, 3), np.float32), None)
    assert len(from_point_cloud(empty, COCO, SIZE).scores) == 0
    empty.width = 0
    assert len(from_point_cloud(empty, COCO, SIZE).scores) == 0


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda m: setattr(m, "width", 18), r"width is 18.*'coco_17' with 17.*openpose_18 or hri_18"),
        (lambda m: setattr(m, "width", 5), r"width is 5.*one point per joint"),
        (lambda m: m.fields.pop(2), r"lack the field 'score'.*they have x, y, person_id"),
        (lambda m: setattr(m, "fields", []), r"lack the field 'x', 'y', 'score'.*none"),
        (lambda m: setattr(m, "data", m.data[:-1]), r"data has 543 bytes.*need 544"),
        (lambda m: setattr(m, "row_step", 10), r"row_step is 10"),
        (lambda m: setattr(m, "point_step", 8), r"'score' ends at byte 12 of a point_step of 8"),
        (lambda m: setattr(m.fields[0], "datatype", 99), r"'x' has unknown datatype 99"),
        (lambda m: setattr(m.fields[1], "offset", 4000), r"'y' ends at byte 4004"),
    ],
)
def test_each_fault_is_named(spoil, message):
    _, keypoints = cloud(ids=np.array([1, 2]))
    spoil(keypoints)
    with pytest.raises(KeypointsError, match=message):
        from_point_cloud(keypoints, COCO, SIZE)


def test_a_repeated_id_is_named():
    _, message = cloud(ids=np.array([4, 4]))
    with pytest.raises(KeypointsError, match=r"person_id repeats: \[4, 4\]"):
        from_point_cloud(message, COCO, SIZE)


def test_camera_survives_the_message(camera):
    assert camera_from(messages.camera_info(Header(), camera)) == camera


def test_an_uncalibrated_camera_is_none():
    assert camera_from(CameraInfo(width=640, height=480)) is None


def test_rational_polynomial_is_taken_where_it_is_plumb_bob():
    info = messages.camera_info(Header(), Camera.from_field_of_view(SIZE, 60))
    info.distortion_model, info.d = "rational_polynomial", [0.1, 0.02, 0.0, 0.0, 0.001, 0.0, 0.0, 0.0]
    assert camera_from(info).distortion == (0.1, 0.02, 0.0, 0.0, 0.001)
    info.d = [0.1, 0.02, 0.0, 0.0, 0.001, 0.3, 0.0, 0.0]
    assert camera_from(info).lens == "rational_polynomial"


def test_an_undistorted_image_needs_no_lens_model():
    info = messages.camera_info(Header(), Camera.from_field_of_view(SIZE, 60))
    info.distortion_model, info.d = "", []
    assert not camera_from(info).distorted
