"""The virtual camera and detector give recordings that are what they say they are."""

import dataclasses

import numpy as np
import pytest
import torch

from pstmo_ros.core import layouts, skeleton
from pstmo_ros.core.camera import Camera
from training.detector import DetectorConfig
from training.mocap import CMU, load_mocap
from training.synthesis import CAMERAS, NO_NOISE, place_camera, record_clip, synthesize

CAMERA = Camera.from_field_of_view((640, 480), 60)
# A camera 5 m before the origin, 1 m high, looking along world y: x right, y down, z away.
LEVEL = (torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]), torch.tensor([0.0, 1.0, 5.0]))


def standing(frames: int, x: float = 0.0) -> torch.Tensor:
    """A person standing at (x, 0) with a straight spine and arms down."""
    height = {
        "pelvis": 0.9,
        "hip": 0.9,
        "knee": 0.5,
        "ankle": 0.1,
        "spine": 1.1,
        "thorax": 1.4,
        "neck_nose": 1.5,
        "head_top": 1.7,
        "shoulder": 1.4,
        "elbow": 1.1,
        "wrist": 0.9,
    }
    side = {"left": -0.15, "right": 0.15}
    x_of = [x + side.get(name.split("_")[0], 0.0) for name in skeleton.JOINTS]
    z_of = [height[name if name in height else name.split("_")[-1]] for name in skeleton.JOINTS]
    return torch.tensor([(x, 0.0, z) for x, z in zip(x_of, z_of, strict=True)]).expand(frames, -1, -1).clone()


def test_without_noise_keypoints_are_the_projection_of_the_truth():
    recording = synthesize([standing(20)], CAMERA, LEVEL, layout="h36m_17", detector=NO_NOISE)
    assert recording.truth_m is not None
    assert recording.truth_m.shape == (20, 1, 17, 3)
    assert recording.truth_m[0, 0, skeleton.ROOT] == pytest.approx([0, 0.1, 5], abs=1e-6)
    np.testing.assert_allclose(recording.keypoints[..., :2], CAMERA.project(recording.truth_m), atol=1e-2)
    assert recording.stamps_ns[1] == 20_000_000


def test_scores_fall_with_the_noise_truly_added():
    config = dataclasses.replace(DetectorConfig(), missing_rate=0, legs_missing_rate=0, outlier_rate=0.1)
    recording = synthesize([standing(200)], CAMERA, LEVEL, layout="h36m_17", detector=config, seed=1)
    error = np.linalg.norm(recording.keypoints[..., :2] - CAMERA.project(recording.truth_m), axis=-1)
    assert np.corrcoef(error.ravel(), recording.keypoints[..., 2].ravel())[0, 1] < -0.5


def test_two_people_of_different_length_keep_their_ids_and_places():
    apart = [(-0.5, 0.0), (0.5, 0.0)]
    recording = synthesize([standing(30), standing(20)], CAMERA, LEVEL, detector=NO_NOISE, placements=apart)
    assert recording.keypoints.shape == (30, 2, 17, 3)
    frames = list(recording.frames())
    assert frames[0].person_ids == (1, 2)
    assert [len(frames[t].person_ids) for t in (19, 20)] == [2, 1]
    assert recording.truth_m[0, :, skeleton.ROOT, 0] == pytest.approx([-0.5, 0.5])
    assert np.isnan(recording.truth_m[20:, 1]).all()


@pytest.mark.parametrize("x", [-4.0, 4.0])
def test_what_lies_outside_the_image_is_not_seen(x):
    recording = synthesize([standing(5, x=x)], CAMERA, LEVEL, detector=NO_NOISE)  # the image is 5.8 m wide at 5 m
    assert (recording.keypoints[..., 2] == 0).all()
    assert np.isnan(recording.keypoints[..., 0]).all()
    assert next(iter(recording.frames())).keypoints_px.shape[0] == 0


def test_who_is_behind_the_camera_is_not_seen():
    behind = (LEVEL[0], torch.tensor([0.0, 1.0, -5.0]))
    assert (synthesize([standing(5)], CAMERA, behind, detector=NO_NOISE).keypoints[..., 2] == 0).all()


