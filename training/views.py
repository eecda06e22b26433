"""Several calibrated cameras around one scene, and the files that say where they are."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from pstmo_ros.core.camera import Camera
from pstmo_ros.core.types import Floats

_TURN = np.diag([1.0, -1.0, -1.0])  # Qualisys' cameras look along their -z, with y up


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
    except (TypeError, IndexError, OverflowError) as e:
        raise ValueError(f"calibration {path}: a camera's numbers are of another form ({e})") from None
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
