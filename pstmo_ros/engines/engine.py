"""What every engine is, and what a user may choose about it."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pstmo_ros.core.bundle import Bundle
from pstmo_ros.core.layouts import nearest
from pstmo_ros.core.types import Floats

PRECISIONS = ("auto", "fp32", "fp16", "bf16", "int8")
MAX_THREADS = 256
MAX_PEOPLE = 32  # usually in view


class Unavailable(RuntimeError):
    """This machine cannot run an engine, and nothing is wrong with that; the message says what it lacks."""


class Engine(ABC):
    """A model ready to run, for one caller at a time: threads take turns.

    window: (N, 17, C), the shape of what it is given of one person. pose: (17, O), of what it answers.
    """

    name: str

    def __init__(self, window: tuple[int, ...], pose: tuple[int, ...]) -> None:
        self._window, self._pose = window, pose
        self._turn = threading.Lock()  # buffers, and what libraries keep for a run, are one caller's at a time

    def infer(self, windows: Floats) -> Floats:
        """All that the model gives: (B, N, 17, C) model coordinates, NaN where missing -> (B, 17, O) float32.

        ValueError for windows of another shape, which arithmetic might stretch to this one.
        """
        windows = np.ascontiguousarray(windows, np.float32)
        if windows.shape[1:] != self._window:
            raise ValueError(f"windows have shape {windows.shape}; give (people, {', '.join(map(str, self._window))})")
        if not len(windows):
            return np.empty((0, *self._pose), np.float32)
        with self._turn:
            return self._run(windows)

    @abstractmethod
    def _run(self, windows: Floats) -> Floats:
        """As ``infer``, for at least one person."""

    def __call__(self, windows: Floats) -> Floats:
        """The poses: (B, N, 17, C) model coordinates, NaN where a joint is missing -> (B, 17, 3) float32 metres."""
        return self.infer(windows)[..., :3]


@dataclass(frozen=True)
class Options:
    """How a model runs.

    precision: of the matrix products. auto: fp16 on GPUs, with OpenVINO bf16 on CPUs that have units for it or int8 on
    those with VNNI, if the self-test allows it; else fp32. bf16 and int8 move poses by some millimetres, a small part
    of what they err by.
    threads: how many of the CPU's cores one inference may use; 0 leaves it to the engine.
    people: how many are usually in view: batches up to this size are tried out at start, TensorRT tunes for it, and
    OpenVINO has a graph for each of them.
    """

    precision: str = "auto"
    threads: int = 0
    people: int = 4

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision {self.precision!r} is unknown; {nearest(self.precision, PRECISIONS)}")
        if not 0 <= self.threads <= MAX_THREADS:
            raise ValueError(f"threads is {self.threads}; give 0 (the engine's choice) to {MAX_THREADS}")
        if not 1 <= self.people <= MAX_PEOPLE:
            raise ValueError(f"people is {self.people}; give 1 to {MAX_PEOPLE}")

    @property
    def settled(self) -> str:
        """The precision to run in: auto is fp32 unless load_engine has tried something faster."""
        return "fp32" if self.precision == "auto" else self.precision


class Recipe(NamedTuple):
    """How a compiled engine is made, stored and opened.

    key: all that the result depends on beside the model file and this package's own code.
    write: makes it, as files in a folder. open: the engine in such a folder.
    """

    title: str
    bundle: Bundle
    key: tuple[str, ...]
    write: Callable[[Path], object]
    open: Callable[[Path], Engine]
