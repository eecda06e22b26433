"""Accuracy of a model file (paper sections 4.2, A.7).

    python -m training.evaluate MODEL --data mocap               # the open set, through the node's PoseLifter.step
    python -m training.evaluate MODEL --data h36m --folder DIR   # Table 1, from VideoPose3D's npz files
    python -m training.evaluate MODEL --data 3dhp --folder DIR   # Table 2, from the authors' npz files

MODEL is a model file or a bundled model's name. Prints Markdown; writes report.json, report.md and plots to --out.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import logging
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pstmo_ros.core import bundle as bundles
from pstmo_ros.core.bundle import Bundle
from pstmo_ros.engines import CHOICES, EngineError, Options, load_engine, model_path
from pstmo_ros.recording import Recording
from training import arguments
from training.datasets.clips import Clip
from training.datasets.dhp import load_dhp
from training.datasets.h36m import ACTIONS, KEYPOINTS, RATE_HZ, load_h36m
from training.detector import DetectorConfig
from training.lifting import (
    Result,
    Run,
    WindowOptions,
    flip_averaged,
    lift_clips,
    lift_recording,
    recording_clip,
    with_noise,
)
from training.mocap import CMU, load_mocap
from training.outputs import check_folder
from training.reports import write_report
from training.scores import Figures, action_family, by, figures, mean_of_groups
from training.synthesis import NO_NOISE, record_clip

SIGMAS = (0.01, 0.03, 0.05)  # Table 8
Model = Callable[[float | None], tuple[Bundle, Run]]  # look-ahead seconds (None: the longest) -> what answers for it


def main() -> None:
    args = _arguments()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        bundle = bundles.load(model_path(args.model))
        folder = check_folder("--out", args.out or f"runs/evaluation/{Path(args.model).stem}-{args.data}-{args.split}")
        for look_ahead_s in args.sweep or ():
            bundle.at(look_ahead_s)  # refused now, not after the hours that all else takes
        _check_rate(args, bundle)
        report, results = evaluate(args, lambda look_ahead_s: _asked(args, bundle, look_ahead_s))
    except (ValueError, EngineError) as e:
        raise SystemExit(f"evaluate: {e}") from None
    source = {
        "command": "python -m training.evaluate " + " ".join(sys.argv[1:]),
        "model": str(args.model),
        "sha256": bundle.sha256,
        "engine": args.engine,
        "data": args.data,
        "split": args.split,
        "seed": args.seed,
    }
    print(write_report(folder, source | report, results))
    print(f"written to {folder}/")


def _asked(args: argparse.Namespace, bundle: Bundle, look_ahead_s: float | None) -> tuple[Bundle, Run]:
    """The model asked for the pose at a look-ahead (None: its longest), and what runs it."""
    at = bundle.at(bundle.config.longest_look_ahead_s if look_ahead_s is None else look_ahead_s)
    engine = load_engine(at, args.engine, Options(precision="fp32"))
    return at, flip_averaged(engine, _detected_layout(args)) if args.flip else engine


def evaluate(args: argparse.Namespace, model: Model) -> tuple[dict[str, Any], list[Result]]:
    """Run the evaluation that the arguments ask for; the report's figures and the main results behind them."""
    model = functools.cache(model)
    lift = _mocap_lifter(args, model) if args.data == "mocap" else _window_lifter(args, model)
    results = lift(args.look_ahead, False)
    report: dict[str, Any] = {"protocol": _protocol(args, model(args.look_ahead)[0])} | _grouped(args.data, results)
    if args.data == "mocap" and not args.fast:
        report["extra"] = {"all frames, smoothing on": figures(lift(args.look_ahead, True))}
    if args.robustness:
        report["robustness"] = _robustness(args, model)
    if args.sweep:
        report["look_ahead"] = {f"{s:g}": figures(lift(s, False)) for s in args.sweep}
    return report, results


