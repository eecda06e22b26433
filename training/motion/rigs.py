"""Rigs: where the model's 17 joints lie among the points of a motion file. One YAML file each in config/rigs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pstmo_ros.core import skeleton
from pstmo_ros.core.layouts import nearest
from pstmo_ros.core.types import Floats
from training.config import load_config
from training.datasets.clips import DataError
from training.motion.points import Motion

RIGS = Path(__file__).parents[2] / "config" / "rigs"
# Rows turn (x, y, z) of a file into a right-handed world with z up.
_WORLD_FROM = {"y": np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]]), "z": np.eye(3)}


@dataclass(frozen=True)
class Rig:
    """joints: for each model joint a point's name, a list of names (their mean) or weights by name that sum to 1.

    up: the file's axis that points up, y or z. unit_m, rate_hz: metres per file unit and frames per second; None where
    the files themselves say.
    """

    joints: dict[str, Any]
    up: str = "y"
    unit_m: float | None = None
    rate_hz: float | None = None
    name: str = ""

    def __post_init__(self) -> None:
        where = f"rig {self.name!r}"
        if self.up not in _WORLD_FROM:
            raise ValueError(f"{where}: up is {self.up!r}; give y or z")
        for name in ("unit_m", "rate_hz"):
            if (value := getattr(self, name)) is not None and not 0 < value < math.inf:
                raise ValueError(f"{where}: {name} is {value}; give a number above 0, or leave it out")
        for joint, points in self.joints.items():
            if joint not in skeleton.JOINTS:
                raise ValueError(f"{where}: joint {joint!r} is unknown; {nearest(str(joint), skeleton.JOINTS)}")
            if not _is_place(points):
                raise ValueError(
                    f"{where}: joint {joint!r} is {points!r}; give a point's name, a list of names or weights by name, "
                    "and quote names that YAML takes for something else, as 'no' and '1'"
                )
        if missing := [j for j in skeleton.JOINTS if j not in self.joints]:
            raise ValueError(f"{where} does not say where these joints are: {', '.join(missing)}")
        for joint in skeleton.JOINTS:
            if abs(sum(self.weights(joint).values()) - 1) > 1e-6:
                raise ValueError(f"{where}: the weights of joint {joint!r} do not sum to 1")

    def weights(self, joint: str) -> dict[str, float]:
        """How much each point counts for a model joint."""
        value = self.joints[joint]
        if isinstance(value, dict):
            return value
        names = [value] if isinstance(value, str) else list(value)
        return {name: names.count(name) / len(names) for name in names}

    @property
    def points(self) -> set[str]:
        """Every point that some joint needs."""
        return {name for joint in self.joints for name in self.weights(joint)}

    def world_m(self, motion: Motion, unit_m: float) -> Floats:
        """The model's joints (T, 17, 3) in metres, in a right-handed world with z up."""
        matrix = np.zeros((skeleton.J, len(motion.names)))
        for row, joint in zip(matrix, skeleton.JOINTS, strict=True):
            for name, weight in self.weights(joint).items():
                row[motion.names.index(name)] += weight
        return matrix @ motion.points @ _WORLD_FROM[self.up].T * unit_m


def _is_place(points: Any) -> bool:
    """Whether it is a point's name, names, or weights by name."""
    if isinstance(points, dict):
        return all(isinstance(n, str) and type(w) in (int, float) for n, w in points.items())
    return isinstance(points, str) or (isinstance(points, list | tuple) and all(isinstance(n, str) for n in points))


def load_rig(name: str) -> Rig:
    """A rig by its name in config/rigs, or a YAML file of the same form. ValueError says what is wrong with it."""
    path = Path(name)
    if not path.suffix:
        path, known = RIGS / f"{name}.yaml", rig_names()
        if name not in known:
            raise ValueError(f"rig {name!r} is unknown; {nearest(name, known)}; or give a YAML file like them")
    return load_config(Rig, path, [f"name={json.dumps(path.stem, ensure_ascii=False)}"])  # quoted: 2024 is a name


def rig_names() -> list[str]:
    """The rigs that ship."""
    return sorted(path.stem for path in RIGS.glob("*.yaml"))


def find_rig(motion: Motion, rigs: Sequence[Rig]) -> Rig:
    """The one rig whose points the motion has; DataError naming what the nearest rig misses, or the rigs that tie."""
    missing = {rig.name: rig.points - set(motion.names) for rig in rigs}
    fitting = [rig for rig in rigs if not missing[rig.name]]
    if not fitting:
        closest = min(rigs, key=lambda rig: (len(missing[rig.name]) / len(rig.points), rig.name))
        raise DataError(
            f"no rig fits its points; the nearest, {closest.name!r}, needs {', '.join(sorted(missing[closest.name]))}; "
            f"the file has {', '.join(motion.names)}; write a rig like those in config/rigs and give --rig FILE.yaml"
        )
    most = max(len(rig.points) for rig in fitting)
    richest = [rig for rig in fitting if len(rig.points) == most]
    if len(richest) > 1:
        raise DataError(f"the rigs {', '.join(r.name for r in richest)} all fit its points; name one with --rig")
    return richest[0]
