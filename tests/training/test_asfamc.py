"""ASF/AMC files: forward kinematics of a hand-written skeleton, checked by hand, and what is wrong with broken ones."""

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from training.datasets.clips import DataError
from training.motion.asfamc import read_amc

ASF = """# a comment
:version 1.10
:name toy
:units
  mass 1.0
  length 0.45
  angle deg
:documentation
   begin and end mean nothing here
:root
   order TX TY TZ RX RY RZ
   axis XYZ
   position 0 0 0
   orientation 0 0 0
:bonedata
  begin
     id 1
     name upper
     direction 0 1 0
     length 2
     axis 0 0 90 XYZ
     dof rx
     limits (-90 90)
  end
  begin
     id 2
     name lower
     direction 1 0 0
     length 1
     axis 0 0 0 XYZ
  end
  begin
     id 3
     name tail
     direction 0 1 0
     length 1
     axis 0 0 0 XYZ
     dof rx rz
     limits (-180 180)
            (-180 180)
  end
:hierarchy
  begin
    root upper tail
    upper lower
  end
"""
AMC = """#!OML:ASF
:FULLY-SPECIFIED
:DEGREES
1
root 1 2 3 0 0 0
upper 0
tail 0 0
2
root 1 2 3 0 0 0
upper 90
tail 90 90
3
root 0 0 0 0 0 90
upper 0
tail 0 0
"""


def read(folder, asf=ASF, amc=AMC):
    (folder / "01.asf").write_text(asf)
    (folder / "01_01.amc").write_text(amc)
    return read_amc(folder / "01_01.amc", folder / "01.asf")


def test_forward_kinematics_by_hand(tmp_path):
    motion = read(tmp_path)
    assert motion.names == ("root", "upper", "tail", "lower")
    at_rest, turned, rolled = motion.points
    np.testing.assert_allclose(at_rest, [[1, 2, 3], [1, 4, 3], [1, 3, 3], [2, 4, 3]], atol=1e-12)
    # upper's own x axis lies along the world's y: its turn leaves it in place and takes lower's x to -z.
    # tail turns about x, then about z: its y goes to z and stays there.
    np.testing.assert_allclose(turned, [[1, 2, 3], [1, 4, 3], [1, 2, 4], [1, 4, 2]], atol=1e-12)
    # The whole body by 90 degrees about z: y goes to -x, x to y.
    np.testing.assert_allclose(rolled, [[0, 0, 0], [-2, 0, 0], [-1, 0, 0], [-2, 1, 0]], atol=1e-12)


def test_the_skeleton_says_its_unit(tmp_path):
    assert read(tmp_path).unit_m == pytest.approx(0.0254 / 0.45)


@pytest.mark.parametrize(
    ("asf", "amc", "message"),
    [
        (
            ASF,
            AMC[: AMC.index("upper 0\ntail 0 0\n2")],
            r"01_01\.amc: broken or truncated: bone 'upper'.* 0 times in 1",
        ),
        (ASF, AMC[:-3], r"01_01\.amc, line 15: 1 values for 'tail', which has 2"),
        (ASF, AMC.replace("upper 90", "thigh 90"), r"01_01\.amc, line 10: bone 'thigh' is not in the skeleton"),
        (ASF, AMC.replace("upper 90", "upper ninety"), r"01_01\.amc, line 10: could not convert"),
        (ASF, AMC.replace("upper 90", "upper nan"), "not finite"),
        (ASF, ":DEGREES\n", "no frames"),
        (ASF[: ASF.index(":hierarchy")], AMC, r"01\.asf: not a whole ASF skeleton.*hierarchy"),
        (ASF.replace("upper lower", ""), AMC, "hierarchy leaves out lower"),
        (ASF.replace("upper lower", "upper lowre"), AMC, "lowre"),
        (ASF.replace("dof rx rz", "dof rx l"), AMC, "'tail' has the degree of freedom 'l'"),
        (ASF.replace("length 2", "length two"), AMC, r"01\.asf: broken or truncated skeleton"),
        (ASF.replace("   axis XYZ", "   axis XX"), AMC, r"01\.asf: .*bone 'root' turns about the axes 'XX'; give X, Y"),
        (ASF.replace("order TX TY TZ RX RY RZ", "order"), AMC, "the root has no order"),
        (ASF.replace("RX RY RZ", "RX RY RW"), AMC, "'root' has the degree of freedom 'rw'"),
        (ASF.replace("direction 1 0 0", "direction 1 0"), AMC, "'1 0' is not three finite numbers"),
        (ASF.replace("position 0 0 0", "position 0 nan 0"), AMC, "'0 nan 0' is not three finite numbers"),
        (ASF.replace("upper lower", "upper lower tail"), AMC, "bone 'tail' has two parents"),
    ],
)
def test_each_fault_is_named_with_the_file(tmp_path, asf, amc, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, asf, amc)


def test_angles_may_be_in_radians(tmp_path):
    degrees = read(tmp_path)
    quarter = f"{math.pi / 2}"
    asf = ASF.replace("angle deg", "angle rad").replace("0 0 90", f"0 0 {quarter}")
    radians = read(tmp_path, asf, AMC.replace("90", quarter))
    np.testing.assert_allclose(radians.points, degrees.points, atol=1e-9)


def test_axes_turn_in_the_files_order(tmp_path):
    frame_2 = read(tmp_path, ASF.replace("axis 0 0 90 XYZ", "axis 30 40 50 ZYX")).points[1]
    axis = Rotation.from_euler("zyx", [30, 40, 50], degrees=True)
    turn = axis * Rotation.from_euler("x", 90, degrees=True) * axis.inv()
    np.testing.assert_allclose(frame_2[1] - frame_2[0], turn.apply([0, 2, 0]), atol=1e-9)


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    marked = read(tmp_path, "\ufeff" + ASF.removeprefix("# a comment\n"), "\ufeff" + AMC)
    np.testing.assert_array_equal(marked.points, read(tmp_path).points)
