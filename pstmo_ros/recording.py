"""A recording of 2D keypoints, the npz file that ``lift`` reads and ``player`` plays; and its lifted poses."""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pstmo_ros.core import layouts, skeleton
from pstmo_ros.core.camera import Camera
from pstmo_ros.core.types import Floats, Frame2D, Stand

SAMPLE = Path(__file__).parent / "samples" / "two_people.npz"  # two people, 12 s, with the truth
CAMERA_FRAME = "camera_optical_frame"  # where a recording does not say
ODOM_FRAME = "odom"  # what a camera that moves moves in
_LEAST_NS = 1e5  # between frames: less are stamps in another unit
_FIELDS = {
    "keypoints": "(T, P, J, 3) pixels and score",
    "stamps_ns": "(T,) integer nanoseconds",
    "image_size": "(width, height)",
    "layout": "a layout name",
}
_NUMBERS = ("keypoints", "stamps_ns", "image_size", "person_ids", "truth_m", "camera_matrix", "distortion", "down",
            "odom_from_camera")  # fmt: skip


@dataclass(frozen=True)
class Recording:
    """T frames of up to P people.

    keypoints: (T, P, J, 3) float32, x y in pixels and score; NaN or score 0 = not seen.
    stamps_ns: (T,) int64. person_ids: (T, P) int64, or None when the detector gave none.
    camera: None when the recording has no camera_matrix.
    truth_m: (T, P, 17, 3) metres in the camera frame where it is known (samples), else None.
    frame_id: of the camera's optical frame.
    odom_from_camera: (T, 4, 4), of a camera that moves: its pose, metres, in a frame that does not and has z up;
    NaN in frames where nobody knows.
    """

    keypoints: Floats
    stamps_ns: npt.NDArray[np.int64]
    size_px: tuple[int, int]
    layout: str
    person_ids: npt.NDArray[np.int64] | None = None
    camera: Camera | None = None
    truth_m: Floats | None = None
    frame_id: str = CAMERA_FRAME
    odom_from_camera: Floats | None = None

    def frames(self) -> Iterator[Frame2D]:
        """The recording frame by frame; people of whom nothing was seen are left out, as a detector would."""
        for t, stamp in enumerate(self.stamps_ns):
            xy, scores = self.keypoints[t, ..., :2], np.nan_to_num(self.keypoints[t, ..., 2])
            there = np.flatnonzero((np.isfinite(xy).all(-1) & (scores > 0)).any(-1))
            ids = None if self.person_ids is None else tuple(int(i) for i in self.person_ids[t, there])
            if ids and min(ids) < 0:  # the detector had none
                ids = None
            yield Frame2D(int(stamp), self.size_px, self.layout, xy[there], scores[there], ids, self.stand(t))

    def stand(self, t: int) -> Stand | None:
        """How the camera stood in a frame; None where nobody knows."""
        if self.odom_from_camera is None or not np.isfinite(self.odom_from_camera[t]).all():
            return None
        return Stand(self.odom_from_camera[t, :3, :3].T, self.odom_from_camera[t, :3, 3])

    @property
    def period_ns(self) -> int:
        """From its start to where it may start again: where one more image would be, of a lone one after a second.

        Some detectors send a message, and so a frame, for each person in an image.
        """
        intervals = np.diff(np.unique(self.stamps_ns))
        return int(self.stamps_ns[-1] - self.stamps_ns[0]) + int(np.median(intervals) if len(intervals) else 1e9)

    def repeated(self, times: int) -> Recording:
        """The recording played ``times`` times over, by new people each time."""
        period = self.period_ns
        ids = self.person_ids
        per_round = 0 if ids is None else int(ids.max()) + 1
        rounds = range(times)

        def tiled(values: Floats) -> Floats:
            return np.concatenate([values] * times)

        return dataclasses.replace(
            self,
            keypoints=tiled(self.keypoints),
            stamps_ns=np.concatenate([self.stamps_ns + k * period for k in rounds]),
            person_ids=None
            if ids is None
            else np.concatenate([np.where(ids < 0, -1, ids + k * per_round) for k in rounds]),
            truth_m=None if self.truth_m is None else tiled(self.truth_m),
            odom_from_camera=None if self.odom_from_camera is None else tiled(self.odom_from_camera),
        )


