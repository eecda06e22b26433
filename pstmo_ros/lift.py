"""The node's PoseLifter over a recording.

    python -m pstmo_ros.lift IN.npz OUT.npz [--model M] [--engine E] [--look-ahead SECONDS]

IN: see pstmo_ros.recording. OUT: stamps_ns (T,), person_ids (T, P), poses_m (T, P, 17, 3) in the camera frame,
poses_root_m (T, P, 17, 3) relative to the pelvis, scores (T, P, 17); NaN (and id -1) where there is nobody.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from pstmo_ros.core import bundle as bundles
from pstmo_ros.core import skeleton
from pstmo_ros.core.pipeline import LifterConfig, PoseLifter
from pstmo_ros.core.smoothing import SmoothingConfig
from pstmo_ros.core.types import Floats, Pose3D
from pstmo_ros.engines import CHOICES, EngineError, load_engine, model_path
from pstmo_ros.recording import Recording, load_recording


@dataclass(frozen=True)
class Lifted:
    """Poses of a recording: T frames, up to P people; see the module's OUT."""

    stamps_ns: npt.NDArray[np.int64]
    person_ids: npt.NDArray[np.int64]
    poses_m: Floats
    poses_root_m: Floats
    scores: Floats


def lift(recording: Recording, lifter: PoseLifter, progress: bool = False) -> Lifted:
    """Every pose of a recording, at the frames' own stamps whatever the look-ahead."""
    at: dict[int, list[Pose3D]] = {int(s): [] for s in recording.stamps_ns}
    for pose in _poses(recording, lifter, progress):
        at[pose.stamp_ns].append(pose)
    rows = list(at.values())
    shape = (len(rows), max(map(len, rows), default=0))
    ids = np.full(shape, -1, np.int64)
    poses, roots = (np.full((*shape, skeleton.J, 3), np.nan, np.float32) for _ in range(2))
    scores = np.zeros((*shape, skeleton.J), np.float32)
    for t, row in enumerate(rows):
        for p, pose in enumerate(row):
            ids[t, p], roots[t, p], scores[t, p] = pose.person_id, pose.root_relative_m, pose.scores
            if pose.position_m is not None:
                poses[t, p] = pose.position_m
    return Lifted(np.fromiter(at, np.int64, len(at)), ids, poses, roots, scores)


def _poses(recording: Recording, lifter: PoseLifter, progress: bool) -> Iterator[Pose3D]:
    for frame in tqdm(recording.frames(), total=len(recording.stamps_ns), unit="frame", disable=not progress):
        yield from lifter.step(frame, recording.camera)
    yield from lifter.flush(recording.size_px, recording.camera)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", metavar="IN.npz")
    parser.add_argument("output", metavar="OUT.npz")
    parser.add_argument("--model", default="realtime", help="a bundled model's name or a .safetensors file")
    parser.add_argument("--engine", default="auto", choices=CHOICES)
    parser.add_argument("--look-ahead", type=float, default=0.0, metavar="SECONDS", help="future seen by each pose")
    parser.add_argument("--no-smoothing", action="store_true", help="leave the output filter off")
    args = parser.parse_args()
    try:
        recording = load_recording(args.input)
        bundle = bundles.load(model_path(args.model)).at(args.look_ahead)
        config = LifterConfig(args.look_ahead, smoothing=SmoothingConfig(enabled=not args.no_smoothing))
        lifted = lift(recording, PoseLifter(bundle, load_engine(bundle, args.engine), config), progress=True)
    except (ValueError, EngineError) as e:
        raise SystemExit(f"lift: {e}") from None
    Path(args.output).parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(args.output, **vars(lifted))
    people = len(np.unique(lifted.person_ids[lifted.person_ids >= 0]))
    print(f"{args.output}: {len(lifted.stamps_ns)} frames, {people} people")


if __name__ == "__main__":
    main()
