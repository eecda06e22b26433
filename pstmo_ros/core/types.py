"""What flows through the pipeline: one frame of 2D keypoints in, one 3D pose per person out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Indices = npt.NDArray[np.intp]
Complexes = npt.NDArray[np.complexfloating]  # points and turns in the image, x + iy
Move = Callable[[Floats], Floats]  # points (..., 2) px of one image -> where they are in another


def as_complex(points: Floats) -> Complexes:
    """Points (..., 2), float32 or float64, as x + iy (...)."""
    kind = np.complex64 if points.dtype == np.float32 else np.complex128
    return np.asarray(points, order="C").view(kind)[..., 0]


def as_points(complexes: Complexes) -> Floats:
    """The inverse of ``as_complex``."""
    kind = np.float32 if complexes.dtype == np.complex64 else np.float64
    return np.asarray(complexes, order="C")[..., None].view(kind)


@dataclass(frozen=True, slots=True, eq=False)
class Stand:
    """How a camera stands in a frame that does not move and whose z points up, such as odom.

    rotation: (3, 3), that frame's axes to the camera's. position_m: (3,) of the camera in that frame.
    """

    rotation: Floats
    position_m: Floats

    def seen(self, points_m: Floats) -> Floats:
        """Points (..., 3) of that frame in the camera's, the inverse of ``placed``."""
        return (points_m - self.position_m) @ self.rotation.T

    def placed(self, points_m: Floats) -> Floats:
        """Points (..., 3) of the camera's frame in that one."""
        return points_m @ self.rotation + self.position_m


@dataclass(frozen=True, slots=True)
class Frame2D:
    """Every person one detector saw in one image.

    stamp_ns: capture time of the image.
    size_px: (width, height) of the image.
    layout: name of the keypoint order (see core.layouts).
    keypoints_px: (P, J, 2) float32, x right and y down in pixels; NaN where a joint was not seen.
    scores: (P, J) float32 in [0, 1]; 0 where a joint was not seen.
    person_ids: (P,) int from the detector's tracker, or None when it gives none.
    stand: how the camera stood; None when nobody knows: as before, or else as if it never moved.
    """

    stamp_ns: int
    size_px: tuple[int, int]
    layout: str
    keypoints_px: Floats
    scores: Floats
    person_ids: tuple[int, ...] | None = None
    stand: Stand | None = None

    def __post_init__(self) -> None:
        p = len(self.keypoints_px)
        if self.keypoints_px.ndim != 3 or self.keypoints_px.shape[2] != 2:
            raise ValueError(f"keypoints_px has shape {self.keypoints_px.shape}; give (people, joints, 2)")
        if self.scores.shape != self.keypoints_px.shape[:2]:
            raise ValueError(f"scores has shape {self.scores.shape}; give {self.keypoints_px.shape[:2]}")
        if min(self.size_px) <= 0:
            raise ValueError(f"size_px is {self.size_px}; give the image's (width, height) in pixels")
        if self.person_ids is not None and len(self.person_ids) != p:
            raise ValueError(f"person_ids has {len(self.person_ids)} entries for {p} people; give one each")
        if self.person_ids is not None and len(set(self.person_ids)) != p:
            raise ValueError(f"person_ids {self.person_ids} repeats an id; ids are unique within a frame")


@dataclass(frozen=True, slots=True)
class Pose3D:
    """One person's pose at the stamp of one input frame (Human3.6M-17 joints, camera axes: x right, y down, z away).

    root_relative_m: (17, 3) metres, the pelvis at the origin.
    position_m: (17, 3) metres in the camera optical frame, or None when no camera is known.
    scores: (17,) in [0, 1], the detector's confidence in each joint; 0 where the joint was inferred, not seen.
    velocity_m_s: (17, 3) of ``position_m`` (of ``root_relative_m`` without a camera), of a camera whose stand is known
    over ground, in its axes; NaN at a person's first pose.
    std_m: (17,) metres, how sure the model is of each joint; None from a model that does not say.
    """

    person_id: int
    stamp_ns: int
    root_relative_m: Floats
    position_m: Floats | None
    scores: Floats
    velocity_m_s: Floats
    std_m: Floats | None = None