@dataclass(frozen=True)
class Lifted:
    """Poses of a recording: T frames, up to P people; NaN, and id -1, where there is nobody.

    stamps_ns (T,), person_ids (T, P), poses_m (T, P, 17, 3) in the camera frame, NaN without a camera; poses_root_m
    (T, P, 17, 3) relative to the pelvis; scores (T, P, 17); velocities_m_s (T, P, 17, 3) of ``shown_m``, NaN at a
    person's first pose and the first after a gap; std_m (T, P, 17), NaN from a model that does not say. placed: whether
    there was a camera.
    """

    stamps_ns: npt.NDArray[np.int64]
    person_ids: npt.NDArray[np.int64]
    poses_m: Floats
    poses_root_m: Floats
    scores: Floats
    velocities_m_s: Floats
    std_m: Floats
    placed: bool

    @property
    def shown_m(self) -> Floats:
        """Poses in the camera frame, or about the pelvis in a recording without a camera, (T, P, 17, 3)."""
        return self.poses_m if self.placed else self.poses_root_m


def from_frames(frames: Sequence[Frame2D], camera: Camera | None, frame_id: str = CAMERA_FRAME) -> Recording:
    """Frames of one image size as a recording, and of one layout where they show somebody: some detectors' messages
    tell it by their people. Ids are kept when everybody in every frame has one."""
    if not frames:
        raise ValueError("a recording needs at least one frame")
    known = {f.layout: None for f in frames if len(f.scores)} or {frames[0].layout: None}
    if len(known) > 1:
        raise ValueError(f"frames have layouts {', '.join(known)}; a recording has one keypoint order")
    layout, size = layouts.get(*known), frames[0].size_px
    most = max(len(f.scores) for f in frames)
    keypoints = np.full((len(frames), most, len(layout.joints), 3), np.nan, np.float32)
    keypoints[..., 2] = 0
    ids = np.full(keypoints.shape[:2], -1, np.int64)
    for t, frame in enumerate(frames):
        if not (people := len(frame.scores)):
            continue
        keypoints[t, :people, :, :2], keypoints[t, :people, :, 2] = frame.keypoints_px, frame.scores
        if frame.person_ids is not None:
            ids[t, :people] = frame.person_ids
    have_ids = all(f.person_ids is not None for f in frames if len(f.scores))
    stamps = np.array([f.stamp_ns for f in frames], np.int64)
    return Recording(keypoints, stamps, size, layout.name, ids if have_ids else None, camera, frame_id=frame_id)


