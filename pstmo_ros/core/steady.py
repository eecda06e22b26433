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
from pstmo_ros.core.types import Floats, Move, Stand

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
        return cls(dataclasses.replace(camera.plain, down=(x, y, z)), stand.rotation)

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
    the newest intrinsics, without distortion. So a keypoint is undistorted once, not in each window that it is part of.
    """

    def __init__(self) -> None:
        self.view: View | None = None  # None while nobody knows how the camera stands, or what it is
        self._stand: Stand | None = None
        self._camera: Camera | None = None  # the newest that was known,
        self._plain: Camera | None = None  # and the same without distortion

    def take(
        self, joints_px: Floats, stand: Stand | None, camera: Camera | None
    ) -> tuple[Floats, Stand | None, Move | None]:
        """Joints (P, 17, 2) px of one frame as the view shows them, and the stand that counts for it; and, if the view,
        or without one the camera, is another one from now on, where the pixels of what came before are in its image."""
        lens = camera or self._camera  # intrinsics that are lost still say how the lens bends
        if lens is None:
            return joints_px, stand, None
        stand = stand or self._stand
        turned = _SAME if stand is None else stand.rotation
        before = self.view or View(self._plain or lens, turned)  # that earlier frames are of: as they came, at first
        if lens is not self._camera or self._plain is None:
            self._camera, self._plain = lens, dataclasses.replace(lens.plain, down=None)
        if stand is None or camera is None:
            self.view, now = None, View(self._plain, turned)
        else:
            self._stand = stand
            if self.view is None or self.view.turned_by(turned) > _FAR:
                self.view = View.of(camera, stand)
            now = self.view
        if self.view:
            joints_px = now.shows(joints_px, lens, turned)
        elif lens.distorted:
            joints_px = self._plain.pixels(lens.rays(joints_px)).astype(np.float32)
        same = before is now or (before.rotation is now.rotation and before.camera == now.camera)
        return joints_px, stand, None if same else partial(now.shows, camera=before.camera, rotation=before.rotation)
