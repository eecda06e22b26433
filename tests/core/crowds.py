"""People who pass and hide each other, as a detector without ids sees them.

    python -m tests.core.crowds [--seeds 40]

prints for each scene and noise in how many runs somebody's id changed, or was given to somebody else.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pstmo_ros.core import skeleton
from pstmo_ros.core.camera import Camera
from pstmo_ros.core.smoothing import SmoothingConfig
from pstmo_ros.core.tracks import TrackConfig, Tracks
from pstmo_ros.core.types import Floats, Frame2D
from pstmo_ros.core.window import WindowSpec
from tests.conftest import record, walker

CAMERA = Camera(1280, 720, 900.0, 910.0, 640.0, 355.0, (-0.08, 0.02, 0.001, -0.0005, 0.0))
SECONDS, HIDDEN_S = 4.0, 1.0
NOISES_PX = (3.0, 8.0, 15.0)  # of people 300 to 375 px tall, each joint by itself, each frame anew
GHOST_PX, ANYWHERE_PX = (780, 400), ((200, 250), (1080, 450))


@dataclass(frozen=True)
class Walk:
    """One person: metres from the camera, m/s to the right, whether they turn back midway, or are hidden then."""

    depth_m: float
    speed_m_s: float
    turns: bool = False
    hidden: bool = False


@dataclass(frozen=True)
class Scene:
    """Everyone meets at the middle of the image at half time.

    Shares of frames. missed: in which a person is not detected; ghost: in which a person is seen where there is none,
    always beside the meeting; strays: the same, anywhere. below: of what never shows, as behind a table.
    """

    walks: tuple[Walk, ...]
    rate_hz: float = 30.0
    missed: float = 0.0
    ghost: float = 0.0
    strays: float = 0.0
    below: tuple[str, ...] = ()


TABLE = ("pelvis", "spine", *(f"{side}_{joint}" for side in ("left", "right") for joint in skeleton.LEG))
NEAR, FAR = Walk(4.0, 0.8), Walk(5.0, -0.8, hidden=True)
SCENES = {
    "crossing": Scene((NEAR, FAR)),
    "crossing at 10 Hz": Scene((NEAR, FAR), rate_hz=10.0),
    "crossing, a fifth missed": Scene((NEAR, FAR), missed=0.2),
    "crossing, a ghost flickers": Scene((NEAR, FAR), ghost=0.5),
    "crossing, stray detections": Scene((NEAR, FAR), strays=0.05),
    "crossing behind a table, a fifth missed": Scene((NEAR, FAR), missed=0.2, below=TABLE),
    "crossing, both hidden": Scene((Walk(4.0, 0.8, hidden=True), FAR)),
    "crossing at 3 and 7 m": Scene((Walk(3.0, 0.8), Walk(7.0, -0.8, hidden=True))),
    "one overtakes": Scene((Walk(4.0, 0.5), Walk(5.0, 1.3, hidden=True))),
    "one stands behind": Scene((Walk(4.0, 1.0), Walk(5.0, 0.0, hidden=True))),
    "one stands in front": Scene((Walk(4.0, 0.0), Walk(5.0, 1.0, hidden=True))),
    "both turn back": Scene((Walk(4.0, 0.8, turns=True), Walk(5.0, -0.8, turns=True, hidden=True))),
    "three cross": Scene((NEAR, FAR, Walk(6.0, 0.5, hidden=True))),
}


def frames(scene: Scene, noise_px: float, seed: int) -> Iterator[tuple[list[int], Frame2D]]:
    """Each frame in which somebody is seen, people in any order, and who they are; -1 is a ghost."""
    rng = np.random.default_rng(seed)
    recording = record([_joints(w, scene.rate_hz, rng) for w in scene.walks], CAMERA, scene.rate_hz, ids=False)
    for t, frame in enumerate(recording.frames()):
        midway = abs(t / scene.rate_hz - SECONDS / 2) < HIDDEN_S / 2
        there = [p for p, w in enumerate(scene.walks) if not (midway and w.hidden) and rng.random() >= scene.missed]
        px = frame.keypoints_px
        for share, low, high in ((scene.ghost, GHOST_PX, GHOST_PX), (scene.strays, *ANYWHERE_PX)):
            if rng.random() < share:  # somebody's shape
                shape = px[rng.integers(len(scene.walks))]
                place = rng.uniform(low, high) - shape.mean(0)
                px, there = np.concatenate([px, shape[None] + place]), [*there, len(px)]
        if not there:
            continue
        order = rng.permutation(there).tolist()
        noisy = (px + rng.normal(0, noise_px, px.shape)).astype(np.float32)[order]
        who = [p if p < len(scene.walks) else -1 for p in order]
        scores = np.ones(noisy.shape[:2], np.float32)
        scores[:, [skeleton.index(name) for name in scene.below]] = 0
        yield who, Frame2D(frame.stamp_ns, frame.size_px, frame.layout, noisy, scores)


def confused(scene: Scene, noise_px: float, seed: int) -> bool:
    """Whether somebody got more than one id over the scene, or an id that was somebody else's."""
    tracks = Tracks(WindowSpec(27, 3, 50.0, 13), 0.0, TrackConfig(), SmoothingConfig())
    named: list[set[int]] = [set() for _ in scene.walks]
    for who, frame in frames(scene, noise_px, seed):
        for person, due in zip(who, tracks.observe(frame), strict=True):
            if person >= 0:
                named[person].add(due.person_id)
    return any(len(ids) != 1 for ids in named) or len(set.union(*named)) != len(named)


def _joints(walk: Walk, rate_hz: float, rng: np.random.Generator) -> Floats:
    """(T, 17, 3) metres in the camera frame: a walker at the pace, stride and side that the walk asks for."""
    phase = rng.uniform(0, 2 * np.pi)
    body = walker(SECONDS, rate_hz, (0.0, walk.depth_m), phase)
    t = np.arange(len(body)) / rate_hz - SECONDS / 2
    body[..., 0] -= 0.8 * t[:, None]
    if not walk.speed_m_s:
        body[:] = body[:1]
    left = body * (-1, 1, 1)
    left = left[:, list(skeleton.MIRROR)]
    x = walk.speed_m_s * (-np.abs(t) if walk.turns else t)
    to_the_left = np.gradient(x) < 0
    body = np.where(to_the_left[:, None, None], left, body)
    body[..., 0] += x[:, None]
    return body


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=40)
    seeds = parser.parse_args().seeds
    print(f"runs of {seeds} in which an id was wrong".ljust(42), *(f"{n:g} px".rjust(6) for n in NOISES_PX))
    for name, scene in SCENES.items():
        wrong = [sum(confused(scene, noise, seed) for seed in range(seeds)) for noise in NOISES_PX]
        print(name.ljust(42), *(str(n).rjust(6) for n in wrong), flush=True)


if __name__ == "__main__":
    main()
