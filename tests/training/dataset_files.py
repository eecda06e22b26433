"""Files of the recorded data sets: tiny, but in the exact form of what licensed users have, or broken on purpose."""

import io
import pickle
import zipfile

import numpy as np

from pstmo_ros.core import skeleton
from training.datasets import h36m
from training.mocap import CMU

FRAMES = 12


def world(frames: int = FRAMES) -> np.ndarray:
    """32 joints (T, 32, 3) near the room's middle, each at a place of its own, moving 4 cm a frame."""
    joints = np.random.default_rng(0).uniform(-0.4, 0.4, (32, 3)) + np.array([0, 0, 0.9])
    return (joints + np.arange(frames)[:, None, None] * np.array([0.04, 0, 0])).astype(np.float32)


def write_some_mocap(path):
    """Every fortieth clip of the open set: what few steps need of it, whose poses' rarity is found in no time."""
    with np.load(CMU) as file:
        data = dict(file)
    kept = np.sort(np.concatenate([np.flatnonzero(data["split"] == s)[::40] for s in ("train", "val", "test")]))
    frames = [np.arange(s, s + n) for s, n in zip(data["clip_start"][kept], data["clip_len"][kept], strict=True)]
    for name in ("clip_name", "subject", "split", "quality", "action"):
        data[name] = data[name][kept]
    data["positions"] = data["positions"][np.concatenate(frames)]
    data["clip_len"] = data["clip_len"][kept]
    data["clip_start"] = np.cumsum(data["clip_len"]) - data["clip_len"]
    np.savez(path, **data)


def write_h36m(folder, subjects=("S9",), actions=("Walking 1", "Directions"), keypoints="gt", poses=None):
    """Files in VideoPose3D's format: 2D is the projection of the 3D, and three frames longer."""
    views = h36m.load_views()
    longer = world(FRAMES + 3)[:, list(h36m.JOINTS_OF_32)]
    positions_3d = {s: {a: world() if poses is None else poses for a in actions} for s in subjects}
    positions_2d = {
        s: {a: [v.camera.project((longer - v.position_m) @ v.rotation) for v in views[s]] for a in actions}
        for s in subjects
    }
    metadata = {"num_joints": 17, "keypoints_symmetry": [list(skeleton.LEFT), list(skeleton.RIGHT)]}
    np.savez_compressed(folder / "data_3d_h36m.npz", positions_3d=np.array(positions_3d, dtype=object))
    np.savez_compressed(
        folder / f"data_2d_h36m_{keypoints}.npz",
        positions_2d=np.array(positions_2d, dtype=object),
        metadata=np.array(metadata, dtype=object),
    )


def write_dhp(folder, split: str, data: dict) -> None:
    np.savez_compressed(folder / f"data_{split}_3dhp.npz", data=np.array(data, dtype=object))


def dhp_arrays(frames: int = FRAMES) -> dict:
    """2D whose x is the joint's index in the file, and 3D in mm with the same mark."""
    mark = np.arange(17.0)[None, :, None]
    return {"data_2d": np.tile(mark, (frames, 1, 2)), "data_3d": np.tile(mark * 1000, (frames, 1, 3))}


class RunsCode:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def write_pickle(path, field: str, value, protocol: int) -> None:
    """An npz file whose field is an object array pickled as ``value``."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(np.array({}, dtype=object)))
    pickle.dump(value, file, protocol)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{field}.npy", file.getvalue())
