"""Several calibrated cameras around one scene: their calibration files, and points from what each of them sees.

C cameras, T frames, J joints. Metres; a view takes the world to its camera's optical frame.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from pstmo_ros.core.camera import Camera
from pstmo_ros.core.types import Floats

_TURN = np.diag([1.0, -1.0, -1.0])  # Qualisys' cameras look along their -z, with y up
_RIDGE = 1e-12  # rays that are parallel meet nowhere, and no error is raised for it
_STEPS = 3  # of weighing each camera's equations by how far away it is


@dataclass(frozen=True)
class View:
    """One camera: points in the world X (3,) are rotation @ X + translation_m in its optical frame."""

    name: str
    camera: Camera
    rotation: Floats
    translation_m: Floats

    def into(self, world_m: Floats) -> Floats:
        """Points (…, 3) of the world in the camera optical frame."""
        return world_m @ self.rotation.T + self.translation_m


def read_calibration(path: str | Path, unit_m: float = 1.0) -> list[View]:
    """Views from Qualisys' .qca.txt (millimetres), or from a .toml as Pose2Sim and anipose write it (``unit_m``).

    ValueError names the file, the camera and what it lacks.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"calibration {str(path)!r} does not exist")
    try:
        views = _read_toml(path, unit_m) if path.suffix == ".toml" else _read_qca(path)
    except ET.ParseError as e:
        raise ValueError(f"calibration {path} is no XML ({e}); give Qualisys' .qca.txt or a .toml") from None
    except KeyError as e:
        raise ValueError(f"calibration {path}: a camera has no {e}") from None
    if len(views) < 2:
        raise ValueError(f"calibration {path} has {len(views)} cameras; give 2 or more")
    return views


def _read_toml(path: Path, unit_m: float) -> list[View]:
    try:
        import tomllib  # type: ignore[import-not-found]
    except ModuleNotFoundError:
        raise ValueError(f"{path}: reading .toml needs Python 3.11 or later") from None
    try:
        tables = tomllib.loads(path.read_text())
    except ValueError as e:
        raise ValueError(f"calibration {path} is no TOML ({e})") from None
    views = []
    for name, table in tables.items():
        if not isinstance(table, dict) or "matrix" not in table:
            continue  # metadata
        size = (round(table["size"][0]), round(table["size"][1]))
        lens = "equidistant" if table.get("fisheye") else "plumb_bob"
        camera = Camera.from_matrix(np.array(table["matrix"]), size, np.array(table["distortions"]), lens)
        rotation = Rotation.from_rotvec(np.ravel(table["rotation"])).as_matrix()
        views.append(View(str(table.get("name", name)), camera, rotation, unit_m * np.ravel(table["translation"])))
    return views


def _read_qca(path: Path) -> list[View]:
    return [_qualisys(c) for c in ET.parse(path).getroot().findall("cameras/camera")]


def _qualisys(element: ET.Element) -> View:
    """Lengths are in millimetres, pixels in 64ths."""

    def part(name: str) -> dict[str, str]:
        found = element.find(name)
        if found is None:
            raise KeyError(name)
        return found.attrib

    inner, image, outer = part("intrinsic"), part("fov_video"), part("transform")
    left, top = float(image["left"]), float(image["top"])
    size = (round(float(image["right"]) - left + 1), round(float(image["bottom"]) - top + 1))

    def sixty_fourths(name: str) -> float:
        return float(inner[name]) / 64

    matrix = np.eye(3)
    matrix[0, 0], matrix[1, 1] = sixty_fourths("focalLengthU"), sixty_fourths("focalLengthV")
    matrix[:2, 2] = sixty_fourths("centerPointU") - left, sixty_fourths("centerPointV") - top
    bends = ("radialDistortion1", "radialDistortion2", "tangentalDistortion1", "tangentalDistortion2")
    camera = Camera.from_matrix(matrix, size, np.array([sixty_fourths(name) for name in bends]))
    rotation = _TURN @ np.array([[float(outer[f"r{row}{column}"]) for column in "123"] for row in "123"])
    place = np.array([float(outer[axis]) for axis in "xyz"]) / 1000
    return View(element.attrib["serial"], camera, rotation, -rotation @ place)


def triangulate(views: Sequence[View], rays: Floats, weights: Floats) -> Floats:
    """Points of the world (…, 3) from rays (C, …, 2) of weights (C, …), 0 for unseen; NaN where fewer than two see one.

    Least squares of the error in the image.
    """
    known = np.isfinite(rays).all(-1) & (weights > 0)
    rays, weights = np.where(known[..., None], rays, 0), np.where(known, weights, 0)
    rotation, translation = np.stack([v.rotation for v in views]), np.stack([v.translation_m for v in views])
    shape = (len(views), *(1,) * (rays.ndim - 2))
    # x = (r1 X + t1) / (r3 X + t3), and y likewise: linear in X.
    rows = rays[..., None] * rotation[:, 2].reshape(*shape, 1, 3) - rotation[:, :2].reshape(*shape, 2, 3)
    right = translation[:, :2].reshape(*shape, 2) - rays * translation[:, 2].reshape(*shape, 1)
    enough = known.sum(0) >= 2
    depth = np.ones_like(weights)
    for _ in range(_STEPS):
        by = (weights / depth) ** 2
        normal = np.einsum("c...,c...ij,c...ik->...jk", by, rows, rows)
        normal = np.where(enough[..., None, None], normal, np.eye(3)) + _RIDGE * np.eye(3)
        points = np.linalg.solve(normal, np.einsum("c...,c...ij,c...i->...j", by, rows, right)[..., None])[..., 0]
        depth = np.stack([np.maximum(v.into(points)[..., 2], 0.1) for v in views])
    return np.where(enough[..., None], points, np.nan)


def misses(views: Sequence[View], rays: Floats, points: Floats) -> Floats:
    """How far each camera's rays (C, …, 2) are from points of the world (…, 3), as rays, (C, …); NaN where unseen."""
    seen = np.stack([v.into(points) for v in views])
    z = np.where(seen[..., 2:] > 0, seen[..., 2:], 1e-9)  # what is behind a camera is as far off as can be
    return np.asarray(np.linalg.norm(seen[..., :2] / z - rays, axis=-1))


def triangulate_robustly(views: Sequence[View], rays: Floats, weights: Floats, limit: float) -> Floats:
    """As ``triangulate``, without the cameras that miss a point by more than ``limit``, the worst first; NaN at two."""
    weights = np.where(np.isfinite(rays).all(-1), weights, 0)
    for _ in range(len(views) - 2):
        off = np.where(weights > 0, misses(views, rays, triangulate(views, rays, weights)), 0)
        worst = np.equal(np.arange(len(views)).reshape(-1, *(1,) * (weights.ndim - 1)), off.argmax(0))
        weights = np.where(worst & (off > limit) & ((weights > 0).sum(0) > 2), 0, weights)
    points = triangulate(views, rays, weights)
    off = np.where(weights > 0, misses(views, rays, points), 0)
    fits = np.all(off <= limit, axis=0)
    return np.where(np.asarray(fits)[..., None], points, np.nan)
