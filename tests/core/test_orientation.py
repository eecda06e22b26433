"""Orientations and angles of bodies that are built from known ones."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pstmo_ros.core import skeleton
from pstmo_ros.core.orientation import ANGLES, joint_angles, orientations, quaternions


def standing(**angles):
    """(1, 17, 3) metres, x forward, y left, z up: the URDF's forward kinematics for the angles given."""
    at = {"pelvis": np.zeros(3)}
    lean = Rotation.from_rotvec([0, angles.get("waist", 0), 0])
    at["spine"] = np.array([0, 0, 0.25])
    at["thorax"] = at["spine"] + lean.apply([0, 0, 0.25])
    nod = (
        lean
        * Rotation.from_rotvec([angles.get("r_head", 0), 0, 0])
        * Rotation.from_rotvec([0, -angles.get("p_head", 0), 0])
    )
    at["neck_nose"] = at["thorax"] + lean.apply([0.05, 0, 0.15])
    at["head_top"] = at["neck_nose"] + nod.apply([0, 0, 0.2])
    for side, out in (("left", 1), ("right", -1)):

        def angle(name, s=side):
            return angles.get(f"{s[0]}_{name}", 0)

        arm = lean
        for turn in ([0, 0, -out * angle("y_shoulder")], [out * angle("p_shoulder"), 0, 0],
                     [0, 0, out * angle("r_shoulder")]):  # fmt: skip
            arm = arm * Rotation.from_rotvec(turn)
        at[f"{side}_shoulder"] = at["thorax"] + lean.apply([0, out * 0.18, 0])
        at[f"{side}_elbow"] = at[f"{side}_shoulder"] + arm.apply([0, 0, -0.3])
        forearm = arm * Rotation.from_rotvec([0, -angle("elbow"), 0])
        at[f"{side}_wrist"] = at[f"{side}_elbow"] + forearm.apply([0, 0, -0.25])
        leg = Rotation.from_rotvec([0, 0, -angle("y_hip")])
        leg = leg * Rotation.from_rotvec([out * angle("p_hip"), 0, 0]) * Rotation.from_rotvec([0, -angle("r_hip"), 0])
        at[f"{side}_hip"] = np.array([0, out * 0.1, 0])
        at[f"{side}_knee"] = at[f"{side}_hip"] + leg.apply([0, 0, -0.45])
        shank = leg * Rotation.from_rotvec([0, -angle("knee"), 0])
        at[f"{side}_ankle"] = at[f"{side}_knee"] + shank.apply([0, 0, -0.42])
    return np.stack([at[name] for name in skeleton.JOINTS])[None]


def test_standing_everything_is_parallel_to_the_body():
    frames = orientations(standing())
    np.testing.assert_allclose(frames, np.broadcast_to(np.eye(3), frames.shape), atol=1e-9)
    np.testing.assert_allclose(np.abs(quaternions(frames)), np.broadcast_to([0, 0, 0, 1], (1, 17, 4)), atol=1e-9)


def test_an_arm_held_out_is_the_hanging_one_turned_about_x():
    frames = orientations(standing(l_p_shoulder=np.pi / 2, r_p_shoulder=np.pi / 2))[0]
    for side, out in (("left", 1), ("right", -1)):
        level = Rotation.from_rotvec([out * np.pi / 2, 0, 0]).as_matrix()
        for joint in ("shoulder", "elbow", "wrist"):
            np.testing.assert_allclose(frames[skeleton.index(f"{side}_{joint}")], level, atol=1e-9)


@pytest.mark.parametrize("side", ["l", "r"])
def test_an_arm_that_waves_about_straight_out_does_not_spin(side):
    """Whoever stands with arms spread moves them a little: so do the arms' frames."""
    frames = [
        orientations(standing(**{f"{side}_p_shoulder": np.pi / 2 + up, f"{side}_y_shoulder": forward}))[0]
        for up in (-0.1, 0.0, 0.1)
        for forward in (-0.1, 0.0, 0.1)
    ]
    arm = skeleton.index("left_shoulder" if side == "l" else "right_shoulder")
    turns = [Rotation.from_matrix(a[arm].T @ b[arm]).magnitude() for a in frames for b in frames]
    assert max(turns) < 0.35


