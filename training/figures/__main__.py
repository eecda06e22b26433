"""The paper's figures from your own models and results, as PNG files.

    python -m training.figures attention MODEL                # Figs. 9, 10: TEM and MOFA in Stage II
    python -m training.figures attention-stage-one STAGE_ONE  # Figs. 7, 8: TEM and the decoder in Stage I
    python -m training.figures recovery STAGE_ONE             # Fig. 6: what Stage I makes of a masked window
    python -m training.figures strips MODEL [MODEL ...]       # Fig. 4; with --recording FILE.npz, Fig. 11
    python -m training.figures masking runs/ablation/*/result.json  # Fig. 5, after training.ablate masking

Windows come from a test clip of the open mocap set before a virtual camera and detector (--clip, --seed).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from pstmo_ros.core import bundle as bundles
from pstmo_ros.core import layouts
from pstmo_ros.core.gravity import with_down
from pstmo_ros.core.layouts import nearest
from pstmo_ros.core.pipeline import LifterConfig, PoseLifter
from pstmo_ros.core.smoothing import SmoothingConfig
from pstmo_ros.core.types import Floats
from pstmo_ros.core.window import WindowSpec
from pstmo_ros.engines import EngineError, load_engine, model_path
from pstmo_ros.lift import lift
from pstmo_ros.recording import Recording, load_recording
from training import arguments
from training.detector import DetectorConfig
from training.figures.attention import draw_maps, stage_one_maps, stage_two_maps
from training.figures.curves import draw_masking, load_trials
from training.figures.skeletons import draw_recovery, draw_strips
from training.lifting import recording_clip
from training.mocap import CMU, load_mocap
from training.mpm import MaskedPoseModel, MaskingConfig, Masks, draw_masks, load_stage_one
from training.outputs import check_folder
from training.recorded import RecordedWindows
from training.synthesis import NO_NOISE, record_clip

CLIP = "cmu/06_13"  # basketball


def main() -> None:
    args = _arguments()
    try:
        folder = check_folder("--out", args.out)
        figures = args.draw(args)
    except (ValueError, EngineError) as e:
        raise SystemExit(f"figures: {e}") from None
    for name, figure in figures.items():
        path = folder / f"{name}.png"
        figure.savefig(path, dpi=150)
        print(path)


def attention(args: argparse.Namespace) -> dict[str, Figure]:
    """TEM and MOFA in Stage II: mean maps over some windows of the clip."""
    bundle = bundles.load(model_path(args.model))
    windows = _windows(args, bundle.config.window, bundle.normalization)
    if bundle.config.gravity:
        windows = torch.from_numpy(with_down(windows.numpy(), None))
    maps = stage_two_maps(bundle.model, windows)
    return {f"stage_two_{n.lower()}": draw_maps(m, 2 if n == "MOFA" else 8) for n, m in maps.items()}


def attention_stage_one(args: argparse.Namespace) -> dict[str, Figure]:
    """TEM and the decoder in Stage I: mean maps over some windows of the clip, each under masks of its own."""
    model, windows, masks = _masked(args)
    maps = stage_one_maps(model, windows, masks)
    marked = {"TEM": None, "decoder": masks.visible.shape[1]}
    return {f"stage_one_{n.lower()}": draw_maps(m, marked=marked[n]) for n, m in maps.items()}


@torch.no_grad()
def recovery(args: argparse.Namespace) -> dict[str, Figure]:
    """Some frames of the first window."""
    model, windows, masks = _masked(args, NO_NOISE)  # joints that a detector missed would look like masked ones
    target = model.target(windows)
    recovered = model(target, masks)[0].numpy()
    frames = len(recovered)
    visible, hidden = np.zeros(frames, bool), np.zeros(target.shape[1:3], bool)
    visible[masks.visible[0]] = True
    hidden[masks.visible[0]] = masks.hidden[0]
    shown = np.unique(np.linspace(0, frames - 1, args.moments).round().astype(int)).tolist()
    return {"stage_one_recovery": draw_recovery(target[0].numpy(), recovered, visible, hidden, shown)}


def strips(args: argparse.Namespace) -> dict[str, Figure]:
    """--moments evenly spaced moments of the clip, or of one person of a recording."""
    recording = load_recording(args.recording) if args.recording else _record(args)
    shown = np.linspace(0, len(recording.stamps_ns) - 1, args.moments + 2).round().astype(int)[1:-1]
    person = args.person
    if not 0 <= person < recording.keypoints.shape[1]:
        raise ValueError(f"--person is {person}; the recording has {recording.keypoints.shape[1]}, counted from 0")
    alone = Recording(recording.keypoints[:, [person]], recording.stamps_ns, recording.size_px, recording.layout,
                      np.ones((len(recording.stamps_ns), 1), np.int64), recording.camera)  # fmt: skip
    poses = {n: _lifted(alone, m, args.look_ahead)[shown] for n, m in _named(args.models).items()}
    keypoints = recording.keypoints[shown, person]
    joints, _ = layouts.to_model_joints(layouts.get(recording.layout), keypoints[..., :2], keypoints[..., 2])
    truth = None if recording.truth_m is None else recording.truth_m[shown, person]
    captions = [f"{(recording.stamps_ns[t] - recording.stamps_ns[0]) / 1e9:.1f} s" for t in shown]
    relative = None if truth is None else truth - truth[:, :1]
    return {"strips": draw_strips(joints, poses, captions, relative)}


def masking(args: argparse.Namespace) -> dict[str, Figure]:
    """The error over the masking ratio, a panel for each strategy."""
    return {"masking_ratio": draw_masking(load_trials([Path(p) for p in args.results]))}


def _named(models: Sequence[str]) -> dict[str, str]:
    """Models by what their rows are called: the file's name, with its folder's where others are named alike."""
    stems = [Path(m).stem for m in models]
    return {n if stems.count(n) == 1 else f"{Path(m).parent.name}/{n}": m for n, m in zip(stems, models, strict=True)}


def _lifted(recording: Recording, model: str, look_ahead_s: float) -> Floats:
    """A recording of one person by the node's own pipeline, (T, 17, 3) root-relative; NaN where there is no pose."""
    bundle = bundles.load(model_path(model)).at(look_ahead_s)
    config = LifterConfig(look_ahead_s, smoothing=SmoothingConfig(enabled=False))
    poses = lift(recording, PoseLifter(bundle, load_engine(bundle, "torch"), config)).poses_root_m
    return poses[:, 0] if poses.shape[1] else np.full((len(poses), 17, 3), np.nan)


