"""Poses in rows over time: 3D strips (paper Figs. 4, 11) and what Stage I recovers (Fig. 6). M moments, J = 17."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from pstmo_ros.core import skeleton
from pstmo_ros.core.types import Floats
from pstmo_ros.render import LEFT_RGB, MIDDLE_RGB, RIGHT_RGB

_BONES = np.array(skeleton.BONES)
_COLOURS = [
    LEFT_RGB if j in skeleton.LEFT else RIGHT_RGB if j in skeleton.RIGHT else MIDDLE_RGB for _, j in skeleton.BONES
]
_TRUTH_RGB = (0.75, 0.75, 0.75)
_VIEW = {"elev": 12, "azim": -70}  # from a little above and to the side, so that depth shows


def draw_strips(
    keypoints_px: Floats, poses_m: Mapping[str, Floats], captions: Sequence[str], truth_m: Floats | None = None
) -> Figure:
    """The 2D input and, below it, each model's 3D poses at M moments; the truth, where known, behind each and last.

    keypoints_px: (M, 17, 2), NaN where unseen; poses_m, truth_m: (M, 17, 3) root-relative, camera axes, metres.
    """
    rows: dict[str, Floats] = dict(poses_m) | ({} if truth_m is None else {"truth": truth_m})
    columns, count = len(keypoints_px), 1 + len(rows)
    figure = Figure(figsize=(1.7 * columns + 0.5, 2.0 * count + 0.2))
    reach = _reach(truth_m if truth_m is not None else np.concatenate(list(poses_m.values())))

    def place(row: int, column: int, **kind: Any) -> Any:
        left, width = 0.5 / (1.7 * columns + 0.5), 1.7 / (1.7 * columns + 0.5)
        height = (1 - 0.03) / count
        box = (left + column * width, 1 - 0.03 - (row + 1) * height, width * 0.98, height * 0.96)
        return figure.add_axes(box, **kind)

    for column in range(columns):
        axes = place(0, column)
        _draw_2d(axes, keypoints_px[column])
        axes.set_aspect("equal", adjustable="datalim")
        axes.invert_yaxis()
        axes.set_title(captions[column], fontsize=8)
        for row, (name, poses) in enumerate(rows.items(), 1):
            space = place(row, column, projection="3d")
            _prepare_space(space, reach)
            if truth_m is not None and name != "truth":
                _draw_3d(space, truth_m[column], [_TRUTH_RGB] * len(_BONES), 1.2)
            _draw_3d(space, poses[column], _COLOURS, 2.0)
    for row, name in enumerate(["input", *rows]):
        figure.text(0.012, 1 - 0.03 - (row + 0.5) * 0.97 / count, name, rotation=90, va="center", fontsize=10)
    return figure


def draw_recovery(
    target: Floats,
    recovered: Floats,
    visible: npt.NDArray[np.bool_],
    hidden: npt.NDArray[np.bool_],
    frames: Sequence[int],
) -> Figure:
    """Stage I at some frames of one window: what the encoder saw, and what the decoder made of it over the truth.

    target, recovered: (N, 17, 2) model coordinates; visible: (N,) frames not masked; hidden: (N, 17) joints not seen.
    """
    figure = Figure(figsize=(1.35 * len(frames) + 0.6, 3.5), layout="constrained")
    low, high = (np.nanpercentile(target, q, axis=(0, 1)) for q in (0, 100))
    centre, half = (low + high) / 2, 0.55 * (high - low).max()
    for column, frame in enumerate(frames):
        above = figure.add_subplot(2, len(frames), column + 1)
        below = figure.add_subplot(2, len(frames), len(frames) + column + 1)
        seen = np.where(hidden[frame, :, None] | ~visible[frame], np.nan, target[frame])
        _draw_2d(above, seen, dots=True)
        above.set_title(f"frame {frame}" + ("" if visible[frame] else "\n(masked)"), fontsize=8, va="bottom")
        above.set_facecolor("w" if visible[frame] else "0.9")
        _bones_2d(below, target[frame], [_TRUTH_RGB] * len(_BONES), 2.5)
        _draw_2d(below, recovered[frame])
        for axes in (above, below):
            axes.set(
                xlim=(centre[0] - half, centre[0] + half), ylim=(centre[1] + half, centre[1] - half), aspect="equal"
            )
        if column == 0:
            above.set_ylabel("seen by\nthe encoder", fontsize=9)
            below.set_ylabel("recovered\n(grey: truth)", fontsize=9)
    return figure


def _draw_2d(axes: Any, points: Floats, dots: bool = False) -> None:
    """A skeleton in the image, (17, 2) with y down; dots mark joints, so that lone ones show."""
    _bones_2d(axes, points, _COLOURS, 1.8)
    if dots:
        axes.plot(points[:, 0], points[:, 1], ".", color="0.2", markersize=4)
    axes.set_xticks([])
    axes.set_yticks([])


def _bones_2d(axes: Any, points: Floats, colours: Sequence[Any], width: float) -> None:
    for (a, b), colour in zip(_BONES, colours, strict=True):
        axes.plot(points[[a, b], 0], points[[a, b], 1], color=colour, linewidth=width, solid_capstyle="round")


def _reach(poses_m: Floats) -> float:
    """Half the side of a cube about the pelvis that holds nearly every pose."""
    known = poses_m[np.isfinite(poses_m).all((1, 2))]
    return float(np.percentile(np.abs(known).max((1, 2)), 90)) if len(known) else 1.0


def _prepare_space(axes: Any, reach: float) -> None:
    """A cube of that half side, its floor drawn and nothing else."""
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), zlim=(-reach, reach))
    axes.set_box_aspect((1, 1, 1), zoom=1.5)
    axes.view_init(**_VIEW)
    axes.set_axis_off()
    side = 0.7 * reach
    for at in np.linspace(-side, side, 4):
        for line in (([-side, side], [at, at]), ([at, at], [-side, side])):
            axes.plot(*line, [-reach, -reach], color="0.88", linewidth=0.8)


def _draw_3d(axes: Any, pose_m: Floats, colours: Sequence[Any], width: float) -> None:
    x, y, z = pose_m[:, 0], pose_m[:, 2], -pose_m[:, 1]  # camera axes -> right, away, up
    for (a, b), colour in zip(_BONES, colours, strict=True):
        axes.plot(x[[a, b]], y[[a, b]], z[[a, b]], color=colour, linewidth=width, solid_capstyle="round")
