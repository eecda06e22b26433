"""Files of keypoints -> Recording, and lifted poses -> files."""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pstmo_ros.adapters import KeypointsError
from pstmo_ros.adapters.people import check_pixels
from pstmo_ros.formats.calibration import read_calibration
from pstmo_ros.recording import Recording, load_recording


@dataclass(frozen=True)
class Source:
    """What a file does not say itself.

    rate_hz: frames per second, and size_px: the image's (width, height), for detectors' JSON; size_px also for bags
    without camera_info. layout: the keypoint order where a file leaves it open; empty takes it from the number of
    joints. keypoints, camera_info: topics in a bag; empty takes the only one of its kind. form: YAML file for messages
    that are not known. odom_frame: in a bag, the frame of /tf that does not move, for cameras that do. calibration: of
    the camera, a file of ROS' (formats.calibration); counts before what the recording itself says. rectified: whether
    the detector saw the rectified image, as ``camera_from`` has it; an .npz holds the camera of its pixels anyway.
    """

    rate_hz: float = 0.0
    size_px: tuple[int, int] = (0, 0)
    layout: str = ""
    keypoints: str = ""
    camera_info: str = ""
    form: str = ""
    odom_frame: str = ""
    calibration: str = ""
    rectified: bool = False


def read(path: str | Path, source: Source | None = None) -> Recording:
    """A recording from an .npz, a rosbag2 (folder, .db3 or .mcap) or a detector's JSON (file, or folder of them).

    ValueError names the file and the fix.
    """
    source = source or Source()
    if not source.calibration:
        return _read(Path(path), source)
    camera = read_calibration(source.calibration, source.rectified)
    size_px = camera.width, camera.height
    recording = _read(Path(path), source if max(source.size_px) else dataclasses.replace(source, size_px=size_px))
    if recording.size_px != size_px:
        raise ValueError(
            f"calibration {source.calibration!r} is for images of {size_px} pixels, and {str(path)!r} has "
            f"{recording.size_px}; calibrate at the size that the detector saw"
        )
    return dataclasses.replace(recording, camera=camera)


def _read(path: Path, source: Source) -> Recording:
    recording = _read_any(path, source)
    seen = recording.keypoints[recording.keypoints[..., 2] > 0][:, :2]
    seen = seen[np.isfinite(seen).all(-1)]
    try:
        check_pixels(seen, recording.size_px)
    except KeypointsError as e:
        raise ValueError(f"{path}: {e}") from None
    return recording


def _read_any(path: Path, source: Source) -> Recording:
    if (path / "metadata.yaml").is_file() or path.suffix in (".mcap", ".db3"):
        from pstmo_ros.formats.rosbag import read_bag

        return read_bag(path, source)
    if path.is_dir() or path.suffix == ".json":
        from pstmo_ros.formats.detector_json import read_json

        return read_json(path, source)
    return load_recording(path)


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """Command-line options for what a file does not say itself; ``source_from`` reads them."""
    parser.add_argument("--rate", type=float, default=0.0, metavar="HZ", help="frames per second, for JSON")
    parser.add_argument("--size", type=int, nargs=2, default=(0, 0), metavar=("WIDTH", "HEIGHT"), help="image, pixels")
    parser.add_argument("--layout", default="", help="keypoint order, where the file leaves it open")
    parser.add_argument("--keypoints", default="", metavar="TOPIC", help="in a bag")
    parser.add_argument("--camera-info", default="", metavar="TOPIC", help="in a bag")
    parser.add_argument("--odom-frame", default="", metavar="FRAME", help="in a bag: of /tf, for cameras that move")
    parser.add_argument(
        "--calibration", default="", metavar="YAML", help="of the camera, as camera_calibration writes it"
    )
    parser.add_argument("--rectified", action="store_true", help="of a bag, or by --calibration: image_rect was seen")
    parser.add_argument("--form", default="", metavar="YAML", help="describes messages of other types")


def source_from(args: argparse.Namespace) -> Source:
    """The options that ``add_source_options`` added."""
    topics, camera = (args.keypoints, args.camera_info), (args.calibration, args.rectified)
    return Source(args.rate, tuple(args.size), args.layout, *topics, args.form, args.odom_frame, *camera)
