"""How accurate a model is on real people: several calibrated cameras see what one camera has to guess.

    python -m training.multiview Calib.toml cam01_json cam02_json cam03_json --rate 60 --up z --models realtime small

One recording for each camera of the calibration, in its order and in any form that ``lift`` reads, frame by frame at
the same time. The truth is the detector's own keypoints, triangulated; each camera's are then lifted by themselves,
through PoseLifter.step, and compared in that camera. The limbs' joints count, about the pelvis: head and trunk are
elsewhere for every detector. Of several people it is the one whom the cameras agree on best.

docs/real.md is made of the demonstration that comes with Pose2Sim (BSD-3-Clause; OpenPose's detections of a man who
balances, four portrait cameras), with ``S=Pose2Sim/S00_Demo_Session``:

    pip download --no-deps pose2sim==0.7.0 && unzip -q pose2sim-0.7.0-py3-none-any.whl "Pose2Sim/S00*"
    python -m training.multiview $S/S00_Calibration/Calib.qca.txt \\
        $S/S00_P00_SingleParticipant/S00_P00_T01_BalancingTrial/pose/cam0?_json --rate 60 --layout body_25b --up z
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from pstmo_ros.core import bundle as bundles
from pstmo_ros.core import layouts, skeleton
from pstmo_ros.core.association import extent
from pstmo_ros.core.types import Floats
from pstmo_ros.engines import EngineError, model_path
from pstmo_ros.engines.engine import Options
from pstmo_ros.formats import Source, read
from pstmo_ros.recording import Recording
from training import accuracy, arguments
from training.detector import HEIGHT_M
from training.outputs import check_file
from training.triangulation import misses, triangulate, triangulate_robustly
from training.views import View, read_calibration

_MIN_SCORE = 0.3
_LIMIT = 0.02  # as rays: 34 pixels of a camera with a focal length of 1700
_CROWD, _CHOICES = 4, 4096  # people of each camera who are considered, the largest, and how many combinations at most
_JOINTS = (skeleton.ROOT, *skeleton.LIMBS)
_UPS = {"x": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0)}
_LEG_M = (0.3, 1.5)  # what people's legs are long, children's too
_MAD = 1.4826  # a Gaussian's standard deviation by its median absolute deviation
_BONES = [(p, j) for p, j in skeleton.BONES if p in skeleton.LIMBS]  # thighs, shins, upper arms and forearms


@dataclasses.dataclass(frozen=True)
class Scene:
    """One person: what each view's camera recorded of them, with the triangulated truth; and how well rays meet."""

    views: list[View]
    recordings: list[Recording]
    miss_px: float
    found: float  # share of the limb joints, of all frames, that could be triangulated


