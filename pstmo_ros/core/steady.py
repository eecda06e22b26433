"""A camera that moves, seen as one that stands still: a robot's, where it is known how that stands.

The model was trained before cameras that stand still, and what is filtered must not move because the camera does.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from pstmo_ros.core.camera import Camera
from pstmo_ros.core.types import Floats, Frame2D, Move, Stand

OLDEST_S = 0.2  # how far away in time what is known of a camera's stand may be
_AHEAD = 0.1  # cosine of the angle to the optical axis; beyond, nothing has a place in an image
_FAR = math.radians(15)  # a camera that has turned so far from the view needs another, that people stay in front of
_SAME = np.eye(3)  # a rotation beside which another camera has not turned


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """An image without distortion that turns with nobody: a camera that knows where down is, and its rotation (3, 3),
    as a stand's."""

    camera: Camera
    rotation: Floats

    @classmethod
    def of(cls, camera: Camera, stand: Stand) -> View:
        """What the camera sees as it stands, without distortion."""
        x, y, z = (-stand.rotation[:, 2]).tolist()
        plain = dataclasses.replace(camera, distortion=(0.0,) * 5, lens="plumb_bob", down=(x, y, z))
        return cls(plain, stand.rotation)

    def shows(self, points_px: Floats, camera: Camera, rotation: Floats) -> Floats:
        """Where the points (..., 2) px of a camera that is turned otherwise are here, float32; NaN behind it."""
        rays = camera.rays(points_px)
        turned = np.concatenate([rays, np.ones_like(rays[..., :1])], -1) @ (rotation @ self.rotation.T)
        far = np.linalg.norm(turned, axis=-1)
        with np.errstate(invalid="ignore"):
            depth = np.where(turned[..., 2] > _AHEAD * far, turned[..., 2], np.nan)
        return self.camera.pixels(turned[..., :2] / depth[..., None]).astype(np.float32)

    def turned_by(self, rotation: Floats) -> float:
        """Angle in radians to another rotation (3, 3)."""
        return float(np.arccos(np.clip((np.sum(self.rotation * rotation) - 1) / 2, -1, 1)))


class Steadier:
    """Lets a camera that turns have one view for as long as it does not turn too far; without one, images are those of
    the newest intrinsics."""

    def __init__(self) -> None:
        self.view: View | None = None  # None while nobody knows how the camera stands, or what it is
        self._stand: Stand | None = None
        self._camera: Camera | None = None  # of the newest frame

    def take(self, frame: Frame2D, camera: Camera | None) -> tuple[Frame2D, Move | None]:
        """A frame as the view shows it, with the stand that counts for it; and, if the view, or without one the camera,
        is another one from now on, where the pixels of what came before are in its image."""
        stand = frame.stand or self._stand
        was, self._camera = self._camera, camera
        if stand is None or camera is None:
            self.view = None
            if camera is was or camera is None or was is None or camera == dataclasses.replace(was, down=camera.down):
                return frame, None
            return frame, partial(View(camera, _SAME).shows, camera=was, rotation=_SAME)
        move, before, self._stand = None, self.view, stand
        if before is None or before.turned_by(stand.rotation) > _FAR:
            self.view = View.of(camera, stand)
            old, rotation = (was or camera, stand.rotation) if before is None else (before.camera, before.rotation)
            move = partial(self.view.shows, camera=old, rotation=rotation)
        assert self.view is not None
        points_px = self.view.shows(frame.keypoints_px, camera, stand.rotation)
        return dataclasses.replace(frame, keypoints_px=points_px, stand=stand), move
