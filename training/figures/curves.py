"""Fine-tuned error over the masking ratio of Stage I (paper Fig. 5)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.mpm import load_stage_one

# What may differ between the points of one curve.
_FREE = ("masking", "init", "seed", "run", "out", "device", "checkpoint_minutes")


@dataclass(frozen=True)
class Trial:
    """One Stage I and II: the share of frames and the joints per frame that were masked, and the error it came to.

    Both 0 is a training without Stage I.
    """

    temporal: float
    spatial: int
    mpjpe_mm: float


def load_trials(paths: Sequence[Path]) -> list[Trial]:
    """From the result.json files of ``training.ablate``, those that differ in their masking (and seed) alone.

    Where the files come from several budgets or tables, the largest such group. ValueError for a file that is none.
    """
    groups: dict[tuple[str, str], list[Trial]] = {}
    for path in paths:
        settings, trial = _trial(path)
        groups.setdefault(settings, []).append(trial)
    pretrained = {key: trials for key, trials in groups.items() if key[1]}
    if not pretrained:
        raise ValueError(f"none of {len(paths)} results has a Stage I: run python -m training.ablate masking")
    key = max(pretrained, key=lambda k: len({(t.temporal, t.spatial) for t in pretrained[k]}))
    return pretrained[key] + groups.get((key[0], ""), [])


def _trial(path: Path) -> tuple[tuple[str, str], Trial]:
    """One result, and what else both its stages were set to; "" for the first stage where there was none."""
    if not path.is_file():  # as a shell leaves runs/ablation/*/result.json where it finds none
        raise ValueError(f"result {str(path)!r} does not exist; make some with python -m training.ablate masking")
    try:
        result = json.loads(path.read_text())
        config, mpjpe_mm = result["config"], list(result["mpjpe_mm"].values())[-1]
        init = config["init"]
    except (OSError, json.JSONDecodeError, KeyError, TypeError, AttributeError, IndexError) as e:
        raise ValueError(f"{str(path)!r} is not a result.json of training.ablate ({type(e).__name__}: {e})") from None
    if not init:
        return (_settings(config), ""), Trial(0.0, 0, mpjpe_mm)
    stage_one = load_stage_one(init)[1]["training"]["config"]
    masking = stage_one["masking"]
    return (_settings(config), _settings(stage_one)), Trial(masking["temporal"], masking["spatial"], mpjpe_mm)


def _settings(config: dict[str, Any]) -> str:
    return json.dumps({k: v for k, v in config.items() if k not in _FREE}, sort_keys=True)


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