def open_scene(views: Sequence[View], recordings: Sequence[Recording]) -> Scene:
    """The person whom the cameras agree on best, frame by frame. ValueError says what does not fit together."""
    if len(recordings) != len(views):
        names = ", ".join(v.name for v in views)
        raise ValueError(
            f"{len(recordings)} recordings for {len(views)} cameras ({names}); give one for each, in order"
        )
    if len({r.layout for r in recordings}) > 1:
        raise ValueError(f"layouts differ: {', '.join(r.layout for r in recordings)}; all cameras need one detector")
    recordings = _at_once(recordings)
    frames, layout = len(recordings[0].stamps_ns), layouts.get(recordings[0].layout)
    joints = np.full((len(views), frames, len(layout.joints), 3), np.nan, np.float32)
    joints[..., 2] = 0
    crowd = max(1, min(_CROWD, int(_CHOICES ** (1 / len(views))) - 1))
    for t in range(frames):
        people = [_largest(r.keypoints[t])[:crowd] for r in recordings]
        for c, k in enumerate(_same_person(views, [_middles(p, layout) for p in people])):
            if k is not None:
                joints[c, t] = people[c][k]
    rays, weights = _rays(views, joints)
    points = triangulate_robustly(views, rays, weights, _LIMIT)
    off = misses(views, rays, points)
    off = off[np.isfinite(off) & (weights > 0) & (off <= _LIMIT)]
    if not off.size:
        raise ValueError(
            "the cameras agree on nobody; are the recordings simultaneous, and in the calibration's order?"
        )
    truth, _ = layouts.to_model_joints(layout, points, np.isfinite(points[..., 0]).astype(np.float32))
    leg_m = _leg_m(truth)
    if not _LEG_M[0] < leg_m < _LEG_M[1]:
        raise ValueError(
            f"triangulated legs are {leg_m:.3g} m long; is the calibration in another unit? give --unit (0.001 for mm)"
        )
    made = [
        dataclasses.replace(
            r,
            keypoints=joints[c, :, None],
            size_px=(v.camera.width, v.camera.height),
            person_ids=np.zeros((frames, 1), np.int64),
            camera=v.camera,
            truth_m=v.into(truth)[:, None].astype(np.float32),
        )
        for c, (v, r) in enumerate(zip(views, recordings, strict=True))
    ]
    focal = float(np.mean([v.camera.fx for v in views]))
    found = float(np.isfinite(truth[:, list(_JOINTS)]).all(-1).mean())
    return Scene(list(views), made, focal * float(np.median(off)), found)


def _at_once(recordings: Sequence[Recording]) -> list[Recording]:
    """The frames that all cameras have: the nearest stamps, within half a frame. Some files leave frames out.

    ValueError where they share less than half of what the shortest recording has.
    """
    first = recordings[0].stamps_ns
    half_ns = np.median(np.diff(first)) / 2 if len(first) > 1 else 0
    rows = [np.searchsorted((r.stamps_ns[1:] + r.stamps_ns[:-1]) / 2, first) for r in recordings]
    apart = np.abs([r.stamps_ns[row] - first for r, row in zip(recordings, rows, strict=True)]).max(0)
    if (together := apart <= half_ns).sum() < min(len(r.stamps_ns) for r in recordings) / 2:
        raise ValueError(f"cameras share {together.sum()} frames' stamps; let all recordings' stamps be of one clock")
    return [
        dataclasses.replace(r, keypoints=r.keypoints[row[together]], stamps_ns=first[together])
        for r, row in zip(recordings, rows, strict=True)
    ]


def _leg_m(truth_m: Floats) -> float:
    """Median length from hip to ankle; 1 where no leg is seen."""
    chains = [[skeleton.index(f"{side}_{joint}") for joint in ("hip", "knee", "ankle")] for side in ("left", "right")]
    lengths = np.array([np.linalg.norm(np.diff(truth_m[:, c], axis=1), axis=-1).sum(-1) for c in chains])
    return float(np.nanmedian(lengths)) if np.isfinite(lengths).any() else 1.0


def _largest(people: Floats) -> Floats:
    """People (P, J, 3) -> those of whom four joints are seen, the largest first."""
    seen_px = _seen(people)
    there = np.isfinite(seen_px[..., 0]).sum(-1) >= 4
    return people[there][np.argsort(-extent(seen_px[there]))]


def _seen(keypoints: Floats) -> Floats:
    """Keypoints (…, 3) in pixels -> (…, 2), NaN for doubtful ones."""
    return np.where(keypoints[..., 2:] >= _MIN_SCORE, keypoints[..., :2], np.nan)


def _middles(people: Floats, layout: layouts.Layout) -> Floats:
    """People (P, J, 3), each joint between both sides': they are the same people if a detector swaps the sides."""
    other = people[:, [layout.joints.index(skeleton.mirrored_name(n)) for n in layout.joints]]
    return np.concatenate([(people[..., :2] + other[..., :2]) / 2, np.minimum(people[..., 2:], other[..., 2:])], -1)


