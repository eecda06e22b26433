"""Acclaim skeletons and motions (.asf, .amc; the CMU database) -> where the bones end.

Points are the bones' far ends, under the bones' names, and "root". T frames, K points.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from pstmo_ros.core.types import Floats
from training.datasets.clips import DataError
from training.motion.points import Motion

_INCH_M = 0.0254  # a skeleton's "length" is how many of its units make an inch
_TURNS, _SHIFTS = ("rx", "ry", "rz"), ("tx", "ty", "tz")


@dataclass(frozen=True)
class Bone:
    """vector: from its start to its end at rest, in the world's axes. axis: its own axes there.

    dof: names of its values in a motion, in their order. order: axes that its turns go about, first to last.
    """

    name: str
    parent: str | None
    vector: Floats
    axis: Rotation
    dof: tuple[str, ...]
    order: str


@dataclass(frozen=True)
class Skeleton:
    """Bones, parents first, the root leading; unit_m: metres per file unit; degrees: angles are in degrees."""

    bones: tuple[Bone, ...]
    unit_m: float
    degrees: bool


def read_amc(path: Path, asf: Path) -> Motion:
    """The points of a motion on its subject's skeleton. DataError names the file and what is wrong with it."""
    skeleton = read_asf(asf)
    values = _frames(path, {b.name: len(b.dof) for b in skeleton.bones if b.dof})
    points: dict[str, Floats] = {}
    turns: dict[str, Rotation] = {}
    frames = len(values["root"])
    for bone in skeleton.bones:
        moved = dict(zip(bone.dof, values.get(bone.name, np.empty((frames, 0))).T, strict=True))
        still = np.zeros(frames)
        angles = np.stack([moved.get("r" + a, still) for a in bone.order], 1)
        # Lower case: about fixed axes, the first letter's first (Acclaim's order).
        turn = bone.axis * Rotation.from_euler(bone.order, angles, degrees=skeleton.degrees) * bone.axis.inv()
        if bone.parent is None:
            points[bone.name] = bone.vector + np.stack([moved.get(s, still) for s in _SHIFTS], 1)
            turns[bone.name] = turn
        else:
            turns[bone.name] = turns[bone.parent] * turn
            points[bone.name] = points[bone.parent] + turns[bone.name].apply(bone.vector)
    return Motion(tuple(points), np.stack(list(points.values()), 1), None, skeleton.unit_m)


def read_asf(path: Path) -> Skeleton:
    """A skeleton file. DataError names the file and what is wrong with it."""
    sections: dict[str, list[list[str]]] = {}
    for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines():
        words = line.partition("#")[0].split()
        if words and words[0].startswith(":"):
            sections[words[0][1:]] = []
        elif words and sections:
            list(sections.values())[-1].append(words)
    if missing := [s for s in ("units", "root", "bonedata", "hierarchy") if s not in sections]:
        raise DataError(f"{path}: not a whole ASF skeleton: it has no section {', '.join(missing)}")
    try:
        units = {words[0]: words[1] for words in sections["units"]}
        degrees = units.get("angle", "deg") == "deg"
        bones = {b.name: b for b in [_root(sections["root"], degrees), *_bones(sections["bonedata"], degrees)]}
        ordered = [bones["root"], *_children(sections["hierarchy"], bones)]
        return Skeleton(tuple(ordered), _INCH_M / float(units.get("length", 1)), degrees)
    except (ValueError, IndexError, KeyError, StopIteration, ZeroDivisionError) as e:
        raise DataError(f"{path}: broken or truncated skeleton ({e})") from None


def _root(lines: list[list[str]], degrees: bool) -> Bone:
    entries = {words[0]: words[1:] for words in lines}
    dof = _dof("root", entries["order"], (*_SHIFTS, *_TURNS))
    if not dof:
        raise ValueError("the root has no order; give its degrees of freedom, as TX TY TZ RX RY RZ")
    axis = _turn(entries["orientation"], "xyz", degrees)
    return Bone("root", None, _numbers(entries["position"]), axis, dof, _order("root", entries["axis"][0]))


