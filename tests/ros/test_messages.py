import array
import dataclasses

import numpy as np
import pytest
from std_msgs.msg import Header
from visualization_msgs.msg import Marker

from pstmo_ros.core import skeleton
from pstmo_ros.core.orientation import orientations, quaternions
from pstmo_ros.core.types import Pose3D
from pstmo_ros.ros import messages
from tests.conftest import walker


def pose(person_id=1, placed=True, offset=(0.0, 4.0)):
    position = walker(0.1, offset_m=offset)[0]
    root = position[skeleton.ROOT]
    scores, velocity = np.linspace(0, 1, 17, dtype=np.float32), np.full((17, 3), 0.5)
    return Pose3D(person_id, 5, position - root, position if placed else None, scores, velocity)


def test_skeletons_carry_ids_poses_and_scores():
    people = [pose(3), pose(8, offset=(1.0, 5.0))]
    message = messages.skeletons(Header(frame_id="cam"), people)
    assert (message.height, message.width, message.is_dense) == (2, 17, True)
    assert [f.name for f in message.fields] == ["x", "y", "z", "score", "person_id", "vx", "vy", "vz", "std"]
    ids, poses, scores = messages.skeletons_to_arrays(message)
    assert ids.tolist() == [3, 8]
    np.testing.assert_array_equal(poses, np.stack([p.position_m for p in people]))
    np.testing.assert_array_equal(scores[0], people[0].scores)


def test_skeletons_carry_velocity_and_how_sure_the_model_is():
    unsure = dataclasses.replace(pose(), std_m=np.linspace(0.01, 0.2, 17, dtype=np.float32))
    message = messages.skeletons(Header(), [unsure, pose(2)])
    offset = {f.name: f.offset // 4 for f in message.fields}
    values = np.frombuffer(message.data, "<f4").reshape(2, 17, -1)
    np.testing.assert_array_equal(values[..., [offset["vx"], offset["vy"], offset["vz"]]], 0.5)
    np.testing.assert_array_equal(values[0, :, offset["std"]], unsure.std_m)
    assert np.isnan(values[1, :, offset["std"]]).all()


def test_skeletons_are_read_whatever_fields_follow():
    message = messages.skeletons(Header(), [pose(3)])
    longer = b"".join(
        bytes(message.data[i : i + message.point_step]) + b"more" for i in range(0, len(message.data), 36)
    )
    message.point_step, message.data = message.point_step + 4, array.array("B", longer)
    ids, poses, _ = messages.skeletons_to_arrays(message)
    assert ids.tolist() == [3]
    np.testing.assert_array_equal(poses[0], pose().position_m)


def test_nobody_is_an_empty_cloud():
    message = messages.skeletons(Header(), [])
    assert (message.height, message.width, len(message.data)) == (0, 17, 0)
    assert messages.skeletons_to_arrays(message)[1].shape == (0, 17, 3)


def test_poses_are_in_the_order_of_skeletons_and_valid_quaternions():
    people = [pose(3), pose(8, offset=(1.0, 5.0))]
    frames = orientations(messages.positions_m(people))
    message = messages.pose_array(Header(), people, frames)
    got = np.array([[p.position.x, p.position.y, p.position.z] for p in message.poses]).reshape(2, 17, 3)
    np.testing.assert_allclose(got, np.stack([p.position_m for p in people]))
    turns = np.array([[getattr(p.orientation, a) for a in "xyzw"] for p in message.poses]).reshape(2, 17, 4)
    np.testing.assert_allclose(turns, quaternions(frames))
    np.testing.assert_allclose(np.linalg.norm(turns, axis=-1), 1)


def test_markers_draw_the_skeleton():
    markers = messages.SkeletonMarkers(0.5)
    (joints, bones, text) = markers.update(Header(frame_id="cam"), [pose(4)]).markers
    expected = pose(4).position_m
    assert (joints.type, bones.type, text.type) == (Marker.SPHERE_LIST, Marker.LINE_LIST, Marker.TEXT_VIEW_FACING)
    np.testing.assert_allclose([[p.x, p.y, p.z] for p in joints.points], expected)
    ends = np.array([[p.x, p.y, p.z] for p in bones.points]).reshape(16, 2, 3)
    np.testing.assert_allclose(ends, [[expected[a], expected[b]] for a, b in skeleton.BONES])
    assert len(bones.colors) == len(bones.points)
    assert text.text == "4"
    assert text.pose.position.y < expected[skeleton.index("head_top"), 1], "the id stands above the head (y is down)"
    for m in (joints, bones, text):
        assert (m.header.frame_id, m.id, m.action, m.lifetime.nanosec) == ("cam", 4, Marker.ADD, 5 * 10**8)
        assert m.pose.orientation.w == 1.0


def test_left_and_right_differ_in_colour():
    (joints, bones, _) = messages.SkeletonMarkers(0.5).update(Header(), [pose()]).markers
    colour = {n: (c.r, c.g, c.b) for n, c in zip(skeleton.JOINTS, joints.colors, strict=True)}
    assert len({colour["left_wrist"], colour["right_wrist"], colour["pelvis"]}) == 3
    for (_, child), c in zip(skeleton.BONES, bones.colors[1::2], strict=True):
        assert (c.r, c.g, c.b) == colour[skeleton.JOINTS[child]]


def test_markers_of_those_who_leave_are_deleted_once():
    markers = messages.SkeletonMarkers(0.5)
    shown = {(m.ns, m.id) for m in markers.update(Header(), [pose(1), pose(2)]).markers}
    after = markers.update(Header(), [pose(2)]).markers
    deleted = {(m.ns, m.id) for m in after if m.action == Marker.DELETE}
    assert deleted == {(ns, i) for ns, i in shown if i == 1}
    assert not [m for m in markers.update(Header(), [pose(2)]).markers if m.action == Marker.DELETE]


@pytest.mark.parametrize("lifetime_s", [0.0, 0.25, 2.5])
def test_lifetime(lifetime_s):
    (marker, *_) = messages.SkeletonMarkers(lifetime_s).update(Header(), [pose()]).markers
    assert marker.lifetime.sec + marker.lifetime.nanosec * 1e-9 == pytest.approx(lifetime_s)


def test_a_new_lifetime_counts_for_those_who_are_there():
    markers = messages.SkeletonMarkers(0.5)
    markers.update(Header(), [pose()])
    markers.set_lifetime(0.0)
    (marker, *_) = markers.update(Header(), [pose()]).markers
    assert (marker.lifetime.sec, marker.lifetime.nanosec) == (0, 0)
