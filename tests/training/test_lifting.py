"""The evaluation lifts as the robot does, and its batches of windows agree with that frame by frame."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from pstmo_ros.core import skeleton
from pstmo_ros.engines import load_engine
from pstmo_ros.recording import save_recording
from tests.conftest import RATE_HZ, record, walker
from training.lifting import WindowOptions, flip_averaged, lift_clips, lift_recording, recording_clip, with_noise


@pytest.fixture(scope="module")
def engine(bundle):
    return load_engine(bundle, "torch")


@pytest.fixture
def recording(camera):
    return record([walker(1.0)], camera)


def _clip(recording):
    return recording_clip(recording, "s1", "walk", "view 0", RATE_HZ)


def test_evaluation_and_the_command_line_give_the_same_poses(bundle, engine, recording, tmp_path):
    recording.keypoints[20:25, 0, 3] = np.nan
    save_recording(tmp_path / "in.npz", recording)
    command = [sys.executable, "-m", "pstmo_ros.lift", tmp_path / "in.npz", tmp_path / "out.npz", "--no-smoothing"]
    options = ["--model", bundle.path, "--engine", "torch", "--look-ahead", "0.1"]
    subprocess.run([*command, *options], check=True, capture_output=True)
    result = lift_recording(recording, "s1", "walk", "view 0", bundle, engine, 0.1, smooth=False)
    with np.load(tmp_path / "out.npz") as lifted:
        np.testing.assert_allclose(result.predicted_m, lifted["poses_root_m"][:, 0], atol=1e-4)
        placed = lifted["poses_m"][:, 0, skeleton.ROOT]
    truth = recording.truth_m[:, 0, skeleton.ROOT]
    np.testing.assert_allclose(result.root_error_m, np.linalg.norm(placed - truth, axis=1), atol=1e-4)
    np.testing.assert_allclose(result.distance_m, np.linalg.norm(truth, axis=1), atol=1e-5)


@pytest.mark.parametrize("look_ahead_frames", [0, 6])
def test_batches_of_windows_agree_with_the_pipeline_frame_by_frame(bundle, engine, recording, look_ahead_frames):
    def rooted(windows):  # a trained model's pelvis is at 0; then it does not matter how it is taken off
        poses = engine(windows)
        return poses - poses[:, skeleton.ROOT, None]

    look_ahead_s = look_ahead_frames / RATE_HZ
    streamed = lift_recording(recording, "s1", "walk", "view 0", bundle, rooted, look_ahead_s, smooth=False)
    options = WindowOptions(look_ahead_frames=look_ahead_frames, batch=16)
    batched = lift_clips([_clip(recording)], bundle, rooted, options)[0]
    np.testing.assert_allclose(batched.predicted_m, streamed.predicted_m, atol=1e-4)
    np.testing.assert_allclose(batched.target_m, streamed.target_m, atol=1e-6)


def test_the_pelvis_is_scored_at_zero_as_the_authors_do(bundle, engine, recording):
    (result,) = lift_clips([_clip(recording)], bundle, engine)
    assert (result.predicted_m[:, skeleton.ROOT] == 0).all()
    assert (result.predicted_m[:, skeleton.index("left_wrist")] != 0).all()


def test_several_clips_stay_apart(bundle, engine, camera):
    clips = [_clip(record([walker(s, phase=s)], camera)) for s in (0.3, 0.5)]
    together = lift_clips(clips, bundle, engine, WindowOptions(batch=7))
    for clip, result in zip(clips, together, strict=True):
        (alone,) = lift_clips([clip], bundle, engine)
        torch.testing.assert_close(result.predicted_m, alone.predicted_m, atol=1e-5, rtol=0)


def test_test_time_flip_averages_with_the_mirrored_inputs_pose():
    """A made-up engine that gives each input joint back as the pose: mirrored twice, it is where it was."""

    def echo(windows):
        return np.concatenate([windows[:, 0], np.ones_like(windows[:, 0, :, :1])], -1)

    def biased(windows):
        return echo(windows) + np.float32([0.25, 0.5, 0])

    windows = np.random.default_rng(0).normal(size=(3, 27, skeleton.J, 2)).astype(np.float32)
    np.testing.assert_allclose(flip_averaged(echo)(windows), echo(windows), atol=1e-6)
    np.testing.assert_allclose(
        flip_averaged(biased)(windows) - echo(windows), np.broadcast_to([0, 0.5, 0], (3, 17, 3)), atol=1e-6
    )


def test_noise_is_gaussian_in_screen_units_and_seeded(recording):
    clip = _clip(recording)
    (noisy,), (again,), (other,) = (list(with_noise([clip], 0.03, seed)) for seed in (1, 1, 2))
    moved = noisy.model_input("screen") - clip.model_input("screen")
    assert moved.std().item() == pytest.approx(0.03, rel=0.05)
    assert moved.mean().item() == pytest.approx(0, abs=0.003)
    np.testing.assert_array_equal(noisy.keypoints_px, again.keypoints_px)
    assert (noisy.keypoints_px != other.keypoints_px).any()


def test_shuffling_changes_the_order_of_a_windows_frames_and_nothing_else(bundle, recording):
    seen = []

    def spy(windows):
        seen.append(windows.copy())
        return np.zeros((len(windows), skeleton.J, 3), np.float32)

    for seed in (None, 5):
        lift_clips([_clip(recording)], bundle, spy, WindowOptions(shuffle_seed=seed))
    plain, shuffled = seen
    assert (plain != shuffled).any(axis=(1, 2, 3)).mean() > 0.9
    np.testing.assert_array_equal(np.sort(plain[..., 3, 0], axis=1), np.sort(shuffled[..., 3, 0], axis=1))


def test_what_the_pipeline_would_not_trust_is_missing_in_the_clip(recording):
    recording.keypoints[4, 0, 2] = (300, 200, 0.05)
    recording.keypoints[5, 0, 2] = (300, 200, 0.2)
    points = _clip(recording).keypoints_px
    assert np.isnan(points[4, 2]).all()
    assert (points[5, 2] == (300, 200)).all()


def test_a_person_never_seen_has_no_poses(bundle, engine, recording):
    recording.keypoints[..., 2] = 0
    result = lift_recording(recording, "s1", "walk", "view 0", bundle, engine, 0.0, smooth=False)
    assert result.predicted_m.isnan().all()
    assert result.root_error_m.isnan().all()
