"""The spine: 2D keypoints in, one forward pass for everyone, metric poses out.

The offline tool and the accuracy evaluation call ``PoseLifter.step``; the live node calls its two halves.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from pstmo_ros.core import skeleton
from pstmo_ros.core.bundle import Bundle
from pstmo_ros.core.camera import Camera
from pstmo_ros.core.gravity import with_down
from pstmo_ros.core.normalize import normalize
from pstmo_ros.core.placement import place
from pstmo_ros.core.smoothing import SmoothingConfig
from pstmo_ros.core.steady import View
from pstmo_ros.core.track import Due
from pstmo_ros.core.tracks import TrackConfig, Tracks
from pstmo_ros.core.types import Floats, Frame2D, Pose3D, Stand
from pstmo_ros.core.upright import lift_upright


@dataclass(frozen=True)
class LifterConfig:
    """look_ahead_s: each frame's pose is given this much later, and is better for having seen what follows."""

    look_ahead_s: float = 0.0
    tracks: TrackConfig = field(default_factory=TrackConfig)
    smoothing: SmoothingConfig = field(default_factory=SmoothingConfig)


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """What the model needs for everyone who is due: their windows (B, N, 17, 2) in pixels, without distortion.

    stamps_ns: of the frames that are due, those that show nobody included. view: whose pixels they are, where it is
    known how the camera stands; else the camera's own.
    """

    due: list[Due]
    stamps_ns: list[int]
    joints_px: Floats
    size_px: tuple[int, int]
    view: View | None = None


class PoseLifter:
    """Lifts a stream of frames. Time arrives with the frames; state lives in ``tracks`` alone.

    ``observe`` is cheap and must see every frame, in order; ``lift`` is the forward pass, may run in another thread,
    and may skip what nobody waits for any more. ``step`` is both.
    """

    def __init__(self, bundle: Bundle, engine: Callable[[Floats], Floats], config: LifterConfig | None = None) -> None:
        """engine: points (B, N, P, 2) as core.model.STMO's -> (B, 17, 3) metres, as pstmo_ros.engines gives it.

        A fourth column, where a model has one, is each joint's standard deviation in metres.
        """
        config = config or LifterConfig()
        if bundle.config != bundle.config.at(config.look_ahead_s):
            raise ValueError(
                f"the model answers for another look-ahead; load its engine from bundle.at({config.look_ahead_s})"
            )
        self.spec = bundle.config.window
        self._grid_ns = self.spec.grid_ns(0)
        self.normalization, self.takes_gravity = bundle.normalization, bundle.config.gravity
        self.engine = getattr(engine, "infer", engine)  # an engine's call leaves the deviations out
        if bundle.config.centred:  # others care for where in the image somebody is
            self.engine = partial(lift_upright, self.engine)
        self.tracks = Tracks(self.spec, config.look_ahead_s, config.tracks, config.smoothing)

    def step(self, frame: Frame2D, camera: Camera | None = None) -> list[Pose3D]:
        """Take a frame in and give every pose now due: one per person seen, at the stamp of the frame that saw them."""
        return self.lift(self.observe(frame, camera), camera)

    def flush(self, size_px: tuple[int, int], camera: Camera | None = None) -> list[Pose3D]:
        """The poses still waiting for their look-ahead, at the end of a recording."""
        return self.lift(self._windows(self.tracks.flush(), size_px), camera)

    def observe(self, frame: Frame2D, camera: Camera | None = None) -> Windows:
        """Take a frame in; returns what is now due, ready to be lifted. camera: what took it, given to ``lift`` too."""
        return self._windows(self.tracks.observe(frame, camera), frame.size_px)

    def lift(self, windows: Windows, camera: Camera | None = None) -> list[Pose3D]:
        """One forward pass for everyone who is due."""
        due, view = windows.due, windows.view
        if not due:
            return []
        camera = view.camera if view else camera and camera.plain
        points = normalize(windows.joints_px, windows.size_px, camera, self.normalization)
        if self.takes_gravity:
            points = with_down(points, camera.down if camera else None)
        # Before the forward pass, which takes the caches from whatever follows.
        joints_px, scores = np.array([d.joints_px for d in due]), np.array([d.scores for d in due])
        rays = None if camera is None else camera.rays(joints_px)
        out = self.engine(points)
        poses, std = out[..., :3], out[..., 3] if out.shape[-1] > 3 else [None] * len(due)
        poses = poses - poses[:, skeleton.ROOT, None]
        roots = np.full((len(due), 3), np.nan) if rays is None else place(poses, rays, scores)
        for d in due:
            d.track.filter_in(view is not None and d.stand is not None, self.tracks.smoothing)
        return [_finish(*each, view) for each in zip(due, poses, roots, std, strict=True)]

    def _windows(self, due: list[Due], size_px: tuple[int, int]) -> Windows:
        windows = [d.track.history.window(self._grid_ns + d.stamp_ns) for d in due]
        joints_px = np.array(windows).reshape(-1, self.spec.frames, skeleton.J, 2)
        if view := self.tracks.steadier.view:  # as large as the camera's image was when it began
            size_px = (view.camera.width, view.camera.height)
        return Windows(due, self.tracks.answered, joints_px, size_px, view)


def _finish(due: Due, pose: Floats, root: Floats, std: Floats | None, view: View | None) -> Pose3D:
    """Smooth one person's pose and root, and see how fast the joints move; where the camera stands still, if known."""
    stand = due.stand
    if view and stand:
        pose, root = pose @ view.rotation, Stand(view.rotation, stand.position_m).placed(root)
    smooth = due.track.smoother(due.stamp_ns, np.concatenate([pose, root[None]]))
    pose, root = smooth[:-1], smooth[-1]
    position: Floats | None = None if math.isnan(root[-1]) else pose + root
    if position is None:
        velocity = due.track.velocity_unplaced(due.stamp_ns, pose)
    else:
        velocity = due.track.velocity(due.stamp_ns, position)
    if view and stand:
        pose, velocity = pose @ stand.rotation.T, velocity @ stand.rotation.T
        position = None if position is None else stand.seen(position)
    position = None if position is None else position.astype(np.float32)
    return Pose3D(due.person_id, due.stamp_ns, pose.astype(np.float32), position, due.scores, velocity, std)
