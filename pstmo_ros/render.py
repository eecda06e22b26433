"""Pictures of a lifted scene: the 2D input beside the 3D skeletons, as images and video."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pstmo_ros.core import skeleton
from pstmo_ros.core.types import Floats

LEFT_RGB, RIGHT_RGB, MIDDLE_RGB = (0.90, 0.35, 0.13), (0.13, 0.47, 0.85), (0.45, 0.45, 0.48)
JOINT_RGB = [
    LEFT_RGB if j in skeleton.LEFT else RIGHT_RGB if j in skeleton.RIGHT else MIDDLE_RGB for j in range(skeleton.J)
]
_BONES = np.array(skeleton.BONES)


class ScenePicture:
    """One figure, redrawn for every frame: keypoints in the image on the left, skeletons in space on the right."""

    def __init__(self, size_px: tuple[int, int], space_m: Floats, title: str) -> None:
        """space_m: (M, 3) points in the camera frame that must be in view."""
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot as plt
        from matplotlib.collections import LineCollection
        from mpl_toolkits.mplot3d.art3d import Line3DCollection

        self._figure = plt.figure(figsize=(12.8, 5.2), dpi=80)
        self._figure.suptitle(title, fontsize=11)
        image = self._figure.add_axes((0.05, 0.10, 0.44, 0.76))
        space: Any = self._figure.add_axes((0.50, 0.04, 0.50, 0.84), projection="3d")
        image.set(xlim=(0, size_px[0]), ylim=(size_px[1], 0), aspect="equal", facecolor="0.97")
        image.set_title("2D keypoints in (pixels)", fontsize=10)
        self._keypoints = LineCollection([], linewidths=2)
        image.add_collection(self._keypoints)

        points = _upright(space_m[np.isfinite(space_m).all(-1)])
        low, high = points.min(0) - 0.2, points.max(0) + 0.2
        space.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))
        space.set_box_aspect(high - low, zoom=1.25)
        space.view_init(elev=18, azim=-75)
        space.set(xlabel="x (m)", ylabel="distance (m)", zlabel="up (m)")
        space.set_title("3D skeletons out (metres, camera frame); thin grey: truth", fontsize=10)
        self._truth = Line3DCollection(np.zeros((1, 2, 3)), colors="0.6", linewidths=1)
        self._poses = Line3DCollection(np.zeros((1, 2, 3)), linewidths=2.5)
        space.add_collection3d(self._truth)
        space.add_collection3d(self._poses)
        self._caption = self._figure.text(0.5, 0.01, "", ha="center", fontsize=10)

    def draw(self, keypoints_px: Floats, poses_m: Floats, truth_m: Floats, caption: str) -> npt.NDArray[np.uint8]:
        """keypoints (P, 17, 2), poses and truth (P, 17, 3) camera frame, NaN where there is none -> RGB (H, W, 3)."""
        self._show(self._keypoints, keypoints_px)
        self._show(self._truth, _upright(truth_m), coloured=False)
        self._show(self._poses, _upright(poses_m))
        self._caption.set_text(caption)
        self._figure.canvas.draw()
        rgba = np.asarray(self._figure.canvas.buffer_rgba())  # type: ignore[attr-defined]
        return rgba[: rgba.shape[0] // 2 * 2, : rgba.shape[1] // 2 * 2, :3].copy()  # even sides, as video wants

    def close(self) -> None:
        """Free the figure."""
        from matplotlib import pyplot as plt

        plt.close(self._figure)

    @staticmethod
    def _show(lines: object, points: Floats, coloured: bool = True) -> None:
        bones = points[:, _BONES].reshape(-1, 2, points.shape[-1])
        known = np.isfinite(bones).all((1, 2))
        lines.set_segments(bones[known])  # type: ignore[attr-defined]
        if coloured:
            colours = np.tile(np.array(JOINT_RGB)[_BONES[:, 1]], (len(points), 1))
            lines.set_color(colours[known])  # type: ignore[attr-defined]


def filmed(stamps_ns: npt.NDArray[np.int64], fps: float) -> npt.NDArray[np.intp]:
    """Which frames a video shows, from the first stamp to the last. In whole ns: in seconds, the last may be missed."""
    return np.searchsorted(stamps_ns, np.arange(stamps_ns[0], stamps_ns[-1] + 1, round(1e9 / fps)))


def write_video(path: str | Path, images: Iterable[npt.NDArray[np.uint8]], fps: float) -> None:
    """RGB images (H, W, 3), even sides -> an H.264 file that browsers and players open."""
    import imageio_ffmpeg

    writer = None
    try:
        for image in images:
            if writer is None:
                size = (image.shape[1], image.shape[0])
                writer = imageio_ffmpeg.write_frames(str(path), size, fps=fps, quality=7, macro_block_size=2)
                writer.send(None)
            writer.send(np.ascontiguousarray(image))
    finally:
        if writer is not None:
            writer.close()


def write_image(path: str | Path, image: npt.NDArray[np.uint8]) -> None:
    """An RGB image (H, W, 3) -> PNG."""
    from matplotlib import image as images

    images.imsave(str(path), image)


def _upright(points_m: Floats) -> Floats:
    """Camera optical axes (x right, y down, z away) -> plot axes (x right, y away, z up)."""
    return np.stack([points_m[..., 0], points_m[..., 2], -points_m[..., 1]], -1)
