"""Recordings of a virtual camera and 2D detector: world clips of several people in, keypoints in pixels and truth out.

The accuracy evaluation and the demo's sample are made here. P people, T frames, J keypoints of the layout.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from pstmo_ros.core import layouts, skeleton
from pstmo_ros.core.camera import Camera
from pstmo_ros.core.layouts import Layout
from pstmo_ros.core.placement import MIN_DEPTH_M
from pstmo_ros.core.types import Floats
from pstmo_ros.recording import Recording
from training.detector import (
    HEIGHT_M,
    KEYPOINTS,
    DetectorConfig,
    camera_from_world,
    detect,
    drop_joints,
    keypoints_3d,
    layout_matrices,
)
from training.mocap import Mocap

# Cameras robots carry: image size and horizontal field of view (webcam, depth camera, wide and narrow HD).
CAMERAS = (
    Camera.from_field_of_view((640, 480), 62),
    Camera.from_field_of_view((848, 480), 69),
    Camera.from_field_of_view((1280, 720), 78),
    Camera.from_field_of_view((1920, 1080), 60),
)
NO_NOISE = DetectorConfig(0, 0, 0, 0, 0, 0, 0, 0)
TURN_S, MOST_TURN_DEG = 2.0, 15.0
_OCCLUSION_S = 1.6  # occlusion is drawn anew this often, about a training window
_SURE, _SCORE_SCALE, _SCORE_NOISE, _LOWEST_SCORE = 0.95, 0.06, 0.04, 0.12
_FRAMING = 0.92  # share of the image's half width and height that the person may use
_STAND_M, _MOUNT_M, _NEAREST_M = (2.0, 6.0), (0.4, 2.0), 0.8  # camera distance, mounting height, nearest joint


def synthesize(
    clips_m: Sequence[Tensor],
    camera: Camera,
    camera_from_world: tuple[Tensor, Tensor],
    *,
    layout: str = "coco_17",
    rate_hz: float = 50.0,
    detector: DetectorConfig | None = None,
    seed: int = 0,
    placements: Sequence[tuple[float, float]] | None = None,
) -> Recording:
    """What a 2D detector would report of people moving before a static camera, and where they truly are.

    clips_m: one (T_p, 17, 3) per person, metres, world z up; a person is gone once their clip has ended.
    camera_from_world: rotation (3, 3) and translation (3,) metres; placements: (x, y) metres added to each clip.
    detector: its noise; None for the training's default. The same seed gives the same recording.
    -> keypoints (T, P, J, 3) pixels and score, NaN and 0 where hidden, outside the image or never made by the
    virtual detector; scores fall with the noise truly added. truth_m (T, P, 17, 3) camera frame, NaN once gone.
    ValueError when the layout needs keypoints that the virtual detector does not make.
    """
    detector, order = detector or DetectorConfig(), layouts.get(layout)
    layout_matrices((layout,))  # raises for a layout that cannot be made
    generator = torch.Generator().manual_seed(seed)
    truth, gone = _people(clips_m, camera_from_world, placements)
    points = keypoints_3d(truth)
    depth = points[..., 2:]
    clean = points[..., :2] / depth.clamp(min=MIN_DEPTH_M)
    rays = detect(points, detector, 1 / rate_hz, generator)
    noise = ((rays - clean) * depth).norm(dim=-1) / HEIGHT_M
    sure = _SURE * torch.exp(-noise / _SCORE_SCALE) + _SCORE_NOISE * torch.randn(noise.shape, generator=generator)
    xy, score = camera.pixels(rays.numpy()), sure.clamp(_LOWEST_SCORE, 1).numpy()
    inside = ((xy >= 0) & (xy < (camera.width, camera.height))).all(-1) & (depth[..., 0] > MIN_DEPTH_M).numpy()
    score[~inside | gone.numpy()[..., None]] = 0

    keypoints = np.full((*score.shape[:2], len(order.joints), 3), np.nan, np.float32)
    keypoints[..., 2] = 0
    made = [k for k, name in enumerate(order.joints) if name in KEYPOINTS]
    source = [KEYPOINTS.index(order.joints[k]) for k in made]
    keypoints[:, :, made] = np.concatenate([xy, score[..., None]], -1)[:, :, source]
    keypoints[_hidden(order, truth.shape[:2], rate_hz, detector, generator), 2] = 0
    keypoints[keypoints[..., 2] <= 0, :2] = np.nan

    truth[gone] = torch.nan
    frames = truth.shape[1]
    stamps = np.round(np.arange(frames) * 1e9 / rate_hz).astype(np.int64)
    ids = np.broadcast_to(np.arange(1, len(clips_m) + 1), (frames, len(clips_m)))
    return Recording(
        keypoints.swapaxes(0, 1),
        stamps,
        (camera.width, camera.height),
        layout,
        ids.copy(),
        camera,
        truth.numpy().swapaxes(0, 1),
    )


def record_clip(
    mocap: Mocap,
    i: int,
    view: int = 0,
    *,
    layout: str = "coco_17",
    detector: DetectorConfig | None = None,
    seed: int = 1,
    pitch_deg: float | None = None,
    distance_m: float | None = None,
    gravity_off_deg: float | None = None,
    tipped_deg: float = 0.0,
    turning_deg: float | None = None,
) -> Recording:
    """Clip ``i`` as ``synthesize`` records it; camera, place and noise follow from the seed, ``i`` and the view.

    pitch_deg, distance_m: as ``place_camera``. gravity_off_deg: how far off the camera knows where down is, None for
    not at all. tipped_deg: the person is tipped over by so much, whichever way: 90 lies. turning_deg: the camera
    turns to and fro by so much every ``TURN_S``, as on a robot, and knows how it stands; it is far enough away to keep
    people in its image as long as that is no more than ``MOST_TURN_DEG``.
    """
    drawn = int(np.random.SeedSequence([seed, i, view]).generate_state(1)[0])
    camera, clip = CAMERAS[(i + view) % len(CAMERAS)], mocap.clip(i)
    if tipped_deg:
        way = 2 * math.pi * torch.rand((), generator=torch.Generator().manual_seed(drawn))
        turn = Rotation.from_euler("zx", [way.item(), math.radians(tipped_deg)]).as_matrix()
        clip = clip @ torch.from_numpy(turn.T).to(clip)
    pose = place_camera(clip, _narrowed(camera) if turning_deg is not None else camera, drawn, pitch_deg, distance_m)
    if gravity_off_deg is not None:
        down = -pose[0][:, 2].numpy()
        across = np.cross(down, np.random.default_rng(drawn).standard_normal(3))
        off = Rotation.from_rotvec(math.radians(gravity_off_deg) * across / np.linalg.norm(across))
        x, y, z = off.apply(down).tolist()
        camera = dataclasses.replace(camera, down=(x, y, z))
    moves = None
    if turning_deg is not None:
        seconds = torch.arange(len(clip)) / mocap.rate_hz
        clip, moves = _gone_round(clip, pose, math.radians(turning_deg) * torch.sin(2 * math.pi * seconds / TURN_S))
    recording = synthesize([clip], camera, pose, layout=layout, rate_hz=mocap.rate_hz, detector=detector, seed=drawn)
    return dataclasses.replace(recording, odom_from_camera=moves)


def _gone_round(clip_m: Tensor, camera_from_world: tuple[Tensor, Tensor], yaw: Tensor) -> tuple[Tensor, Floats]:
    """What looks to a camera that stands still as a clip (T, 17, 3) does to one that turns by yaw (T,) to the left; and
    that one's poses (T, 4, 4), world_from_camera."""
    rotation, translation = camera_from_world
    turns = torch.from_numpy(Rotation.from_euler("z", yaw[:, None].numpy()).as_matrix()).to(clip_m)
    at = -rotation.T @ translation
    moves = np.tile(np.eye(4), (len(clip_m), 1, 1))
    moves[:, :3, :3], moves[:, :3, 3] = (turns @ rotation.T).numpy(), at.numpy()
    return (clip_m - at) @ turns + at, moves