def test_stamps_follow_the_rate_and_scores_do_not_depend_on_the_distance():
    recording = synthesize([standing(4)], CAMERA, LEVEL, rate_hz=25.0)
    assert recording.stamps_ns.tolist() == [0, 40_000_000, 80_000_000, 120_000_000]
    noisy = dataclasses.replace(NO_NOISE, jitter=0.03)
    scores = [
        synthesize([standing(200)], CAMERA, (LEVEL[0], torch.tensor([0.0, 1.0, z])), layout="h36m_17", detector=noisy)
        for z in (4.0, 12.0)
    ]
    near, far = (r.keypoints[..., 2].mean() for r in scores)
    assert near == pytest.approx(far, abs=0.01)


def test_drift_lasts_for_some_frames():
    drifting = dataclasses.replace(NO_NOISE, drift=0.01)
    recording = synthesize([standing(400)], CAMERA, LEVEL, layout="h36m_17", detector=drifting)
    off = (recording.keypoints[..., :2] - CAMERA.project(recording.truth_m)).ravel(order="F")
    assert np.corrcoef(off[:-1], off[1:])[0, 1] == pytest.approx(1 - 0.02 / 0.33, abs=0.03)


def test_clips_and_views_of_them_have_cameras_of_their_own():
    mocap = load_mocap(CMU, "val")
    recordings = [record_clip(mocap, i, view, detector=NO_NOISE) for i, view in ((0, 0), (0, 1), (0, 4), (1, 0))]
    roots = [r.truth_m[0, 0, 1] for r in recordings]  # the right hip, in the camera
    assert len({tuple(np.round(x, 3)) for x in roots}) == 4
    assert recordings[1].size_px != recordings[0].size_px != recordings[3].size_px
    again = record_clip(mocap, 0, 1, detector=NO_NOISE)
    np.testing.assert_array_equal(again.keypoints, recordings[1].keypoints)


def test_occlusion_hides_some_keypoints_for_a_while():
    config = dataclasses.replace(NO_NOISE, missing_rate=1.0)
    recording = synthesize([standing(800)], CAMERA, LEVEL, detector=config, seed=3)
    body = layouts.get("coco_17").weights.any(0)
    hidden = (recording.keypoints[..., body, 2] == 0).mean()
    assert 0.02 < hidden < 0.5


def test_the_same_seed_gives_the_same_recording():
    one, same, other = (synthesize([standing(10)], CAMERA, LEVEL, seed=s).keypoints for s in (4, 4, 5))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other, equal_nan=True)


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize("seed", range(6))
def test_a_placed_camera_sees_the_whole_motion_from_above_the_floor(camera, seed):
    clip = standing(50) + torch.linspace(-2, 2, 50)[:, None, None] * torch.tensor([1.0, 0.5, 0])
    for side, joint in ((-1.5, "left_wrist"), (1.5, "right_wrist")):  # at one end they spread their arms
        clip[0, skeleton.index(joint)] += side * torch.tensor([0.5, -1.0, 0])
    rotation, translation = place_camera(clip, camera, seed)
    pixels = camera.project((clip @ rotation.T + translation).numpy())
    assert (pixels > 0).all()
    assert (pixels < (camera.width, camera.height)).all()
    assert 0.1 < (-rotation.T @ translation)[2] < 2.5


def test_people_are_seen_from_all_sides():
    looks = torch.stack([place_camera(standing(1), CAMERA, seed)[0][2, :2] for seed in range(60)])
    for sign in (-1, 1):
        assert ((sign * looks > 0.5).float().mean(0) > 0.1).all()


def test_a_camera_that_turns_knows_how_and_sees_the_same_motion():
    mocap = load_mocap(CMU, "val")
    clip = mocap.clip(0)
    still, turning = (record_clip(mocap, 0, turning_deg=deg, detector=NO_NOISE) for deg in (0.0, 15.0))
    for recording in (still, turning):
        placed = [f.stand.placed(m[0]) for f, m in zip(recording.frames(), recording.truth_m, strict=True)]
        np.testing.assert_allclose(placed, clip, atol=1e-4)
        seen = recording.keypoints[..., 2] > 0
        assert seen.mean() > 0.999, "nobody leaves the image"
    headings = np.unwrap(np.arctan2(turning.odom_from_camera[:, 1, 2], turning.odom_from_camera[:, 0, 2]))
    assert np.degrees(np.ptp(headings)) == pytest.approx(30, abs=1)
    np.testing.assert_allclose(still.odom_from_camera, still.odom_from_camera[:1].repeat(len(clip), 0), atol=1e-6)


def test_a_layout_the_detector_cannot_make_is_refused():
    with pytest.raises(ValueError, match="mpii_16"):
        synthesize([standing(3)], CAMERA, LEVEL, layout="mpii_16")