def _check_rate(args: argparse.Namespace, bundle: Bundle) -> None:
    """ValueError where batches of windows, which count a clip's frames, would have another rate than the model's."""
    if args.data == "3dhp" or (args.data == "mocap" and not (args.fast or args.robustness)):
        return
    rate_hz = RATE_HZ if args.data == "h36m" else load_mocap(args.folder or CMU, args.split).rate_hz
    if not math.isclose(own := bundle.config.rate_hz, rate_hz, rel_tol=1e-3):
        way = "leave out --fast and --robustness" if args.data == "mocap" else "give a model of that rate"
        raise ValueError(f"the model has model.rate_hz={own:g} and the clips {rate_hz:g} frames per second; {way}")


def recordings(args: argparse.Namespace, detector: DetectorConfig) -> Iterator[tuple[Recording, str, str, str, float]]:
    """The open set's split before virtual cameras: (recording, subject, action family, view, rate)."""
    mocap = load_mocap(args.folder or CMU, args.split)
    clips = range(len(mocap.names) if args.clips is None else min(args.clips, len(mocap.names)))
    for i in tqdm(clips, unit="clip", disable=not sys.stderr.isatty()):
        for view in range(args.views):
            recording = record_clip(mocap, i, view, layout=args.layout, detector=detector, seed=args.seed)
            family = action_family(mocap.subjects[i], mocap.actions[i])
            yield recording, mocap.subjects[i], family, f"{mocap.names[i]} view {view}", mocap.rate_hz


Lift = Callable[[float | None, bool], list[Result]]  # (look-ahead seconds, smoothing) -> results


def _mocap_lifter(args: argparse.Namespace, model: Model) -> Lift:
    def stream(look_ahead_s: float | None, smooth: bool) -> list[Result]:
        bundle, run = model(look_ahead_s or 0.0)
        return [
            lift_recording(recording, subject, family, view, bundle, run, look_ahead_s or 0.0, smooth)
            for recording, subject, family, view, _ in recordings(args, DetectorConfig())
        ]

    def windows(look_ahead_s: float | None, _: bool) -> list[Result]:
        bundle, run = model(look_ahead_s or 0.0)
        clips = _mocap_clips(args, DetectorConfig())
        return lift_clips(clips, bundle, run, _options(args, bundle, look_ahead_s or 0.0))

    return windows if args.fast else stream


def _window_lifter(args: argparse.Namespace, model: Model) -> Lift:
    clips = _clips(args)

    def windows(look_ahead_s: float | None, _: bool) -> list[Result]:
        bundle, run = model(look_ahead_s)
        return lift_clips(clips, bundle, run, _options(args, bundle, look_ahead_s))

    return windows


def _clips(args: argparse.Namespace) -> list[Clip]:
    clips = (
        load_h36m(args.folder, args.split, args.keypoints) if args.data == "h36m" else load_dhp(args.folder, args.split)
    )
    return clips[: args.clips]


def _mocap_clips(args: argparse.Namespace, detector: DetectorConfig) -> list[Clip]:
    return [recording_clip(*r) for r in recordings(args, detector)]


def _options(args: argparse.Namespace, bundle: Bundle, look_ahead_s: float | None) -> WindowOptions:
    frames = None if look_ahead_s is None else round(look_ahead_s * bundle.config.window.rate_hz)
    return WindowOptions(args.as_detected, frames)


