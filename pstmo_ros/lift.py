"""The node's PoseLifter over a recording.

    python -m pstmo_ros.lift IN OUT [--model M] [--engine E] [--look-ahead SECONDS] [--down X Y Z]

IN: .npz (see pstmo_ros.recording), a rosbag2, or detectors' JSON (OpenPose, AlphaPose, MMPose, RTMLib), which needs
--rate and --size. OUT, by its ending:

.npz  the fields of ``pstmo_ros.recording.Lifted``
.csv  one row per person and frame          .bvh  a file per person: OUT_ID.bvh, bones of constant length
.mp4  keypoints beside skeletons            .mcap, or no ending: a rosbag2 of keypoints, camera_info and skeletons
Without a camera, all but .npz hold the poses relative to the pelvis.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from pstmo_ros.core import bundle as bundles
from pstmo_ros.core import layouts, skeleton
from pstmo_ros.core.layouts import nearest
from pstmo_ros.core.pipeline import LifterConfig, PoseLifter
from pstmo_ros.core.smoothing import SmoothingConfig
from pstmo_ros.core.tracks import TrackConfig
from pstmo_ros.core.types import Pose3D
from pstmo_ros.engines import CHOICES, EngineError, load_engine, model_path
from pstmo_ros.formats import add_source_options, read, source_from
from pstmo_ros.formats.bvh import write_bvh
from pstmo_ros.formats.tables import write_csv
from pstmo_ros.recording import Lifted, Recording

VIDEO_FPS = 10.0
Write = Callable[[Path, Recording, Lifted], None]


def lift(recording: Recording, lifter: PoseLifter, progress: bool = False) -> Lifted:
    """Every pose of a recording, at the frames' own stamps whatever the look-ahead.

    Frames of one stamp, as of detectors that send a message per person, are one frame then.
    """
    at: dict[int, list[Pose3D]] = {s: [] for s in np.unique(recording.stamps_ns).tolist()}
    for pose in _poses(recording, lifter, progress):
        at[pose.stamp_ns].append(pose)
    rows = list(at.values())
    shape = (len(rows), max(map(len, rows), default=0))
    ids = np.full(shape, -1, np.int64)
    poses, roots, velocities = (np.full((*shape, skeleton.J, 3), np.nan, np.float32) for _ in range(3))
    std, scores = np.full((*shape, skeleton.J), np.nan, np.float32), np.zeros((*shape, skeleton.J), np.float32)
    for t, row in enumerate(rows):
        for p, pose in enumerate(row):
            ids[t, p], roots[t, p], scores[t, p] = pose.person_id, pose.root_relative_m, pose.scores
            velocities[t, p] = pose.velocity_m_s
            if pose.position_m is not None:
                poses[t, p] = pose.position_m
            if pose.std_m is not None:
                std[t, p] = pose.std_m
    placed = recording.camera is not None
    return Lifted(np.fromiter(at, np.int64, len(at)), ids, poses, roots, scores, velocities, std, placed)


def _poses(recording: Recording, lifter: PoseLifter, progress: bool) -> Iterator[Pose3D]:
    for frame in tqdm(recording.frames(), total=len(recording.stamps_ns), unit="frame", disable=not progress):
        yield from lifter.step(frame, recording.camera)
    yield from lifter.flush(recording.size_px, recording.camera)


def writer(output: str) -> Write:
    """What writes a file of that name. ValueError names the endings that are known, or the packages that one lacks."""
    suffix, rosbag = Path(output).suffix, (_bag, ("rosbags",))
    writers: dict[str, tuple[Write, tuple[str, ...]]] = {  # and the packages that each needs
        **{".npz": (_npz, ()), ".csv": (_csv, ()), ".bvh": (_bvh, ())},
        **{".mp4": (_video, ("matplotlib", "imageio-ffmpeg")), ".mcap": rosbag, "": rosbag},
    }
    if suffix not in writers:
        raise ValueError(
            f"output {output!r}: ending {suffix!r} is unknown; {nearest(suffix, [s for s in writers if s])}; "
            "or none, for a rosbag2 folder"
        )
    write, packages = writers[suffix]
    if lacks := [n for n in packages if importlib.util.find_spec(n.replace("-", "_")) is None]:
        raise ValueError(f"output {output!r} needs {' and '.join(lacks)}: pip install {' '.join(lacks)}")
    return write


def _npz(path: Path, recording: Recording, lifted: Lifted) -> None:
    np.savez_compressed(path, **vars(lifted))


def _csv(path: Path, recording: Recording, lifted: Lifted) -> None:
    write_csv(path, lifted)


def _bvh(path: Path, recording: Recording, lifted: Lifted) -> None:
    """One file per person, from their first pose to their last, at even steps; gaps are bridged in straight lines."""
    poses, period_ns = lifted.shown_m, float(np.median(np.diff(lifted.stamps_ns)) if len(lifted.stamps_ns) > 1 else 1e9)
    if not np.isfinite(poses).any():
        raise ValueError(f"{path}: nobody was lifted, so there is no motion to write")
    for person in np.unique(lifted.person_ids[lifted.person_ids >= 0]).tolist():
        mine = (lifted.person_ids == person) & np.isfinite(poses).all((-1, -2))
        t, p = np.nonzero(mine)
        if not len(t):
            continue
        seconds = (lifted.stamps_ns[t] - lifted.stamps_ns[t[0]]) / 1e9
        even = np.arange(round(seconds[-1] * 1e9 / period_ns) + 1) * period_ns / 1e9
        columns = [np.interp(even, seconds, c) for c in poses[t, p].reshape(len(t), -1).T]
        steady = np.stack(columns, -1).reshape(-1, skeleton.J, 3)
        write_bvh(path.with_stem(f"{path.stem}_{person}"), steady, 1e9 / period_ns)


def _bag(path: Path, recording: Recording, lifted: Lifted) -> None:
    from pstmo_ros.formats.rosbag import write_bag

    write_bag(path, recording, lifted)


def _video(path: Path, recording: Recording, lifted: Lifted) -> None:
    from pstmo_ros.render import ScenePicture, filmed, write_video

    poses, layout = lifted.shown_m, layouts.get(recording.layout)
    if not np.isfinite(poses).any():
        raise ValueError(f"{path}: nobody was lifted, so there is nothing to film")
    seconds = (lifted.stamps_ns - lifted.stamps_ns[0]) / 1e9
    picture = ScenePicture(recording.size_px, poses.reshape(-1, 3), path.stem)
    nobody = np.full_like(poses[0], np.nan)

    def images() -> Iterator[npt.NDArray[np.uint8]]:
        for t in tqdm(filmed(lifted.stamps_ns, VIDEO_FPS), desc="filming", unit="frame"):
            sent = np.concatenate(recording.keypoints[recording.stamps_ns == lifted.stamps_ns[t]])
            keypoints, _ = layouts.to_model_joints(layout, sent[..., :2], sent[..., 2])
            yield picture.draw(keypoints, poses[t], nobody, f"t = {seconds[t]:.1f} s")

    write_video(path, images(), VIDEO_FPS)
    picture.close()


def _make_way(path: Path, source: str) -> None:
    """The output's folder. ValueError if it cannot be written, said before poses are lifted, which may take long."""
    if path.exists() and Path(source).exists() and path.samefile(source):
        raise ValueError(f"{path} is the recording; give the output another name")
    if path.exists() and path.suffix in ("", ".mcap"):
        raise ValueError(f"{path} exists already; a bag is never overwritten: give another name")
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give a file's name")
    path.parent.mkdir(parents=True, exist_ok=True)


