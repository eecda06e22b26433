import numpy as np
import pytest

from pstmo_ros.core import skeleton


def test_order_is_human36m():
    """The published joint order, which every data set and checkpoint relies on."""
    assert skeleton.PARENTS == (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15)
    assert skeleton.LEFT == (4, 5, 6, 11, 12, 13)
    assert skeleton.RIGHT == (1, 2, 3, 14, 15, 16)


def test_mirror_twice_is_identity_and_swaps_sides():
    points = np.random.default_rng(0).normal(size=(5, 17, 3))
    mirrored = skeleton.mirror(points)
    np.testing.assert_allclose(
        mirrored[:, skeleton.index("left_wrist"), 0], -points[:, skeleton.index("right_wrist"), 0]
    )
    np.testing.assert_array_equal(skeleton.mirror(mirrored), points)


def test_unknown_joint_lists_the_known_ones():
    with pytest.raises(KeyError, match="left_wrist"):
        skeleton.index("left_hand")