def _robustness(args: argparse.Namespace, model: Model) -> dict[str, Figures]:
    """Table 8: clean keypoints, the same with Gaussian noise, and with each window's frames in random order.

    Whole windows, as the paper's, where no look-ahead is asked for.
    """
    mocap, (bundle, run) = args.data == "mocap", model(args.look_ahead)
    clean = _mocap_clips(args, NO_NOISE) if mocap else _clips(args)
    options = _options(args, bundle, args.look_ahead)
    name = "GT" if mocap or args.keypoints == "gt" or args.data == "3dhp" else args.keypoints
    rows = {name: lift_clips(clean, bundle, run, options)}
    for sigma in SIGMAS:
        noisy = list(with_noise(clean, sigma, args.seed))
        rows[f"{name} + N(0, {sigma})"] = lift_clips(noisy, bundle, run, options)
    shuffled = dataclasses.replace(options, shuffle_seed=args.seed)
    rows[f"{name} + random shuffle"] = lift_clips(clean, bundle, run, shuffled)
    if mocap:
        rows["virtual detector"] = lift_clips(_mocap_clips(args, DetectorConfig()), bundle, run, options)
    return {row: _grouped(args.data, results)["overall"] for row, results in rows.items()}


def _grouped(data: str, results: list[Result]) -> dict[str, Any]:
    """Figures by action (mocap, Human3.6M) or sequence (3DHP), and over all as the data set's tables do it."""
    if data == "3dhp":
        return {"groups": by(results, lambda r: r.subject), "overall": figures(results)}
    groups = by(results, lambda r: r.action)
    if data == "h36m":
        groups = {a: groups[a] for a in ACTIONS if a in groups} | groups
        return {"groups": groups, "overall": mean_of_groups(groups)}
    return {"groups": groups, "overall": figures(results)}


def _protocol(args: argparse.Namespace, bundle: Bundle) -> str:
    spec = bundle.config.window
    look_ahead = f"look-ahead {args.look_ahead or 0:g} s" if args.data == "mocap" else "whole windows"
    if args.data != "mocap" and args.look_ahead is not None:
        look_ahead = f"look-ahead {args.look_ahead:g} s"
    how = "PoseLifter.step at each frame" if args.data == "mocap" and not args.fast else "batches of windows"
    return f"{how}, N = {spec.frames}, stride {spec.stride}, {look_ahead}" + (", test-time flip" if args.flip else "")


def _detected_layout(args: argparse.Namespace) -> str | None:
    return KEYPOINTS[args.keypoints] if args.as_detected else None


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--data", required=True, choices=("mocap", "h36m", "3dhp"))
    parser.add_argument(
        "--folder", help="folder of the data set's npz files; for mocap another npz file than the open set"
    )
    parser.add_argument("--split", default="test", help="train, val or test; for h36m also the splits of paper A.7")
    parser.add_argument(
        "--keypoints", default="cpn_ft_h36m_dbb", choices=tuple(KEYPOINTS), help="h36m: which detector's"
    )
    parser.add_argument("--as-detected", action="store_true", help="h36m: keypoints in the detector's own order")
    parser.add_argument("--layout", default="coco_17", help="mocap: keypoint order of the virtual detector")
    parser.add_argument("--views", type=arguments.count, default=1, help="mocap: virtual cameras per clip")
    parser.add_argument("--clips", type=arguments.count, help="only the first so many clips")
    parser.add_argument("--engine", default="auto", choices=CHOICES)
    parser.add_argument("--look-ahead", type=float, help="seconds; default 0 for mocap, all a window spans otherwise")
    parser.add_argument("--sweep", type=float, nargs="+", metavar="S", help="also these look-aheads, in seconds")
    parser.add_argument("--robustness", action="store_true", help="also Table 8's rows")
    parser.add_argument("--flip", action="store_true", help="average with the mirrored input's pose")
    parser.add_argument(
        "--fast",
        action="store_true",
        help="mocap: batches of windows instead of PoseLifter.step, for models of the clips' rate; "
        "short gaps are not bridged",
    )
    parser.add_argument("--seed", type=arguments.seed, default=1)
    parser.add_argument("--out", help="folder of the report; default runs/evaluation/…")
    args = parser.parse_args()
    if args.data != "mocap" and not args.folder:
        parser.error(f"--data {args.data} needs --folder: where its npz files are")
    if args.as_detected and args.data != "h36m":
        parser.error(f"--as-detected is for --data h36m, not {args.data}")
    return args


if __name__ == "__main__":
    main()
