"""An evaluation's figures as JSON, Markdown tables and plots."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import torch

from pstmo_ros.core import skeleton
from training import metrics
from training.datasets.h36m import ACTIONS
from training.lifting import Result
from training.scores import TITLES, Figures, joint_means_mm

_DHP_COLUMNS = ("frames", "pck_percent", "auc_percent", "mpjpe_mm", "p_mpjpe_mm", "n_mpjpe_mm", "mpjve_mm")
_COLUMNS = (
    *("frames", "coverage_percent", "mpjpe_mm", "p_mpjpe_mm", "n_mpjpe_mm", "mpjve_mm"),
    *("root_error_mm", "root_error_percent"),
)


def write_report(folder: Path, report: dict[str, Any], results: Sequence[Result]) -> str:
    """Write report.json, report.md and the plots; returns the Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    text = markdown(report)
    (folder / "report.md").write_text(text)
    _plot_bars(folder / "groups.png", report["groups"])
    _plot_joints(folder / "joints.png", results)
    _plot_pck(folder / "pck.png", results)
    if "look_ahead" in report:
        _plot_look_ahead(folder / "look_ahead.png", report["look_ahead"])
    return text


def markdown(report: dict[str, Any]) -> str:
    """The whole report as Markdown: where the figures come from, then the tables."""
    facts = ("command", "model", "sha256", "engine", "data", "split", "protocol", "seed")
    parts = [f"# {report['data']} ({report['split']})\n", "\n".join(f"- {k}: `{report[k]}`" for k in facts) + "\n"]
    if report["data"] == "h36m":
        parts.append(_table_1(report["groups"], report["overall"]))
    else:
        columns = _DHP_COLUMNS if report["data"] == "3dhp" else _COLUMNS
        rows = report["groups"] | {"all frames": report["overall"]} | report.get("extra", {})
        parts.append(_table("", rows, columns))
    if "robustness" in report:
        parts += ["## Robustness (paper Table 8)\n", _table("input", report["robustness"], ("mpjpe_mm", "p_mpjpe_mm"))]
    if "look_ahead" in report:
        parts += ["## Look-ahead\n", _table("seconds", report["look_ahead"], _COLUMNS[2:])]
    return "\n".join(parts)


def _table(head: str, rows: dict[str, Figures], columns: Sequence[str]) -> str:
    """One line per row; figures that no row has are left out."""
    columns = [c for c in columns if any(c in r for r in rows.values())]
    lines = [[head, *(TITLES[c] for c in columns)], ["---", *("---:" for _ in columns)]]
    lines += [[name, *(_cell(c, row) for c in columns)] for name, row in rows.items()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _cell(column: str, row: Figures) -> str:
    if column not in row:
        return "-"
    return f"{row[column]:.0f}" if column == "frames" else f"{row[column]:.1f}"


def _table_1(groups: dict[str, Figures], overall: Figures) -> str:
    """Human3.6M by action, in the paper's order and shape (Table 1); Avg is the mean of the actions."""
    lines = [["", *ACTIONS.values(), "Avg"], ["---", *("---:" for _ in range(len(ACTIONS) + 1))]]
    for figure in ("mpjpe_mm", "p_mpjpe_mm", "n_mpjpe_mm", "mpjve_mm"):
        cells = [_cell(figure, groups.get(a, {})) for a in ACTIONS]
        lines.append([TITLES[figure], *cells, _cell(figure, overall)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _plot_bars(path: Path, groups: dict[str, Figures]) -> None:
    shown = {name: g for name, g in groups.items() if "mpjpe_mm" in g}
    figure, axes = plt.subplots(figsize=(max(5, 0.7 * len(shown) + 2), 4))
    for offset, name in ((-0.2, "mpjpe_mm"), (0.2, "p_mpjpe_mm")):
        axes.bar([i + offset for i in range(len(shown))], [g[name] for g in shown.values()], 0.4, label=TITLES[name])
    axes.set_xticks(range(len(shown)), list(shown), rotation=40, ha="right")
    _finish(path, figure, axes, "", "mm")


def _plot_joints(path: Path, results: Sequence[Result]) -> None:
    figure, axes = plt.subplots(figsize=(5, 4.5))
    axes.barh([n.replace("_", " ") for n in skeleton.JOINTS], joint_means_mm(results).tolist())
    axes.invert_yaxis()
    _finish(path, figure, axes, "mean error, mm", "")


def _plot_pck(path: Path, results: Sequence[Result]) -> None:
    figure, axes = plt.subplots(figsize=(5, 4))
    each = [metrics.joint_errors_mm(r.predicted_m, r.target_m)[:, list(metrics.PCK_JOINTS)] for r in results]
    errors = torch.cat(each)
    errors = errors[errors.isfinite()]
    axes.plot(metrics.AUC_MM, [metrics.pck(errors, t) for t in metrics.AUC_MM.tolist()])
    axes.set_ylim(0, 100)
    _finish(path, figure, axes, "threshold, mm", "joints within, %")


def _plot_look_ahead(path: Path, sweep: dict[str, Figures]) -> None:
    figure, axes = plt.subplots(figsize=(5, 4))
    for name in ("mpjpe_mm", "p_mpjpe_mm"):
        axes.plot([float(s) for s in sweep], [f[name] for f in sweep.values()], marker="o", label=TITLES[name])
    axes.set_ylim(bottom=0)
    _finish(path, figure, axes, "look-ahead, s", "mm")


def _finish(path: Path, figure: Any, axes: Any, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)
