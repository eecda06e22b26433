"""PoseLifter.step by stage: what is not the forward pass must cost next to nothing."""

from __future__ import annotations

import time

import numpy as np

from pstmo_ros.core.bundle import load
from pstmo_ros.core.camera import Camera
from pstmo_ros.core.pipeline import PoseLifter
from pstmo_ros.core.types import Frame2D
from pstmo_ros.engines import load_engine, model_path


def measure(model: str, people: tuple[int, ...], frames: int = 200) -> list[dict[str, object]]:
    """Median ms per frame of a bundled model's lifter: in all, taking frames in, the forward pass, and the rest."""
    bundle = load(model_path(model)).at(0.0)
    engine, camera = load_engine(bundle), Camera.from_field_of_view((1280, 720), 65.0)
    rows: list[dict[str, object]] = []
    for count in people:
        forward: list[float] = []

        def timed(windows, forward=forward):
            started = time.perf_counter()
            out = engine.infer(windows)
            forward.append(time.perf_counter() - started)
            return out

        lifter, observing, lifting = PoseLifter(bundle, timed), [], []
        rng = np.random.default_rng(0)
        standing = rng.uniform(100, 600, (count, 17, 2)) + 700.0 * np.arange(count)[:, None, None]  # nobody overlaps
        for t in range(frames):
            keypoints = (standing + 20 * np.sin(t / 10) + rng.normal(0, 2, standing.shape)).astype(np.float32)
            frame = Frame2D(
                t * 20_000_000, (1280, 720), "h36m_17", keypoints, np.ones((count, 17), np.float32), tuple(range(count))
            )
            started = time.perf_counter()
            windows = lifter.observe(frame)
            observed = time.perf_counter()
            lifter.lift(windows, camera)
            observing.append(observed - started)
            lifting.append(time.perf_counter() - observed)
        half = slice(frames // 2, None)  # histories are full by then
        observe, lift, run = (float(np.median(t[half])) * 1e3 for t in (observing, lifting, forward))
        rows.append({"model": model, "people": count, "step_ms": observe + lift, "observe_and_window_ms": observe,
                     "forward_ms": run, "normalise_place_smooth_ms": lift - run})  # fmt: skip
    return rows