def test_turning_the_person_turns_every_frame():
    turn = Rotation.from_euler("xyz", [0.4, -1.1, 2.0])
    pose = standing(l_p_shoulder=1.2, l_elbow=0.7, r_r_hip=0.5, r_knee=-0.9, waist=0.3)
    turned = turn.apply(pose[0])[None]
    np.testing.assert_allclose(orientations(turned), turn.as_matrix() @ orientations(pose), atol=1e-9)
    np.testing.assert_allclose(
        joint_angles(turned, orientations(turned)), joint_angles(pose, orientations(pose)), atol=1e-9
    )


def test_limb_frames_point_along_their_bones():
    pose = standing(l_p_shoulder=1.2, l_elbow=0.7, r_r_hip=0.5, r_knee=-0.9)
    frames = orientations(pose)
    for joint, end in (("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist"), ("right_knee", "right_ankle")):
        bone = pose[0, skeleton.index(joint)] - pose[0, skeleton.index(end)]
        np.testing.assert_allclose(frames[0, skeleton.index(joint), :, 2], bone / np.linalg.norm(bone), atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(frames), 1, atol=1e-9)


def test_an_arm_that_goes_overhead_turns_smoothly():
    frames = np.concatenate([orientations(standing(l_p_shoulder=a)) for a in np.linspace(2.9, 3.4, 30)])
    steps = np.abs(np.diff(frames, axis=0)).max()
    assert steps < 0.05


@pytest.mark.parametrize(
    "angles",
    [
        {"waist": 0.4},
        {"p_head": -0.3, "r_head": 0.2},
        {"l_elbow": 1.2, "r_elbow": 0.4},
        {"l_y_shoulder": 0.5, "l_p_shoulder": 0.8, "l_r_shoulder": -0.6, "l_elbow": 0.9},
        {"r_y_shoulder": 0.5, "r_p_shoulder": 0.8, "r_r_shoulder": -0.6, "r_elbow": 0.9, "waist": 0.2},
        {"l_p_hip": 0.3, "l_r_hip": 0.6, "l_knee": -1.1},
        {"r_p_hip": 0.2, "r_r_hip": -0.3, "r_knee": -0.2},
        {"l_y_hip": 0.4, "l_p_hip": 0.3, "l_r_hip": 1.2, "l_knee": -1.4},
        {"r_y_hip": -0.5, "r_r_hip": 0.7, "r_knee": -0.9, "l_p_hip": 0.4},
    ],
)
def test_the_angles_of_the_human_model_are_found_again(angles):
    pose = standing(**angles)
    got = dict(zip(ANGLES, joint_angles(pose, orientations(pose))[0], strict=True))
    expected = {name: angles.get(name, 0) for name in ANGLES}
    assert got == pytest.approx(expected, abs=1e-6)


def test_a_body_without_extent_still_has_orientations():
    assert np.isfinite(quaternions(orientations(np.zeros((2, 17, 3))))).all()
    assert quaternions(orientations(np.zeros((0, 17, 3)))).shape == (0, 17, 4)


@pytest.mark.parametrize("forward", [-0.03, 0.0, 0.03])
def test_a_straight_leg_that_trembles_does_not_twist(forward):
    """A knee that seems to bend the wrong way by two degrees, or not at all, has no hinge of its own."""
    pose = standing(l_r_hip=0.3)
    pose[0, skeleton.index("left_ankle")] += 0.42 * np.array([forward, 0.02, 0])
    angles = dict(zip(ANGLES, joint_angles(pose, orientations(pose))[0], strict=True))
    assert abs(angles["l_y_hip"]) < 0.3
    assert angles["l_r_hip"] == pytest.approx(0.3, abs=0.02)


def test_bodies_that_are_folded_flat_have_frames_all_the_same():
    rng = np.random.default_rng(0)
    for axis in np.eye(3):
        frames = orientations(rng.normal(size=(20, 17, 1)) * axis)
        np.testing.assert_allclose(
            frames @ frames.swapaxes(-1, -2), np.broadcast_to(np.eye(3), frames.shape), atol=1e-6
        )
        np.testing.assert_allclose(np.linalg.det(frames), 1, atol=1e-6)
