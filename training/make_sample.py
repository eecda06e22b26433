"""The bundled two-person recording: mocap of the test split before one camera, as COCO-17 with detector noise.

python -m training.make_sample pstmo_ros/samples/two_people.npz
"""

from __future__ import annotations

import argparse

import numpy as np

from pstmo_ros.core import skeleton
from pstmo_ros.core.camera import Camera
from pstmo_ros.recording import save_recording
from training.mocap import CMU, load_mocap
from training.outputs import check_file
from training.synthesis import place_camera, synthesize

CLIPS = ("cmu/06_13", "cmu/135_06")  # basketball, karate
SECONDS = 12.0
APART_M = 2.6
SEED = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", help="recording to write (.npz)")
    args = parser.parse_args()
    try:
        check_file("out", args.out)
    except ValueError as e:
        raise SystemExit(f"make_sample: {e}") from None
    mocap = load_mocap(CMU, "test")
    clips = [mocap.clip(mocap.names.index(name))[: round(SECONDS * mocap.rate_hz)].clone() for name in CLIPS]
    for side, clip in zip((-0.5, 0.5), clips, strict=True):
        middle = (clip[:, skeleton.ROOT, :2].amin(0) + clip[:, skeleton.ROOT, :2].amax(0)) / 2
        clip[..., :2] -= middle
        clip[..., 0] += side * APART_M
    camera = Camera.from_field_of_view((1280, 720), 78.0)
    both = np.concatenate([c.reshape(-1, 3) for c in clips])
    pose = place_camera(mocap.positions_m.new_tensor(both)[:, None], camera, SEED)
    recording = synthesize(clips, camera, pose, seed=SEED)
    save_recording(args.out, recording)
    print(f"{args.out}: {recording.keypoints.shape[:2]} frames and people, camera {recording.size_px}")


if __name__ == "__main__":
    main()
