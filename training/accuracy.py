"""How accurate a model is, and under what: docs/accuracy.md is made by this.

    python -m training.accuracy realtime --every 4 --out docs/accuracy.md

Everything goes through PoseLifter.step, frame by frame, on people whom training never saw, before virtual cameras and
the virtual detector of training.evaluate; the output filter is off. Each table changes one thing. ``--tables look-ahead
hidden rate`` makes those alone.
"""

from __future__ import annotations

import argparse
import functools
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from pstmo_ros.core import bundle as bundles
from pstmo_ros.core import skeleton
from pstmo_ros.core.bundle import Bundle
from pstmo_ros.core.pipeline import LifterConfig, PoseLifter
from pstmo_ros.core.smoothing import SmoothingConfig
from pstmo_ros.engines import EngineError, load_engine, model_path
from pstmo_ros.engines.engine import PRECISIONS, Engine, Options
from pstmo_ros.recording import Recording
from training import arguments, metrics
from training.conditions import ALL, Condition, chosen, conditions
from training.mocap import CMU, Mocap, load_mocap
from training.outputs import check_file
from training.scores import action_family
from training.synthesis import record_clip

Lifters = Callable[[float], PoseLifter]  # look-ahead in seconds -> a lifter that has seen nothing yet


@dataclass(frozen=True)
class Run:
    """One clip under one condition: poses and truth (T, 17, 3) m, root-relative, NaN where no pose was given.

    root_share: (T,) the pelvis' error as a share of its distance. std_m: (T, 17), None for models that have none.
    """

    action: str
    poses_m: Tensor
    truth_m: Tensor
    root_share: Tensor
    std_m: Tensor | None


def of_bundle(bundle: Bundle, options: Options | None = None, engine: str = "auto") -> Lifters:
    """Lifters of a model file at any look-ahead, without the output filter, by an engine of load_engine's."""

    @functools.cache
    def loaded(look_ahead_s: float) -> tuple[Bundle, Engine]:
        at = bundle.at(look_ahead_s)
        return at, load_engine(at, engine, options)

    return lambda look_ahead_s: PoseLifter(*loaded(look_ahead_s), unfiltered(look_ahead_s))


def unfiltered(look_ahead_s: float) -> LifterConfig:
    """What is lifted with here: no output filter."""
    return LifterConfig(look_ahead_s, smoothing=SmoothingConfig(enabled=False))


def runs(condition: Condition, lifters: Lifters, mocap: Mocap, clips: Sequence[int], seed: int) -> Iterator[Run]:
    """Every clip under a condition, each with a lifter of its own."""
    for i in tqdm(clips, desc=condition.name, unit="clip", leave=False, disable=not sys.stderr.isatty()):
        recording = record_clip(
            mocap,
            i,
            layout=condition.layout,
            seed=seed,
            pitch_deg=condition.pitch_deg,
            distance_m=condition.distance_m,
            gravity_off_deg=condition.gravity_off_deg,
            tipped_deg=condition.tipped_deg,
            turning_deg=condition.turning_deg,
        )
        if condition.change is not None:
            recording = condition.change(recording, seed + i)
        yield run(recording, lifters(condition.look_ahead_s), action_family(mocap.subjects[i], mocap.actions[i]))


def run(recording: Recording, lifter: PoseLifter, action: str) -> Run:
    """Lift a recording of one person, as the node would."""
    assert recording.truth_m is not None
    row = {int(s): t for t, s in enumerate(recording.stamps_ns)}
    truth = torch.from_numpy(recording.truth_m[:, 0])
    root = truth[:, skeleton.ROOT]
    poses, placed = torch.full_like(truth, torch.nan), torch.full_like(root, torch.nan)
    std = torch.full(truth.shape[:2], torch.nan)
    lifted = [p for frame in recording.frames() for p in lifter.step(frame, recording.camera)]
    for pose in lifted + lifter.flush(recording.size_px, recording.camera):
        t = row[pose.stamp_ns]
        poses[t] = torch.from_numpy(pose.root_relative_m)
        if pose.position_m is not None:
            placed[t] = torch.from_numpy(pose.position_m[skeleton.ROOT])
        if pose.std_m is not None:
            std[t] = torch.from_numpy(pose.std_m)
    share = (placed - root).norm(dim=-1) / root.norm(dim=-1)
    return Run(action, poses, truth - root[:, None], share, std if std.isfinite().any() else None)


def figures(results: Sequence[Run], joints: Sequence[int] = ALL, origin: int = skeleton.ROOT) -> dict[str, float]:
    """MPJPE, P-MPJPE in mm, MPJVE in mm per frame, median root error in % of distance, frames with a pose in %.

    joints: those that count, about ``origin``.
    """
    about = [[x - x[:, origin, None] for x in (r.poses_m, r.truth_m)] for r in results]
    poses, truth = (torch.cat(each) for each in zip(*about, strict=True))
    posed = poses.isfinite().all(-1).all(-1)
    steps = torch.cat([metrics.velocity_errors_mm(*each)[:, list(joints)].mean(-1) for each in about])
    poses, truth = poses[posed][:, list(joints)], truth[posed][:, list(joints)]
    return {
        "MPJPE": metrics.mpjpe_mm(poses, truth),
        "P-MPJPE": metrics.p_mpjpe_mm(poses, truth),
        "MPJVE": steps.nanmean().item(),
        "root %": 100 * torch.cat([r.root_share for r in results]).nanmedian().item(),
        "posed %": 100 * posed.double().mean().item(),
    }


