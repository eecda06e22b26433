"""Fine-tuned error over the masking ratio of Stage I (paper Fig. 5)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure


@dataclass(frozen=True)
class Trial:
    """One Stage I and II: the share of frames and the joints per frame that were masked, and the error it came to.

    Both 0 is a training without Stage I.
    """

    temporal: float
    spatial: int
    mpjpe_mm: float


def load_trials(paths: Sequence[Path]) -> list[Trial]:
    """From JSON files, each a list of {"temporal", "spatial", "mpjpe_mm", ...}. ValueError names what is wrong."""
    trials = []
    for path in paths:
        try:
            rows = json.loads(path.read_text())
        except (OSError, json.JSONDecodeError) as e:
            raise ValueError(f"results {str(path)!r} cannot be read: {e}") from None
        for n, row in enumerate(rows if isinstance(rows, list) else [rows]):
            if not isinstance(row, dict) or (missing := [k for k in Trial.__annotations__ if k not in row]):
                lost = ", ".join(missing) if isinstance(row, dict) else "everything"
                raise ValueError(f"results {str(path)!r}, row {n}: lacks {lost}; give temporal, spatial, mpjpe_mm")
            trials.append(Trial(float(row["temporal"]), int(row["spatial"]), float(row["mpjpe_mm"])))
    return trials


def draw_masking(trials: Sequence[Trial]) -> Figure:
    """Three panels: temporal masking alone, spatial alone, both (a line for each number of joints)."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    panels: list[Axes] = list(figure.subplots(1, 3, sharey=True))
    without = [t.mpjpe_mm for t in trials if t.temporal == 0 and t.spatial == 0]
    _line(panels[0], [(t.temporal, t.mpjpe_mm) for t in trials if t.spatial == 0 and t.temporal > 0], "")
    _line(panels[1], [(t.spatial, t.mpjpe_mm) for t in trials if t.temporal == 0 and t.spatial > 0], "")
    both = [t for t in trials if t.temporal > 0 and t.spatial > 0]
    for spatial in sorted({t.spatial for t in both}):
        _line(panels[2], [(t.temporal, t.mpjpe_mm) for t in both if t.spatial == spatial], f"$m^S$ = {spatial}")
    names = ("temporal masking ratio $q^T$", "joints masked per frame $m^S$", "temporal masking ratio $q^T$")
    titles = ("(a) temporal", "(b) spatial", "(c) spatial temporal")
    for panel, name, title in zip(panels, names, titles, strict=True):
        panel.set_xlabel(name)
        panel.set_title(title, fontsize=10)
        panel.grid(alpha=0.3)
        if without:
            panel.axhline(float(np.mean(without)), color="0.5", linestyle="--", label="without Stage I")
        if panel.get_legend_handles_labels()[1]:
            panel.legend(fontsize=8)
    panels[0].set_ylabel("MPJPE, mm")
    return figure


def _line(axes: Axes, points: Sequence[tuple[float, float]], label: str) -> None:
    """Mean over repeated trials, with a bar from the least to the largest."""
    at = sorted({x for x, _ in points})
    if not at:
        return
    groups = [[y for x, y in points if x == a] for a in at]
    means = np.array([np.mean(g) for g in groups])
    spread = np.abs(np.array([[min(g) for g in groups], [max(g) for g in groups]]) - means)
    axes.errorbar(at, means, yerr=spread, marker="o", markersize=4, capsize=2, label=label or None)