def _with_down(recording: Recording, down: tuple[float, float, float]) -> Recording:
    if recording.camera is None:
        raise ValueError("--down: the recording has no camera to turn by it; leave it out")
    return dataclasses.replace(recording, camera=dataclasses.replace(recording.camera, down=down))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", metavar="IN")
    parser.add_argument("output", metavar="OUT")
    parser.add_argument("--model", default="realtime", help="a bundled model's name or a .safetensors file")
    parser.add_argument("--engine", default="auto", choices=CHOICES)
    parser.add_argument("--look-ahead", type=float, default=0.0, metavar="SECONDS", help="future seen by each pose")
    parser.add_argument("--no-smoothing", action="store_true", help="leave the output filter off")
    parser.add_argument(
        "--down",
        type=float,
        nargs=3,
        metavar=("X", "Y", "Z"),
        help="where gravity pulls, in the camera's axes, for models that take it: 0 1 0 for a level camera",
    )
    add_source_options(parser)
    args = parser.parse_args()
    try:
        write, output = writer(args.output), Path(args.output)
        recording = read(args.input, source_from(args))
        if args.down:
            recording = _with_down(recording, tuple(args.down))
        bundle = bundles.load(model_path(args.model)).at(args.look_ahead)
        _make_way(output, args.input)
        everybody = TrackConfig(max_people=sys.maxsize)  # there is time for all of them
        config = LifterConfig(args.look_ahead, everybody, SmoothingConfig(enabled=not args.no_smoothing))
        lifted = lift(recording, PoseLifter(bundle, load_engine(bundle, args.engine), config), progress=True)
        write(output, recording, lifted)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except (ValueError, OSError, EngineError) as e:
        raise SystemExit(f"lift: {e}") from None
    people = len(np.unique(lifted.person_ids[lifted.person_ids >= 0]))
    print(f"{args.output}: {len(lifted.stamps_ns)} frames, {people} people")


if __name__ == "__main__":
    main()