def _bones(lines: list[list[str]], degrees: bool) -> Iterator[Bone]:
    entries: dict[str, list[str]] = {}
    for words in lines:
        if words[0] == "begin":
            entries = {}
        elif words[0] == "end":
            name = entries["name"][0]
            dof, order = _dof(name, entries.get("dof", []), _TURNS), _order(name, entries["axis"][3])
            vector = _numbers(entries["direction"]) * float(entries["length"][0])
            yield Bone(name, "", vector, _turn(entries["axis"], order, degrees), dof, order)
        else:
            entries[words[0]] = words[1:]


def _dof(bone: str, words: list[str], known: tuple[str, ...]) -> tuple[str, ...]:
    dof = tuple(w.lower() for w in words)
    if other := [d for d in dof if d not in known]:
        raise ValueError(f"bone {bone!r} has the degree of freedom {other[0]!r}; only {', '.join(known)} are known")
    return dof


def _order(bone: str, axes: str) -> str:
    if sorted(axes.lower()) != ["x", "y", "z"]:
        raise ValueError(f"bone {bone!r} turns about the axes {axes!r}; give X, Y and Z once each, as XYZ")
    return axes.lower()


def _children(lines: list[list[str]], bones: dict[str, Bone]) -> Iterator[Bone]:
    """The bones with their parents, parents first."""
    placed = {"root"}
    for parent, *children in (words for words in lines if words[0] not in ("begin", "end")):
        if parent not in placed:
            raise ValueError(f"bone {parent!r} has children before it has a parent")
        for name in children:
            if name in placed:
                raise ValueError(f"bone {name!r} has two parents")
            b = bones[name]
            placed.add(name)
            yield Bone(name, parent, b.vector, b.axis, b.dof, b.order)
    if lost := set(bones) - placed:
        raise ValueError(f"the hierarchy leaves out {', '.join(sorted(lost))}")


def _frames(path: Path, dof: dict[str, int]) -> dict[str, Floats]:
    """Every bone's values, (T, its degrees of freedom)."""
    values: dict[str, list[list[float]]] = {name: [] for name in dof}
    frames = 0
    for n, line in enumerate(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words or words[0].startswith(":"):
            continue
        if len(words) == 1 and words[0].isdigit():
            frames += 1
            continue
        if words[0] not in dof:
            raise DataError(f"{path}, line {n}: bone {words[0]!r} is not in the skeleton: is it another subject's?")
        try:
            numbers = [float(w) for w in words[1:]]
        except ValueError as e:
            raise DataError(f"{path}, line {n}: {e}") from None
        if len(numbers) != dof[words[0]]:
            raise DataError(f"{path}, line {n}: {len(numbers)} values for {words[0]!r}, which has {dof[words[0]]}")
        values[words[0]].append(numbers)
    if frames == 0 or (short := [name for name, rows in values.items() if len(rows) != frames]):
        what = f"bone {short[0]!r} is given {len(values[short[0]])} times in {frames} frames" if frames else "no frames"
        raise DataError(f"{path}: broken or truncated: {what}")
    arrays = {name: np.array(rows) for name, rows in values.items()}
    if not all(np.isfinite(a).all() for a in arrays.values()):
        raise DataError(f"{path}: holds values that are not finite")
    return arrays


def _turn(words: list[str], order: str, degrees: bool) -> Rotation:
    return Rotation.from_euler(order, _numbers(words), degrees=degrees)


def _numbers(words: list[str]) -> Floats:
    numbers = np.array([float(w) for w in words[:3]])
    if len(numbers) != 3 or not np.isfinite(numbers).all():
        raise ValueError(f"{' '.join(words)!r} is not three finite numbers")
    return numbers
