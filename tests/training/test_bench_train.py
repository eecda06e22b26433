"""The plain loop that ours is timed against is an honest one: the same model on the same windows."""

import subprocess
import sys

import torch

from pstmo_ros.core.model_config import ModelConfig
from pstmo_ros.core.window import WindowSpec
from training.bench_train import PlainModel, PlainWindows, synthetic_clips
from training.parameters import published_total
from training.recorded import RecordedWindows


def test_the_plain_model_is_the_published_one():
    config = ModelConfig(frames=27)
    # Without the two norms that the published model holds but does not apply.
    assert sum(p.numel() for p in PlainModel(config).parameters()) == published_total(config) - 2 * 2 * config.dim
    pose, frames = PlainModel(config)(torch.zeros(2, 27, 17, 2))
    assert pose.shape == (2, 17, 3)
    assert frames.shape == (2, 27, 17, 3)


def test_both_train_on_the_same_windows():
    clips = synthetic_clips()[:2]
    plain, ours = PlainWindows(clips, 9), RecordedWindows(clips, WindowSpec(9, 1, 50.0, 4), "screen")
    for index in (0, 2, 2 * 1999, 2 * 2500):  # the start of a clip, its second frame, its end, within the next
        joints, poses = plain[index]
        batch = ours.windows(torch.tensor([index // 2]))
        torch.testing.assert_close(joints, batch.joints[0])
        torch.testing.assert_close(poses, batch.poses_m[0])


def test_it_prints_a_ratio():
    command = [sys.executable, "-m", "training.bench_train", "--frames", "9", "--batch", "4"]
    done = subprocess.run(
        [*command, "--seconds", "0", "--rounds", "1"], capture_output=True, text=True, check=True, timeout=120
    )
    plain, ours, ratio = (float(cell) for cell in done.stdout.splitlines()[-1].split("|")[2:5])
    assert abs(ratio - ours / plain) < 0.02 * ratio