def _record(args: argparse.Namespace, detector: DetectorConfig | None = None) -> Recording:
    mocap = load_mocap(CMU, "test")
    if args.clip not in mocap.names:
        raise ValueError(f"--clip is {args.clip!r}; {nearest(args.clip, mocap.names)}")
    return record_clip(mocap, mocap.names.index(args.clip), detector=detector, seed=args.seed)


def _windows(
    args: argparse.Namespace, spec: WindowSpec, normalization: str, detector: DetectorConfig | None = None
) -> Tensor:
    """Evenly spaced windows of the clip, (B, N, 17, 2) model coordinates."""
    windows = RecordedWindows([recording_clip(_record(args, detector), "", "", "", 50.0)], spec, normalization)
    return windows.windows(torch.linspace(0, len(windows) - 1, args.windows + 2).long()[1:-1]).joints


def _masked(args: argparse.Namespace, detector: DetectorConfig | None = None) -> tuple[MaskedPoseModel, Tensor, Masks]:
    """A Stage I model, windows, and masks as its training drew them."""
    model, metadata = load_stage_one(args.model)
    config = MaskingConfig(**metadata["training"].get("config", {}).get("masking", {}))
    windows = _windows(args, model.config.window, metadata["normalization"], detector)
    generator = torch.Generator().manual_seed(args.seed)
    return model, windows, draw_masks(len(windows), windows.shape[1], config, generator, "cpu")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="FIGURE")

    def command(name: str, draw: Callable[[argparse.Namespace], dict[str, Figure]]) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=(draw.__doc__ or "").splitlines()[0])
        made.set_defaults(draw=draw)
        made.add_argument("--out", default="runs/figures", help="folder; default runs/figures")
        return made

    def clip(made: argparse.ArgumentParser) -> argparse.ArgumentParser:
        made.add_argument("--clip", default=CLIP, help=f"clip of the open set's test split; default {CLIP}")
        made.add_argument("--seed", type=arguments.seed, default=1)
        return made

    for name, draw in (("attention", attention), ("attention-stage-one", attention_stage_one), ("recovery", recovery)):
        made = clip(command(name, draw))
        made.add_argument("model", help="a model file" if draw is attention else "a Stage I checkpoint")
        made.add_argument("--windows", type=arguments.count, default=16, help="windows of the clip, evenly spaced")
        made.add_argument("--moments", type=arguments.count, default=9, help="recovery: frames shown")
    made = clip(command("strips", strips))
    made.add_argument("models", nargs="+", metavar="MODEL", help="model files or bundled models' names")
    made.add_argument("--recording", help="2D keypoints of your own (.npz, see pstmo_ros.recording)")
    made.add_argument("--person", type=int, default=0, help="which person of the recording")
    made.add_argument("--look-ahead", type=float, default=0.0, metavar="SECONDS")
    made.add_argument("--moments", type=arguments.count, default=6)
    command("masking", masking).add_argument("results", nargs="+", metavar="result.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