def _same_person(views: Sequence[View], people: Sequence[Floats]) -> tuple[int | None, ...]:
    """Which of each camera's people (P, J, 3) are one, None for unseen: by most cameras, then by the best fit."""
    best: tuple[int | None, ...] = (None,) * len(views)
    rank = (1, -np.inf)
    for choice in itertools.product(*([*range(len(p)), None] for p in people)):
        seen = [c for c, k in enumerate(choice) if k is not None]
        if len(seen) < max(2, rank[0]):
            continue
        chosen = [views[c] for c in seen]
        rays, weights = _rays(chosen, np.stack([people[c][choice[c]] for c in seen]))
        off = np.where(weights > 0, misses(chosen, rays, triangulate(chosen, rays, weights)), np.nan)
        fit = -max((float(np.median(o[np.isfinite(o)])) for o in off if np.isfinite(o).any()), default=np.inf)
        if fit >= -_LIMIT and (len(seen), fit) > rank:
            best, rank = choice, (len(seen), fit)
    return best


def _rays(views: Sequence[View], joints: Floats) -> tuple[Floats, Floats]:
    """Keypoints (C, …, 3) in pixels -> rays (C, …, 2) and weights (C, …), 0 for doubtful ones."""
    seen_px = _seen(joints)
    rays = np.stack([v.camera.rays(p) for v, p in zip(views, seen_px, strict=True)])
    return rays, np.where(np.isfinite(seen_px[..., 0]), joints[..., 2], 0)


def report(scene: Scene, lifters: accuracy.Lifters, up: str = "") -> str:
    """Each camera's figures and all cameras' as tables: with down unknown, and known where the world has an ``up``."""
    tables = []
    for title, known in (("Where down is: unknown", False), ("Where down is: known", True)):
        if known and not up:
            continue
        rows, everything = [], []
        for view, recording in zip(scene.views, scene.recordings, strict=True):
            if known:
                x, y, z = (-view.rotation @ np.array(_UPS[up])).tolist()
                assert recording.camera is not None
                recording = dataclasses.replace(recording, camera=dataclasses.replace(recording.camera, down=(x, y, z)))
            run = _scored(accuracy.run(recording, lifters(0.0), ""))
            everything.append(run)
            rows.append((view.name, _figures([run])))
        tables.append(accuracy.markdown(title, [*rows, ("all cameras", _figures(everything))]))
    return "\n".join(tables)


def noise(scene: Scene) -> str:
    """How the detector errs, as training.detector makes it, a table in % of the person's apparent height.

    bias: from joint to joint and camera to camera, over the whole recording; drift: around it; jitter: the white part.
    """
    errors: dict[str, list[list[float]]] = {}
    for view, recording in zip(scene.views, scene.recordings, strict=True):
        assert recording.truth_m is not None
        truth, xy = recording.truth_m[:, 0], recording.keypoints[:, 0, :, :2]
        found, _ = layouts.to_model_joints(layouts.get(recording.layout), xy, recording.keypoints[:, 0, :, 2])
        height_px = HEIGHT_M * view.camera.fx / np.nanmedian(truth[:, skeleton.ROOT, 2])
        off = 100 * (found - view.camera.project(truth)) / height_px
        for j in skeleton.LIMBS:
            seen = off[np.isfinite(off[:, j]).all(-1), j]
            if len(seen) < 3:
                continue
            bias = np.median(seen, 0)
            white = seen[2:] - 2 * seen[1:-1] + seen[:-2]
            spreads = [_MAD * float(np.median(np.abs(x))) for x in (seen - bias, white / np.sqrt(6))]
            errors.setdefault(skeleton.JOINTS[j].partition("_")[2], []).append(
                [float(np.sqrt((bias**2).mean())), *spreads]
            )
    if not errors:
        raise ValueError("no limb joint is triangulated in three frames; give longer recordings")
    rows = []
    for part, each in errors.items():
        bias, drift, jitter = (float(np.sqrt(np.mean(np.square(column)))) for column in zip(*each, strict=True))
        rows.append((part, {"bias %": bias, "drift %": drift, "jitter %": jitter}))
    return accuracy.markdown("The detector's own errors", rows)


