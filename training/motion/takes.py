"""Motion files -> takes: the usable pieces of a recording, as the training's mocap files hold them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pstmo_ros.core import skeleton
from pstmo_ros.core.types import Floats
from training.datasets.clips import DataError
from training.motion.asfamc import read_amc
from training.motion.bvh import read_bvh
from training.motion.checks import check_sides, check_size, check_upright, t_pose_frames, too_fast
from training.motion.points import Motion
from training.motion.rigs import Rig, find_rig

RATE_HZ = 50.0
SUFFIXES = (".bvh", ".amc")
_SHORTEST_S, _MARGIN = 0.6, 3  # pieces shorter are dropped; frames cut away on either side of a jump


@dataclass(frozen=True)
class Options:
    """What the user says about the files; None where the files and their rig say it."""

    rigs: Sequence[Rig]
    unit_m: float | None = None
    up: str | None = None
    rate_hz: float | None = None
    subject: str | None = None


@dataclass(frozen=True)
class Take:
    """One continuous piece of a recording: poses (T, 17, 3) metres at RATE_HZ, world z up, about the origin."""

    name: str
    subject: str
    poses_m: Floats
    rig: str
    rate_hz: float
    note: str
    origin: str


def read_takes(path: Path, options: Options) -> list[Take]:
    """The usable pieces of one file. DataError says what is wrong with it and what would mend it."""
    motion = read_motion(path)
    rig = find_rig(motion, options.rigs)
    if options.up is not None:
        rig = dataclasses.replace(rig, up=options.up)
    unit_m = options.unit_m or motion.unit_m or rig.unit_m
    rate_hz = options.rate_hz or motion.rate_hz or rig.rate_hz
    if unit_m is None or rate_hz is None:
        lost = "--unit METRES" if unit_m is None else "--rate HZ"
        raise DataError(f"neither the file nor rig {rig.name!r} says its unit or its frame rate: give {lost}")
    poses = rig.world_m(motion, unit_m)
    check_size(poses, unit_m)
    rest = t_pose_frames(poses, rate_hz)
    poses = poses[rest:]
    if options.up is None:
        check_upright(poses, rig.up)
    check_sides(poses)
    pieces = whole_pieces(poses, rate_hz)
    if not pieces:
        raise DataError(f"no piece of {_SHORTEST_S} s is free of jumps that no person makes at {rate_hz:g} Hz")
    cut = len(poses) - sum(map(len, pieces))
    note = f"{rest} leading T-pose frames taken off" * (rest > 0) + f"; {cut} frames cut at jumps" * (cut > 0)
    names = [path.stem if len(pieces) == 1 else f"{path.stem}#{k}" for k in range(len(pieces))]
    subject = options.subject or path.resolve().parent.name
    return [
        Take(
            f"{subject}/{name}", subject, centred(resampled(p, rate_hz)), rig.name, rate_hz, note.strip("; "), path.name
        )
        for name, p in zip(names, pieces, strict=True)
    ]


def read_motion(path: Path) -> Motion:
    """A .bvh file, or an .amc file on its subject's skeleton: 01.asf for 01_02.amc, else the folder's only .asf."""
    if path.suffix.lower() == ".bvh":
        return read_bvh(path)
    if path.suffix.lower() != ".amc":
        raise DataError(f"{path} is neither {' nor '.join(SUFFIXES)}")
    skeletons = sorted(p for p in path.parent.iterdir() if p.suffix.lower() == ".asf")
    own = [p for p in skeletons if p.stem == path.stem.split("_")[0]] or skeletons
    if len(own) != 1:
        raise DataError(f"{path}: needs its subject's skeleton {path.stem.split('_')[0]}.asf beside it")
    return read_amc(path, own[0])


def whole_pieces(poses_m: Floats, rate_hz: float) -> list[Floats]:
    """The stretches between jumps that no person makes, their edges trimmed, the short ones dropped."""
    jumps = np.flatnonzero(too_fast(poses_m, rate_hz)) + 1
    edges = [0, *jumps, len(poses_m)]
    pieces = []
    for k, (first, end) in enumerate(itertools.pairwise(edges)):
        piece = poses_m[first + _MARGIN * (k > 0) : end - _MARGIN * (k < len(jumps))]
        if len(piece) >= _SHORTEST_S * rate_hz:
            pieces.append(piece)
    return pieces


def resampled(poses_m: Floats, rate_hz: float) -> Floats:
    """The same motion at RATE_HZ, by straight lines between frames."""
    at = np.arange(int((len(poses_m) - 1) / rate_hz * RATE_HZ + 1e-6) + 1) * rate_hz / RATE_HZ
    before = np.minimum(at.astype(int), len(poses_m) - 1)
    after = np.minimum(before + 1, len(poses_m) - 1)
    share = (at - before)[:, None, None]
    return poses_m[before] * (1 - share) + poses_m[after] * share


def centred(poses_m: Floats) -> Floats:
    """The motion's middle over the origin, so that millimetres fit the file's 16 bits; heights as recorded."""
    path = poses_m[:, skeleton.ROOT, :2]
    return poses_m - np.append((path.min(0) + path.max(0)) / 2, 0)
