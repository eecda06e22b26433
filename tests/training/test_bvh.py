"""BVH files: forward kinematics of small hand-written ones, checked by hand, and what is wrong with broken ones."""

import re

import numpy as np
import pytest

from training.datasets.clips import DataError
from training.motion.bvh import read_bvh

ARM = """HIERARCHY
ROOT rig:Hips
{
  OFFSET 0 90 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT rig:Arm
  {
    OFFSET 1 0 0
    CHANNELS 3 FIRSTrotation SECONDrotation Yrotation
    End Site
    {
      OFFSET 0 1 0
    }
  }
  JOINT Leg
  {
    OFFSET 0 -2 0
    CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
    End Site
    {
      OFFSET 0 -1 0
    }
  }
}
MOTION
Frames: 2
Frame Time: 0.01
1 2 3 0 0 0   0 0 0   0 -2 0 0 0 0
1 2 3 90 0 0  90 90 0  0 -3 0 0 0 0
"""


def write(folder, text):
    path = folder / "a.bvh"
    path.write_text(text)
    return path


def arm(first="Z", second="X"):
    return ARM.replace("FIRST", first).replace("SECOND", second)


def test_names_lose_their_namespace_and_end_sites_are_named_after_their_joint(tmp_path):
    motion = read_bvh(write(tmp_path, arm()))
    assert motion.names == ("Hips", "Arm", "Arm_end", "Leg", "Leg_end")
    assert motion.rate_hz == pytest.approx(100)
    assert motion.unit_m is None


def test_forward_kinematics_by_hand(tmp_path):
    at_rest, turned = read_bvh(write(tmp_path, arm())).points
    np.testing.assert_allclose(at_rest, [[1, 2, 3], [2, 2, 3], [2, 3, 3], [1, 0, 3], [1, -1, 3]], atol=1e-12)
    # The root turns 90 degrees about z: the arm's x offset points along y, the leg's -y (3 long here) along x.
    # The arm's own turns carry its y to z (about x), and z stays under both turns about z.
    np.testing.assert_allclose(turned, [[1, 2, 3], [1, 3, 3], [1, 3, 4], [4, 2, 3], [5, 2, 3]], atol=1e-12)


def test_channels_turn_in_the_order_of_the_file(tmp_path):
    # X then Z: the end's y goes to -x (about z, innermost), stays there (about x), and to -y by the root's turn.
    points = read_bvh(write(tmp_path, arm("X", "Z"))).points[1]
    np.testing.assert_allclose(points[2] - points[1], [0, -1, 0], atol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t[: t.index("90 90 0  0")], "21 motion values for 2 frames of 15 channels"),
        (lambda t: t[: t.index("JOINT Leg")], "not a BVH file: it must have"),
        (lambda t: t.replace("Frames: 2", "Frames: 3"), "30 motion values for 3 frames"),
        (lambda t: t.replace("1 2 3 90", "1 2 x 90"), "could not convert string to float: 'x'"),
        (lambda t: t.replace("1 2 3 90", "1 2 nan 90"), "not finite"),
        (lambda t: t.replace("}\nMOTION", "MOTION"), "braces do not close"),
        (lambda t: t.replace("Yrotation\n    End", "Wrotation\n    End"), "'Wrotation' of joint 'Arm' is unknown"),
        (lambda t: t.replace("Frame Time: 0.01", "Frame Time: 0"), "frame time of 0"),
        (lambda t: t.replace("Frame Time: 0.01", ""), "MOTION must begin with"),
        (lambda t: t.replace("3 Zrotation X", "3 Zrotation Z"), "joint 'Arm' turns about ZZY"),
        (lambda t: t.replace("3 Zrotation X", "4 Yrotation Zrotation X"), "joint 'Arm' turns about YZXY"),
        (lambda t: t.replace("CHANNELS 3", "CHANNELS 300"), "it ends within the hierarchy"),
        (lambda t: t.replace("OFFSET 1 0 0", "OFFSET nan 0 0"), "OFFSET of .* is not finite"),
        (lambda t: re.sub(r"CHANNELS.*", "CHANNELS 0", t[: t.index("1 2 3 0")]), "0 motion values for 2 frames"),
        (lambda t: "Kaydara FBX", "not a BVH file"),
        (lambda t: "", "not a BVH file"),
    ],
)
def test_each_fault_is_named_with_the_file(tmp_path, change, message):
    with pytest.raises(DataError, match=rf"a\.bvh: .*{message}"):
        read_bvh(write(tmp_path, change(arm())))


@pytest.mark.parametrize(
    "change",
    [
        lambda t: "\ufeff" + t,
        lambda t: t.replace("Frame Time", "\nFrame Time"),
        lambda t: t.replace("Frames:", "Frames :").replace("Frame Time:", "Frame Time :"),
        lambda t: t.replace("rotation", "Rotation").replace("Xposition", "xposition"),
    ],
    ids=["byte order mark", "blank line", "space before colon", "case of channels"],
)
def test_what_other_exporters_write_differently_is_read_alike(tmp_path, change):
    np.testing.assert_array_equal(
        read_bvh(write(tmp_path, change(arm()))).points, read_bvh(write(tmp_path, arm())).points
    )