def _scored(run: accuracy.Run) -> accuracy.Run:
    """A run without the frames in which a joint that counts has no truth; joints that do not count may have none."""
    truth = run.truth_m
    known = truth[:, list(_JOINTS)].isfinite().all(-1).all(-1)
    poses = torch.where(known[:, None, None], run.poses_m, torch.nan)
    return dataclasses.replace(run, poses_m=poses, truth_m=truth.nan_to_num())


def _figures(runs: Sequence[accuracy.Run]) -> dict[str, float]:
    """As training.accuracy's tables, and how much longer limbs are than they should be, in %."""
    values = accuracy.figures(runs, _JOINTS) | accuracy.covered(runs, _JOINTS)
    lengths = []
    for poses in (torch.cat([r.poses_m for r in runs]), torch.cat([r.truth_m for r in runs])):
        lengths.append(sum((poses[:, j] - poses[:, p]).norm(dim=-1) for p, j in _BONES))
    return values | {"limbs %": 100 * ((lengths[0] / lengths[1]).nanmedian().item() - 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("calibration", help="Qualisys' .qca.txt, or a .toml as Pose2Sim and anipose write it")
    parser.add_argument("recordings", nargs="+", help="one for each camera, in the calibration's order")
    parser.add_argument("--models", nargs="+", default=["realtime"], help="model files, or names of bundled ones")
    parser.add_argument(
        "--rate", type=arguments.number(float, 0), default=0.0, metavar="HZ", help="frames per second, for JSON"
    )
    parser.add_argument("--layout", default="", help="keypoint order, where the files leave it open")
    parser.add_argument("--up", choices=tuple(_UPS), default="", help="the world's axis that points up, if one does")
    parser.add_argument(
        "--unit",
        type=arguments.number(float, 1e-6, 1000),
        default=1.0,
        metavar="METRES",
        help="of a .toml's translations",
    )
    parser.add_argument("--out", help="also write the page to this file")
    args = parser.parse_args()
    try:
        if args.out:
            check_file("--out", args.out)
        views = read_calibration(args.calibration, args.unit)
        sizes = [(v.camera.width, v.camera.height) for v in views]
        sources = [Source(rate_hz=args.rate, size_px=size, layout=args.layout) for size in sizes]
        # All are read, even if there are more than cameras: open_scene says what does not fit together.
        scene = open_scene(views, [read(r, s) for r, s in zip(args.recordings, itertools.cycle(sources))])
        page = f"{_head(scene)}\n{noise(scene)}"
        for model in args.models:
            bundle = bundles.load(model_path(model))
            title = f"# {Path(model).stem}\n\nModel sha256 {bundle.sha256}.\n"
            up = args.up if bundle.config.gravity else ""
            page += f"\n{title}\n{report(scene, accuracy.of_bundle(bundle, Options(precision='fp32')), up)}"
    except (ValueError, EngineError) as e:
        raise SystemExit(f"multiview: {e}") from None
    print(page)
    if args.out:
        Path(args.out).write_text(page)


def _head(scene: Scene) -> str:
    frames, layout = len(scene.recordings[0].stamps_ns), scene.recordings[0].layout
    return (
        "# Accuracy on real people\n\n"
        f"`python -m training.multiview {' '.join(sys.argv[1:])}`: {frames} frames of {len(scene.views)} cameras, "
        f"layout {layout}. Limbs and pelvis are triangulated in {100 * scene.found:.0f} % of the frames; the cameras' "
        f"keypoints are {scene.miss_px:.0f} pixels from the points in the median.\n\n"
        "Errors in mm (MPJVE per frame) of the limbs' joints about the pelvis, root as the median of its error in % of "
        "its distance, in 2 std: coordinates within two of the model's standard deviations, limbs as the median of how "
        "much longer they are than triangulated; no output filter, zero look-ahead.\n"
    )


if __name__ == "__main__":
    main()
