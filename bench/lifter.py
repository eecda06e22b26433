"""PoseLifter.step by stage: what is not the forward pass must cost next to nothing."""

from __future__ import annotations

import itertools
import time

import numpy as np

from bench.traffic import crowd
from pstmo_ros.core.bundle import load
from pstmo_ros.core.pipeline import LifterConfig, PoseLifter
from pstmo_ros.core.tracks import TrackConfig
from pstmo_ros.engines import load_engine, model_path


def measure(model: str, people: tuple[int, ...], frames: int = 200) -> list[dict[str, object]]:
    """Median ms per frame of a bundled model's lifter: in all, taking frames in, the forward pass, and the rest.

    The people are those of the bundled recording: whoever lies is lifted otherwise, and costs more.
    """
    bundle = load(model_path(model)).at(0.0)
    engine = load_engine(bundle)
    rows: list[dict[str, object]] = []
    for count in people:
        forward: list[float] = []

        def timed(windows, forward=forward):
            started = time.perf_counter()
            out = engine.infer(windows)
            forward.append(time.perf_counter() - started)
            return out

        config = LifterConfig(tracks=TrackConfig(max_people=count))
        lifter, observing, lifting = PoseLifter(bundle, timed, config), [], []
        recording = crowd(count)
        for frame in itertools.islice(recording.frames(), frames):
            started = time.perf_counter()
            windows = lifter.observe(frame, recording.camera)
            observed = time.perf_counter()
            poses = lifter.lift(windows, recording.camera)
            assert len(poses) == count, "somebody was left out"
            observing.append(observed - started)
            lifting.append(time.perf_counter() - observed)
        half = slice(frames // 2, None)  # histories are full by then
        observe, lift, run = (float(np.median(t[half])) * 1e3 for t in (observing, lifting, forward))
        rows.append({"model": model, "people": count, "step_ms": observe + lift, "observe_and_window_ms": observe,
                     "forward_ms": run, "normalise_place_smooth_ms": lift - run})  # fmt: skip
    return rows
