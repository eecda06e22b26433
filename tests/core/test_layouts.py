import numpy as np
import pytest

from pstmo_ros.core import layouts, skeleton

SIZES = {"h36m_17": 17, "coco_17": 17, "body_25": 25, "body_25b": 25, "openpose_18": 18, "hri_18": 18, "halpe_26": 26,
         "mediapipe_33": 33, "mpii_16": 16, "zed_34": 34, "zed_38": 38, "trt_pose_18": 18, "wholebody_133": 133,
         "halpe_136": 136, "crowdpose_14": 14, "aic_14": 14}  # fmt: skip


def _detect(layout: str, body: dict[str, tuple[float, float]]) -> np.ndarray:
    """One person's keypoints (J, 2) in a layout, from named points; what the body lacks is NaN."""
    return np.array([body.get(j, (np.nan, np.nan)) for j in layouts.get(layout).joints], np.float32)


def test_every_layout_has_its_published_size():
    assert (
        {n: len(layouts.get(n).joints) for n in SIZES}
        == SIZES
        == {n: len(v.joints) for n, v in layouts.LAYOUTS.items()}
    )


@pytest.mark.parametrize(
    ("layout", "index", "joint"),
    [
        ("coco_17", 9, "left_wrist"),
        ("coco_17", 16, "right_ankle"),
        ("body_25", 4, "right_wrist"),
        ("body_25", 8, "pelvis"),
        ("body_25", 12, "left_hip"),
        ("body_25b", 18, "head_top"),
        ("body_25b", 21, "left_heel"),
        ("body_25b", 22, "right_big_toe"),
        ("openpose_18", 14, "right_eye"),
        ("hri_18", 14, "left_eye"),
        ("halpe_26", 19, "pelvis"),
        ("halpe_26", 20, "left_big_toe"),
        ("mediapipe_33", 11, "left_shoulder"),
        ("mediapipe_33", 28, "right_ankle"),
        ("mpii_16", 0, "right_ankle"),
        ("mpii_16", 13, "left_shoulder"),
        ("zed_34", 12, "right_shoulder"),
        ("zed_34", 20, "left_ankle"),
        ("zed_38", 15, "right_elbow"),
        ("zed_38", 22, "left_ankle"),
        ("trt_pose_18", 17, "neck"),
        ("wholebody_133", 22, "right_heel"),
        ("wholebody_133", 91, "left_hand_0"),
        ("wholebody_133", 112, "right_hand_0"),
        ("halpe_136", 17, "head_top"),
        ("halpe_136", 115, "right_hand_0"),
        ("crowdpose_14", 11, "right_ankle"),
        ("crowdpose_14", 12, "head_top"),
        ("aic_14", 2, "right_wrist"),
        ("aic_14", 9, "left_hip"),
    ],
)
def test_published_indices(layout, index, joint):
    assert layouts.get(layout).joints[index] == joint


@pytest.mark.parametrize("layout", SIZES)
def test_limbs_arrive_on_their_own_side(layout):
    """Each limb keypoint must land on the same limb of the model's skeleton, for every detector."""
    joints = layouts.get(layout).joints
    points = np.stack([np.arange(len(joints)), -np.arange(len(joints))], -1).astype(np.float32)
    out, scores = layouts.to_model_joints(layouts.get(layout), points, np.ones(len(joints), np.float32))
    for j in skeleton.LIMBS:
        np.testing.assert_array_equal(out[j], points[joints.index(skeleton.JOINTS[j])])
        assert scores[j] == 1


def test_coco_pelvis_and_thorax_are_midpoints():
    body = {"left_hip": (10, 100), "right_hip": (30, 104), "left_shoulder": (8, 40), "right_shoulder": (32, 44)}
    points = _detect("coco_17", body)
    out, scores = layouts.to_model_joints(layouts.get("coco_17"), points, np.ones(17, np.float32))
    np.testing.assert_allclose(out[skeleton.index("pelvis")], (20, 102))
    np.testing.assert_allclose(out[skeleton.index("thorax")], (20, 42))
    np.testing.assert_allclose(out[skeleton.index("spine")], (20, 72))
    assert np.isnan(out[skeleton.index("neck_nose")]).all()
    assert scores[skeleton.index("neck_nose")] == 0


@pytest.mark.parametrize("how", ["nan", "zero score"])
def test_one_hidden_hip_hides_the_pelvis_made_of_it(how):
    points, scores = np.ones((17, 2), np.float32), np.full(17, 0.9, np.float32)
    hip = layouts.get("coco_17").joints.index("left_hip")
    if how == "nan":
        points[hip] = np.nan
    else:
        scores[hip] = 0
    out, out_scores = layouts.to_model_joints(layouts.get("coco_17"), points, scores)
    hidden = {skeleton.JOINTS[j] for j in np.flatnonzero(out_scores == 0)}
    assert hidden == {"pelvis", "left_hip", "spine"}
    np.testing.assert_array_equal(np.isnan(out).all(-1), out_scores == 0)


def test_a_made_joint_is_as_sure_as_its_least_sure_part():
    scores = np.full(17, 0.9, np.float32)
    scores[layouts.get("coco_17").joints.index("right_hip")] = 0.2
    _, out = layouts.to_model_joints(layouts.get("coco_17"), np.ones((17, 2), np.float32), scores)
    assert out[skeleton.index("pelvis")] == pytest.approx(0.2)


def test_unknown_layout_names_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'coco_17'"):
        layouts.get("coco17")
