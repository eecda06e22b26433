"""Results of clips -> the figures that tables and reports show."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from training import metrics
from training.lifting import Result

Figures = dict[str, float]
# Figure names, as reports head them.
TITLES = {
    "frames": "frames",
    "coverage_percent": "posed %",
    "mpjpe_mm": "MPJPE mm",
    "p_mpjpe_mm": "P-MPJPE mm",
    "n_mpjpe_mm": "N-MPJPE mm",
    "mpjve_mm": "MPJVE mm/frame",
    "pck_percent": "PCK %",
    "auc_percent": "AUC %",
    "root_error_mm": "root mm",
    "root_error_percent": "root % of distance",
}


def figures(results: Sequence[Result]) -> Figures:
    """Every figure over all frames of some clips, each frame counting the same; frames without a pose are left out.

    MPJVE compares consecutive frames within a clip. coverage_percent: frames that got a pose. root_error_percent:
    the pelvis' error as a share of its distance from the camera, averaged over frames.
    """
    predicted = torch.cat([r.predicted_m for r in results])
    target = torch.cat([r.target_m for r in results])
    posed = predicted.isfinite().all(-1).all(-1)
    frames = len(posed)
    out: Figures = {"frames": frames, "coverage_percent": 100 * posed.double().mean().item()}
    if not posed.any():
        return out
    predicted, target = predicted[posed], target[posed]
    errors = metrics.joint_errors_mm(predicted, target)[:, list(metrics.PCK_JOINTS)]
    out |= {
        "mpjpe_mm": metrics.mpjpe_mm(predicted, target),
        "p_mpjpe_mm": metrics.p_mpjpe_mm(predicted, target),
        "n_mpjpe_mm": metrics.n_mpjpe_mm(predicted, target),
        "mpjve_mm": torch.cat([_steps_mm(r) for r in results]).mean().item(),
        "pck_percent": metrics.pck(errors),
        "auc_percent": metrics.auc(errors),
    }
    if all(r.root_error_m is not None for r in results):
        error = torch.cat([r.root_error_m for r in results if r.root_error_m is not None])
        distance = torch.cat([r.distance_m for r in results if r.distance_m is not None])
        out["root_error_mm"] = 1000 * error.nanmean().item()
        out["root_error_percent"] = 100 * (error / distance).nanmean().item()
    return out


def by(results: Sequence[Result], key: Callable[[Result], str]) -> dict[str, Figures]:
    """Figures for each group of clips, in order of first appearance."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(key(result), []).append(result)
    return {name: figures(group) for name, group in groups.items()}


def mean_of_groups(groups: dict[str, Figures]) -> Figures:
    """Figures averaged over groups that count the same, as Human3.6M's actions do in Table 1; frames are summed."""
    names = next(iter(groups.values()))
    out = {n: sum(g[n] for g in groups.values()) / len(groups) for n in names}
    return out | {"frames": sum(g["frames"] for g in groups.values())}


def joint_means_mm(results: Sequence[Result]) -> Tensor:
    """Mean error of each joint over all posed frames, (17,) mm."""
    errors = torch.cat([metrics.joint_errors_mm(r.predicted_m, r.target_m) for r in results])
    return errors.nanmean(0)


def _steps_mm(result: Result) -> Tensor:
    """Velocity errors (M,) mm per frame, of the steps between two frames that both got a pose."""
    errors = metrics.velocity_errors_mm(result.predicted_m, result.target_m).mean(-1)
    return errors[errors.isfinite()]


# What CMU's free-text action descriptions are about; the first that occurs names the family.
_FAMILIES = (
    "dance", "basketball", "soccer", "salsa", "playground", "acrobatics", "cartwheel", "flip", "balance", "climb",
    "box", "sit", "get up", "jump", "run", "walk", "navigate",
)  # fmt: skip
_SUBJECT_FAMILIES = {"cmu135": "karate"}  # every clip of this subject is karate, under the Japanese name of the form


def action_family(subject: str, action: str) -> str:
    """A short name for what an open mocap clip shows: "basketball - forward dribble" -> "basketball"."""
    if subject in _SUBJECT_FAMILIES:
        return _SUBJECT_FAMILIES[subject]
    return next((f for f in _FAMILIES if f in action.lower()), "other")
