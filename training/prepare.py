"""A user's own motion capture, or a downloaded CMU tree -> the mocap file that training reads (see training/data).

    python -m training.prepare FILE_OR_FOLDER ... --out my_mocap.npz [--test SUBJECT ...] [--with OTHER.npz]

Reads .bvh, and .amc with its subject's .asf beside it. Joint names are mapped by the rigs in config/rigs; the one that
fits is found, or named with --rig. Files that fail a check are left out and said why. Each file's folder is its subject
unless --subject names one; --val and --test say whose clips are held out.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pstmo_ros.core import skeleton
from pstmo_ros.core.layouts import nearest
from training.datasets.clips import DataError
from training.mocap import read_mocap
from training.motion.checks import UNITS_M
from training.motion.rigs import load_rig, rig_names
from training.motion.takes import RATE_HZ, SUFFIXES, Options, Take, read_takes
from training.outputs import check_file

FIELDS = (
    *("positions", "clip_start", "clip_len", "clip_name", "subject", "source", "split", "quality", "fps_native"),
    *("action", "note", "origin"),
)
_QUALITY = 3  # recorded, not retargeted (training/data/README.md)


def main() -> None:
    args = _arguments()
    if Path(args.out).suffix != ".npz":
        raise SystemExit(f"prepare: --out is {args.out!r}; give a name that ends in .npz")
    try:
        check_file("--out", args.out)
        rigs = [load_rig(args.rig)] if args.rig else [load_rig(name) for name in rig_names()]
        options = Options(rigs, _unit_m(args.unit), args.up, _rate_hz(args.rate), args.subject)
        paths = find_files(args.inputs)
        others = read_other(args.together) if args.together else None
    except ValueError as e:
        raise SystemExit(f"prepare: {e}") from None
    takes, refused = [], []
    for path in tqdm(paths, unit="file", disable=not sys.stderr.isatty()):
        try:
            takes += read_takes(path, options)
        except (ValueError, OSError) as e:  # whatever is wrong with one file, the others go on
            refused.append(str(e) if str(path) in str(e) else f"{path}: {e}")
    for reason in refused:
        print(f"left out: {reason}", file=sys.stderr)
    if not takes:
        raise SystemExit(f"prepare: none of {len(paths)} files could be used; the reasons are above")
    try:
        split = splits(takes, args.val, args.test)
        if others is not None:
            check_disjoint(takes, split, others)
        write_mocap(args.out, takes, split, others)
    except DataError as e:
        raise SystemExit(f"prepare: {e}") from None
    print(_summary(takes, len(paths), len(refused), args.out))


def splits(takes: Sequence[Take], val: Sequence[str], test: Sequence[str]) -> list[str]:
    """Which split each take goes to. DataError for a subject that has no clip, or is to be in both."""
    subjects = sorted({t.subject for t in takes})
    for name in (*val, *test):
        if name not in subjects:
            raise DataError(f"subject {name!r} of --val or --test has no usable clip; {nearest(name, subjects)}")
    if both := sorted(set(val) & set(test)):
        raise DataError(f"{', '.join(both)} cannot be in both --val and --test")
    return ["val" if t.subject in val else "test" if t.subject in test else "train" for t in takes]


def check_disjoint(takes: Sequence[Take], split: Sequence[str], others: dict[str, np.ndarray]) -> None:
    """DataError for a subject that the other file has in another split: models would be tested on whom they know."""
    before = dict(zip(others["subject"].tolist(), others["split"].tolist(), strict=True))
    for take, now in zip(takes, split, strict=True):
        if (was := before.get(take.subject, now)) != now:
            raise DataError(
                f"subject {take.subject!r} is in split {was!r} of the --with file and in {now!r} of the new clips; let "
                "both be the same (--val, --test, or neither), or give another person's clips another name, --subject"
            )


def find_files(inputs: Sequence[str]) -> list[Path]:
    """Motion files named, and those anywhere below the folders named, in order, each once. DataError for none."""
    found: dict[Path, Path] = {}
    for path in map(Path, inputs):
        if not path.exists():
            raise DataError(f"{str(path)!r} does not exist")
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES) if path.is_dir() else [path]
        if not inside:
            raise DataError(f"folder {str(path)!r} holds no {' or '.join(SUFFIXES)} file")
        for file in inside:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def read_other(path: str) -> dict[str, np.ndarray]:
    """The clips of another mocap file, for the new ones to be added to. ValueError when they do not go together."""
    data = read_mocap(path)
    if missing := [name for name in FIELDS if name not in data]:
        raise DataError(f"--with {path!r} lacks {missing}")
    if data["fps"] != RATE_HZ:
        raise DataError(f"--with {path!r} has fps {data['fps']:g}; give clips of {RATE_HZ:g} Hz, as the new ones are")
    return {name: data[name] for name in FIELDS}


def write_mocap(
    path: str, takes: Sequence[Take], split: Sequence[str], others: dict[str, np.ndarray] | None = None
) -> None:
    """Write the takes (after the clips of ``others``) as training.mocap reads them."""
    millimetres = np.round(np.concatenate([t.poses_m for t in takes]) * 1000)
    if np.abs(millimetres).max() > np.iinfo(np.int16).max:
        raise DataError("a clip goes further than 32 m from its middle, more than the file's 16 bits can hold")
    length = np.array([len(t.poses_m) for t in takes])
    fields = {
        "positions": millimetres.astype(np.int16),
        "clip_start": np.cumsum(length) - length,
        "clip_len": length,
        "clip_name": [t.name for t in takes],
        "subject": [t.subject for t in takes],
        "source": [t.rig for t in takes],
        "split": split,
        "quality": np.full(len(takes), _QUALITY, np.int8),
        "fps_native": [np.float32(t.rate_hz) for t in takes],
        "action": [t.origin for t in takes],
        "note": [t.note for t in takes],
        "origin": [t.origin for t in takes],
    }
    fields = {name: np.asarray(values) for name, values in fields.items()}
    if others is not None:
        fields["clip_start"] += len(others["positions"])
        fields = {name: np.concatenate([others[name], values]) for name, values in fields.items()}
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path,
        **fields,
        joint_names=np.array(skeleton.JOINTS),
        parents=np.array(skeleton.PARENTS, np.int8),
        fps=np.float32(RATE_HZ),
        unit=np.array("millimetre (int16), right-handed, z up"),
    )


def _unit_m(text: str | None) -> float | None:
    if text is None or text in UNITS_M:
        return None if text is None else UNITS_M[text]
    try:
        unit_m = float(text)
    except ValueError:
        unit_m = math.nan
    if not 0 < unit_m < math.inf:
        raise DataError(f"--unit is {text!r}; give {', '.join(UNITS_M)} or metres per unit, above 0")
    return unit_m


def _rate_hz(given: float | None) -> float | None:
    if given is not None and not 0 < given < math.inf:
        raise DataError(f"--rate is {given:g}; give frames per second, above 0")
    return given


def _summary(takes: Sequence[Take], files: int, refused: int, out: str) -> str:
    minutes = sum(len(t.poses_m) for t in takes) / RATE_HZ / 60
    rigs, subjects = (sorted({str(getattr(t, field)) for t in takes}) for field in ("rig", "subject"))
    lines = [
        f"{out}: {len(takes)} clips, {minutes:.1f} min, from {files - refused} of {files} files",
        f"rigs: {', '.join(rigs)}; subjects: {', '.join(subjects)}",
    ]
    return "\n".join(lines + [f"{t.name}: {t.note}" for t in takes if t.note])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inputs", nargs="+", metavar="FILE_OR_FOLDER", help=".bvh and .amc files, or folders of them")
    parser.add_argument("--out", required=True, metavar="FILE.npz")
    parser.add_argument("--rig", help="a rig of config/rigs or a YAML file like them; default: the one that fits")
    parser.add_argument("--unit", help="mm, cm, inch, m or metres per unit; default: what the file or its rig says")
    parser.add_argument("--up", choices=("y", "z"), help="axis that points up; default: the rig's, checked")
    parser.add_argument("--rate", type=float, metavar="HZ", help="frame rate; default: what the file or its rig says")
    parser.add_argument("--subject", help="whose motion it all is; default: the name of each file's folder")
    parser.add_argument("--val", nargs="+", default=(), metavar="SUBJECT", help="subjects held out for validation")
    parser.add_argument("--test", nargs="+", default=(), metavar="SUBJECT", help="subjects held out for testing")
    parser.add_argument("--with", dest="together", metavar="FILE.npz", help="a mocap file whose clips go in as well")
    return parser.parse_args()


if __name__ == "__main__":
    main()