def load_recording(path: str | Path) -> Recording:
    """Read a recording (.npz), in the order of its stamps.

    Its fields: keypoints, stamps_ns, image_size (width, height) and layout; where they are known, person_ids, truth_m,
    odom_from_camera and frame_id, as Recording's, and camera_matrix (3, 3), with distortion (plumb_bob's or that of
    lens), lens (plumb_bob, rational_polynomial or equidistant) and down (x, y, z: where gravity pulls, camera axes).

    ValueError names the field, what it holds and what it should hold.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"recording {str(path)!r} does not exist")
    try:
        with np.load(path, allow_pickle=False) as z:
            data = {k: z[k] for k in z.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as e:
        why = (
            str(e) if path.suffix == ".npz" else "and no .json, .mcap, .db3 or folder of a bag or of JSON files either"
        )
        raise ValueError(f"recording {str(path)!r} is not a readable .npz file ({why})") from None
    for name, form in _FIELDS.items():
        if name not in data:
            raise ValueError(
                f"recording {str(path)!r} has no field {name!r}: {form}; it has {', '.join(data) or 'none'}"
            )
    for name in _NUMBERS:
        if name in data and data[name].dtype.kind not in "iuf":
            raise ValueError(f"recording field {name!r} holds {data[name].dtype}; give numbers")
    layout = layouts.get(str(data["layout"]))
    keypoints, stamps = data["keypoints"], data["stamps_ns"]
    if keypoints.ndim != 4 or keypoints.shape[2:] != (len(layout.joints), 3):
        raise ValueError(
            f"recording field 'keypoints' has shape {keypoints.shape}; layout {layout.name} "
            f"needs (T, P, {len(layout.joints)}, 3)"
        )
    if stamps.shape != keypoints.shape[:1] or not np.issubdtype(stamps.dtype, np.integer):
        raise ValueError(
            f"recording field 'stamps_ns' is {stamps.dtype} {stamps.shape}; give {len(keypoints)} integers"
        )
    if not len(stamps):
        raise ValueError(f"recording {str(path)!r} has no frames")
    steps = np.diff(np.unique(stamps))
    if len(steps) and np.median(steps) < _LEAST_NS:
        raise ValueError(
            f"recording field 'stamps_ns' has frames {np.median(steps):.0f} apart; give nanoseconds, as from "
            "round(seconds * 1e9)"
        )
    if data["image_size"].shape != (2,):
        raise ValueError(f"recording field 'image_size' has shape {data['image_size'].shape}; give (width, height)")
    if not ((data["image_size"] >= 1) & np.isfinite(data["image_size"])).all():
        raise ValueError(f"recording field 'image_size' is {data['image_size']}; give (width, height) in pixels")
    size = (int(data["image_size"][0]), int(data["image_size"][1]))
    ids = data.get("person_ids")
    if ids is not None and ids.shape != keypoints.shape[:2]:
        raise ValueError(f"recording field 'person_ids' has shape {ids.shape}; give {keypoints.shape[:2]}")
    moves = np.asarray(data["odom_from_camera"], float) if "odom_from_camera" in data else None
    if moves is not None and moves.shape != (len(keypoints), 4, 4):
        raise ValueError(
            f"recording field 'odom_from_camera' has shape {moves.shape}; give {(len(keypoints), 4, 4)}, a pose a frame"
        )
    if moves is not None:
        turns = moves[np.isfinite(moves).all((1, 2)), :3, :3]
        if not np.allclose(turns @ turns.swapaxes(1, 2), np.eye(3), atol=1e-3):
            raise ValueError("recording field 'odom_from_camera' has rotations that are none; give orthonormal axes")
    camera = None
    if "camera_matrix" in data:
        camera = Camera.from_matrix(
            data["camera_matrix"], size, data.get("distortion"), str(data.get("lens", "plumb_bob"))
        )
        if "down" in data:
            if data["down"].shape != (3,):
                raise ValueError(f"recording field 'down' has shape {data['down'].shape}; give (x, y, z)")
            x, y, z = data["down"].tolist()
            camera = dataclasses.replace(camera, down=(x, y, z))
    truth = data.get("truth_m")
    if truth is not None and truth.shape != (people := (*keypoints.shape[:2], skeleton.J, 3)):
        raise ValueError(f"recording field 'truth_m' has shape {truth.shape}; give {people}")
    order = np.argsort(stamps, kind="stable")  # with what follows of it, a frame is lifted better than as a late one
    return Recording(
        keypoints[order].astype(np.float32),
        stamps[order].astype(np.int64),
        size,
        layout.name,
        None if ids is None else np.where(np.isfinite(ids), ids, -1).astype(np.int64)[order],
        camera,
        None if truth is None else truth[order],
        str(data.get("frame_id", CAMERA_FRAME)),
        None if moves is None else moves[order],
    )


def save_recording(path: str | Path, recording: Recording) -> None:
    """Write a recording (.npz), the inverse of ``load_recording``."""
    r = recording
    data: dict[str, npt.NDArray[np.generic]] = {
        "keypoints": r.keypoints.astype(np.float32),
        "stamps_ns": r.stamps_ns,
        "image_size": np.array(r.size_px),
        "layout": np.array(r.layout),
        "frame_id": np.array(r.frame_id),
    }
    if r.person_ids is not None:
        data["person_ids"] = r.person_ids
    if r.camera is not None:
        c = r.camera
        data["camera_matrix"] = np.array([[c.fx, 0, c.cx], [0, c.fy, c.cy], [0, 0, 1]])
        data["distortion"], data["lens"] = np.array(c.distortion), np.array(c.lens)
        if c.down is not None:
            data["down"] = np.array(c.down)
    if r.odom_from_camera is not None:
        data["odom_from_camera"] = r.odom_from_camera
    if r.truth_m is not None:
        data["truth_m"] = r.truth_m.astype(np.float32)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **data)  # type: ignore[arg-type]