def place_camera(
    clip_m: Tensor, camera: Camera, seed: int, pitch_deg: float | None = None, distance_m: float | None = None
) -> tuple[Tensor, Tensor]:
    """A static camera, mounted as a robot's might be, that keeps a whole world clip (T, 17, 3) inside its image.

    It looks at the middle of the motion from a random side; -> rotation (3, 3) and translation (3,) camera_from_world.
    pitch_deg, positive looking up, and distance_m: instead of what the mounting height and the framing ask for; from
    a given distance the motion need not fit.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * torch.rand((), generator=generator).item()

    points = clip_m.reshape(-1, 3)
    centre = (points.amin(0) + points.amax(0)) / 2
    yaw, distance, mount = uniform(0, 2 * math.pi), uniform(*_STAND_M), uniform(*_MOUNT_M)
    pitch = 0.0
    if pitch_deg is not None:
        pitch = math.radians(pitch_deg)
    for _ in range(2):  # first level, to know the distance that the motion needs; then from the mounting height
        rotation = camera_from_world(*torch.tensor([[yaw], [pitch], [0.0]]))[0]
        distance = max(distance, _distance_to_frame((points - centre) @ rotation.T, camera))
        if pitch_deg is None:
            pitch = math.atan2(float(centre[2]) - float(points[:, 2].min()) - mount, distance)
    distance = distance if distance_m is None else distance_m
    return rotation, torch.tensor([0.0, 0.0, distance]) - rotation @ centre


def _narrowed(camera: Camera) -> Camera:
    """A camera that sees what the given one sees however it turns."""
    half_deg = math.degrees(math.atan(camera.width / 2 / camera.fx))
    return Camera.from_field_of_view((camera.width, camera.height), 2 * (half_deg - MOST_TURN_DEG))


def _distance_to_frame(points: Tensor, camera: Camera) -> float:
    """The least distance along the optical axis from which every point (M, 3), camera axes, falls inside the image."""
    corner = np.array([camera.cx / camera.fx, camera.cy / camera.fy])
    opposite = np.array([(camera.width - camera.cx) / camera.fx, (camera.height - camera.cy) / camera.fy])
    half = torch.as_tensor(np.minimum(corner, opposite) * _FRAMING, dtype=points.dtype)
    needed = (points[:, :2].abs() / half).amax(1).clamp(min=_NEAREST_M) - points[:, 2]
    return float(needed.max())


def _people(
    clips_m: Sequence[Tensor],
    camera_from_world: tuple[Tensor, Tensor],
    placements: Sequence[tuple[float, float]] | None,
) -> tuple[Tensor, Tensor]:
    """Everyone in the camera frame, (P, T, 17, 3) m, the last frame of a shorter clip held; and who is gone, (P, T)."""
    rotation, translation = camera_from_world
    frames = max(map(len, clips_m))
    out = torch.empty(len(clips_m), frames, skeleton.J, 3)
    gone = torch.zeros(len(clips_m), frames, dtype=torch.bool)
    for p, clip in enumerate(clips_m):
        out[p, : len(clip)], out[p, len(clip) :] = clip, clip[-1]
        gone[p, len(clip) :] = True
        if placements is not None:
            out[p, ..., :2] += torch.tensor(placements[p])
    return out @ rotation.T + translation, gone


def _hidden(
    layout: Layout, shape: Sequence[int], rate_hz: float, detector: DetectorConfig, generator: torch.Generator
) -> Floats:
    """Which keypoints are occluded, (P, T, J) bool: as training hides model joints, every ``_OCCLUSION_S`` anew.

    A keypoint is hidden with the model joint that it counts most for.
    """
    people, frames = shape
    span = max(1, round(_OCCLUSION_S * rate_hz))
    spans = -(-frames // span)
    drawn = drop_joints(torch.zeros(people * spans, span, skeleton.J, 2), detector, generator)
    joints = torch.isnan(drawn[..., 0]).view(people, spans * span, skeleton.J)[:, :frames].numpy()
    used = layout.weights.any(0)
    return np.asarray(joints[..., layout.weights.argmax(0)] & used)
