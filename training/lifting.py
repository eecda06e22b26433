"""Running a model over test clips, two ways: as the robot does (``lift_recording``) and by whole batches of windows.

T frames, N frames of a window, J = 17.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pstmo_ros.core import layouts, skeleton
from pstmo_ros.core.bundle import Bundle
from pstmo_ros.core.gravity import with_down
from pstmo_ros.core.model import flipped
from pstmo_ros.core.pipeline import LifterConfig, PoseLifter
from pstmo_ros.core.smoothing import SmoothingConfig
from pstmo_ros.core.tracks import TrackConfig
from pstmo_ros.core.types import Floats
from pstmo_ros.lift import lift
from pstmo_ros.recording import Recording
from training.datasets.clips import Clip
from training.recorded import RecordedWindows

Run = Callable[[Floats], Floats]  # an engine: (B, N, 17, C) model coordinates -> (B, 17, 3) metres


@dataclass(frozen=True)
class Result:
    """Poses of one clip and the truth, frame by frame.

    predicted_m, target_m: (T, 17, 3) metres, camera axes, root-relative; NaN where no pose was given.
    root_error_m, distance_m: (T,) metres, how far off the pelvis was placed and how far from the camera it is;
    NaN where it was not placed, None when the model was not asked to.
    """

    subject: str
    action: str
    view: str
    predicted_m: Tensor
    target_m: Tensor
    root_error_m: Tensor | None = None
    distance_m: Tensor | None = None


@dataclass(frozen=True)
class WindowOptions:
    """look_ahead_frames: how many frames after the target a window may see, the newest held; None for all it spans.

    shuffle_seed: put the frames of every window in a random order (paper A.7); None to leave them.
    """

    as_detected: bool = False
    look_ahead_frames: int | None = None
    shuffle_seed: int | None = None
    batch: int = 256


def lift_recording(
    recording: Recording,
    subject: str,
    action: str,
    view: str,
    bundle: Bundle,
    run: Run,
    look_ahead_s: float,
    smooth: bool,
) -> Result:
    """Poses of a recording of one person by ``PoseLifter.step``, every frame as the node gets it."""
    if recording.truth_m is None:
        raise ValueError("the recording has no truth_m to compare with")
    config = LifterConfig(look_ahead_s=look_ahead_s, smoothing=SmoothingConfig(enabled=smooth))
    lifted = lift(recording, PoseLifter(bundle, run, config))
    truth = torch.from_numpy(recording.truth_m[:, 0])
    root = truth[:, skeleton.ROOT]
    if lifted.poses_m.shape[1] == 0:  # never seen at all
        nowhere = torch.full_like(truth, torch.nan)
        predicted, placed = nowhere, nowhere[:, skeleton.ROOT]
    else:
        predicted = torch.from_numpy(lifted.poses_root_m[:, 0])
        placed = torch.from_numpy(lifted.poses_m[:, 0, skeleton.ROOT])
    return Result(
        subject, action, view, predicted, truth - root[:, None], (placed - root).norm(dim=-1), root.norm(dim=-1)
    )


def lift_clips(clips: Sequence[Clip], bundle: Bundle, run: Run, options: WindowOptions | None = None) -> list[Result]:
    """Poses of clips by batches of windows centred as in the paper, the pelvis put at 0 as its authors score it."""
    options = options or WindowOptions()
    windows = RecordedWindows(
        clips,
        bundle.config.window,
        bundle.normalization,
        as_detected=options.as_detected,
        look_ahead_frames=options.look_ahead_frames,
    )
    generator = None if options.shuffle_seed is None else torch.Generator().manual_seed(options.shuffle_seed)
    poses = []
    for batch in windows.ordered(options.batch):
        joints = (batch.joints if generator is None else _shuffled(batch.joints, generator)).numpy()
        poses.append(torch.from_numpy(run(with_down(joints, None) if bundle.config.gravity else joints)))
    poses_m = torch.cat(poses)
    poses_m[:, skeleton.ROOT] = 0
    predicted = poses_m.split([len(c.poses_m) for c in clips])
    return [Result(c.subject, c.action, c.view, p, c.root_relative_m()) for c, p in zip(clips, predicted, strict=True)]


def flip_averaged(run: Run, as_detected_layout: str | None = None) -> Run:
    """The engine's poses averaged with those of the mirrored input, mirrored back (paper section 4.2)."""
    names = layouts.get(as_detected_layout).joints if as_detected_layout else skeleton.JOINTS
    sides = [names.index(skeleton.mirrored_name(n)) for n in names]

    def both(windows: Floats) -> Floats:
        x = torch.from_numpy(windows)
        mirrored = [*sides, *range(len(sides), x.shape[2])]  # where down is has no other side
        plain, turned = np.split(run(torch.cat([x, flipped(x, mirrored)]).numpy()), 2)
        return (plain + skeleton.mirror(turned)) / 2

    return both


def with_noise(clips: Sequence[Clip], sigma: float, seed: int) -> Iterator[Clip]:
    """Clips with Gaussian noise on every keypoint; sigma in screen units, in which the image is 2 wide (Table 8)."""
    random = np.random.default_rng(seed)
    for clip in clips:
        noise = random.normal(0, sigma * clip.size_px[0] / 2, clip.keypoints_px.shape).astype(np.float32)
        yield dataclasses.replace(clip, keypoints_px=clip.keypoints_px + noise)


def recording_clip(recording: Recording, subject: str, action: str, view: str, rate_hz: float) -> Clip:
    """A recording of one person as a clip: what is not seen, or scored too low for the pipeline, is NaN."""
    if recording.truth_m is None:
        raise ValueError("the recording has no truth_m to compare with")
    points = recording.keypoints[:, 0, :, :2].copy()
    points[recording.keypoints[:, 0, :, 2] < TrackConfig().min_score] = np.nan
    truth = recording.truth_m[:, 0]
    return Clip(points, truth, recording.size_px, recording.layout, recording.camera, subject, action, view, rate_hz)


def _shuffled(joints: Tensor, generator: torch.Generator) -> Tensor:
    """The frames of each window (B, N, J, C) in an order of its own."""
    order = torch.rand(joints.shape[:2], generator=generator).argsort(1)
    return joints.gather(1, order[..., None, None].expand_as(joints))