def covered(results: Sequence[Run], joints: Sequence[int] = ALL, origin: int = skeleton.ROOT) -> dict[str, float]:
    """The coordinates that are within two of their standard deviations, in %; nothing of models without deviations.

    Deviations are about the pelvis: NaN about another ``origin``.
    """
    if any(r.std_m is None for r in results):
        return {}
    if origin != skeleton.ROOT:
        return {"in 2 std %": math.nan}
    return {"in 2 std %": 100 * (deviations(results, joints) <= 2).double().mean().item()}


def deviations(results: Sequence[Run], joints: Sequence[int] = ALL) -> Tensor:
    """Each coordinate's error in its standard deviations, of the frames with a pose; the pelvis is where it is."""
    joints = [j for j in joints if j != skeleton.ROOT]
    off = [(r.poses_m - r.truth_m)[:, joints].abs() / r.std_m[:, joints, None] for r in results if r.std_m is not None]
    every = torch.cat(off)
    return every[every.isfinite()]


def calibration(results: Sequence[Run]) -> dict[str, float]:
    """How often a coordinate's error is within so many of its standard deviations, in %, and errors over deviations."""
    off = deviations(results)
    within = {f"within {k}, %": 100 * (off <= k).double().mean().item() for k in (1, 2, 3)}
    return within | {"RMS of error / deviation": off.square().mean().sqrt().item()}


def report(
    bundle: Bundle,
    mocap: Mocap,
    clips: Sequence[int],
    seed: int,
    options: Options | None = None,
    words: Sequence[str] = (),
) -> Iterator[str]:
    """The page's tables, one by one. words: only those of ``conditions`` that have one of them in their title."""
    tables = {
        title: rows
        for title, rows in chosen(conditions(bundle.config.longest_look_ahead_s, mocap.rate_hz), words).items()
        if bundle.config.gravity or all(row.gravity_off_deg is None for row in rows)
    }
    lifters, kept = of_bundle(bundle, options), list[Run]()
    to_come = Counter(row.lifted for rows in tables.values() for row in rows)  # tables share rows: lifted once
    done: dict[Condition, list[Run]] = {}
    for title, rows in tables.items():
        table, base = [], 0.0
        for condition in rows:
            key, scored = condition.lifted, (condition.joints, condition.origin)
            results = done.pop(key, None) or list(runs(condition, lifters, mocap, clips, seed))
            to_come[key] -= 1
            if to_come[key]:
                done[key] = results
            kept = kept or results
            values = figures(results, *scored) | covered(results, *scored)
            base = base or values["MPJPE"]
            table.append((condition.name, values | {"ratio": values["MPJPE"] / base}))
        yield markdown(title, table)
    if words:
        return
    actions = {a: [r for r in kept if r.action == a] for a in sorted({r.action for r in kept})}
    yield markdown("Action", [(action, figures(its) | covered(its)) for action, its in actions.items()])
    if kept[0].std_m is not None:
        yield markdown("Standard deviations (a Gaussian's: 68.3, 95.4, 99.7, 1)", [("all joints", calibration(kept))])


def markdown(title: str, rows: Sequence[tuple[str, dict[str, float]]]) -> str:
    """Rows of equal figures as a table; a dash for what there is none of."""
    heads = list(rows[0][1])
    lines = [f"## {title}\n", f"| | {' | '.join(heads)} |", "| --- |" + " ---: |" * len(heads)]
    for name, values in rows:
        digits = (2 if h.startswith(("ratio", "RMS")) else 1 for h in heads)
        cells = ("–" if math.isnan(v) else f"{v:.{d}f}" for v, d in zip(values.values(), digits, strict=True))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--split", default="test", choices=("train", "val", "test"))
    parser.add_argument("--every", type=arguments.count, default=1, metavar="K", help="only every K-th clip")
    parser.add_argument("--seed", type=arguments.seed, default=1)
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="of the engine's matrix products")
    parser.add_argument("--tables", nargs="+", default=[], metavar="WORD", help="only those with a word in their title")
    parser.add_argument("--out", help="also write the page to this file")
    args = parser.parse_args()
    try:
        if args.out:
            check_file("--out", args.out)
        bundle, mocap = bundles.load(model_path(args.model)), load_mocap(CMU, args.split)
        clips = range(0, len(mocap.names), args.every)
        frames = int(mocap.length[list(clips)].sum())
        head = (
            f"# Accuracy of {Path(args.model).stem}\n\n"
            f"`python -m training.accuracy {' '.join(sys.argv[1:])}`: {frames} frames of {len(clips)} clips, split "
            f"{args.split}, seed {args.seed}, model sha256 {bundle.sha256}.\n\n"
            "Errors in mm (MPJVE per frame), root as the median of its error in % of its distance; no output filter, "
            "zero look-ahead and gravity unknown unless said, COCO-17 with detector noise. In 2 std: coordinates "
            "within two of the model's standard deviations (a Gaussian's: 95.4). Ratios are to the first row's MPJPE.\n"
        )
        parts = [head]
        for part in report(bundle, mocap, clips, args.seed, Options(precision=args.precision), args.tables):
            print(part, flush=True)
            parts.append(part)
    except (ValueError, EngineError) as e:
        raise SystemExit(f"accuracy: {e}") from None
    if args.out:
        Path(args.out).write_text("\n".join(parts))


if __name__ == "__main__":
    main()
