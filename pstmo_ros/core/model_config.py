"""What fixes the model's architecture and its window."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Annotated

from pstmo_ros.core import skeleton
from pstmo_ros.core.layouts import nearest
from pstmo_ros.core.ranges import Range, Settings
from pstmo_ros.core.window import WindowSpec

SEM_KINDS = ("mlp", "fc", "transformer")  # Table 4's
_MOST_LEVELS = 8  # 6561 frames: attention over more is beyond any memory


@dataclass(frozen=True)
class ModelConfig(Settings):
    """What fixes the architecture. Defaults are P-STMO-S at N = 27; P-STMO has depth 4 (paper A.2)."""

    frames: int = 27
    stride: Annotated[int, Range(1, 1000)] = 3
    rate_hz: Annotated[float, Range(0.1, 1000)] = 50.0
    depth: Annotated[int, Range(1, 100)] = 3
    dim: Annotated[int, Range(1, 8192)] = 256
    heads: Annotated[int, Range(1, 1024)] = 8
    dropout: Annotated[float, Range(0, 0.99)] = 0.1
    centred: bool = False  # ours: look straight at the person, at one size (core.centring); needs rays as input
    sem: str = "mlp"  # one of SEM_KINDS; the others are Table 4's
    sem_blocks: Annotated[int, Range(1, 100)] = 1  # residual sub-blocks of the MLP (L in Table 4)
    tem: bool = True  # without: Table 3
    mofa: bool = True  # without: the head reads the target frame's token (Tables 3 and 4)
    refine: bool = False  # the refining module of Table 1 (*), see core.refine
    # Ours: every frame's token is read, so that one set of weights answers for any of the newest frames; the paper's
    # answers for the window's centre alone. Takes the place of MOFA.
    dial: bool = False
    look_ahead_frames: int = 0  # with dial: the frame asked for, counted back from the newest, up to N // 2
    uncertainty: bool = False  # a standard deviation for each joint beside its position
    mirrored: bool = False  # poses are the mean of the window's and its mirror image's (section 4.2's test-time flip)
    gravity: bool = False  # ours: the input's last point says where down is (core.gravity)

    def __post_init__(self) -> None:
        super().__post_init__()
        levels = round(math.log(max(self.frames, 1), 3))
        if not 1 <= levels <= _MOST_LEVELS or 3**levels != self.frames:
            raise ValueError(f"frames is {self.frames}; give a power of 3 (27, 81, 243), by which MOFA strides")
        if self.dim % self.heads:
            raise ValueError(f"dim is {self.dim}, not a multiple of heads, {self.heads}; change one of them")
        if self.sem not in SEM_KINDS:
            raise ValueError(f"sem is {self.sem!r}; {nearest(self.sem, SEM_KINDS)}")
        if self.sem == "transformer" and self.dim % (skeleton.J * self.heads):
            need = skeleton.J * self.heads
            raise ValueError(f"dim is {self.dim}; sem: transformer gives each joint dim / 17, so a multiple of {need}")
        if self.refine and self.centred:
            raise ValueError("refine and centred are both on; refine compares with uncentred rays, so leave one out")
        if self.dial and (self.mofa or self.refine):
            raise ValueError("dial is on with mofa or refine, which answer for one frame alone; set both to false")
        if self.gravity and self.sem == "transformer":
            raise ValueError("gravity is on with sem: transformer, whose tokens are joints; give mlp or fc")
        if self.uncertainty and self.refine:
            raise ValueError("uncertainty and refine are both on; refine moves poses after their deviation is given")
        if not 0 <= self.look_ahead_frames <= (self.frames // 2 if self.dial else 0):
            raise ValueError(
                f"look_ahead_frames is {self.look_ahead_frames}; give 0 to {self.frames // 2} with dial, 0 without"
            )

    @classmethod
    def from_dict(cls, values: dict[str, object]) -> ModelConfig:
        """From a plain dict; ValueError names unknown keys."""
        known = {f.name for f in dataclasses.fields(cls)}
        if unknown := set(values) - known:
            raise ValueError(f"unknown model settings {sorted(unknown)}; known: {', '.join(sorted(known))}")
        return cls(**values)  # type: ignore[arg-type]

    @property
    def mofa_levels(self) -> int:
        """Strided layers in MOFA: K = log3(N)."""
        return round(math.log(self.frames, 3))

    @property
    def window(self) -> WindowSpec:
        """The time grid of the input and its target frame: the centre, or with ``dial`` the one that is asked for."""
        return WindowSpec(self.frames, self.stride, self.rate_hz, self.centre - self.look_ahead_frames)

    @property
    def centre(self) -> int:
        """The frame that windows are centred on: the middle one, or with ``dial`` the newest."""
        return self.frames - 1 if self.dial else self.frames // 2

    @property
    def points(self) -> int:
        """Points of one frame of the input: the joints and, with ``gravity``, where down is."""
        return skeleton.J + self.gravity

    @property
    def features(self) -> int:
        """Numbers that SEM takes of one frame: two for each joint, three for a direction."""
        return 2 * skeleton.J + 3 * self.gravity

    @property
    def channels(self) -> int:
        """What is given for each joint: x, y, z and, with ``uncertainty``, their standard deviation."""
        return 4 if self.uncertainty else 3

    @property
    def longest_look_ahead_s(self) -> float:
        """The look-ahead beyond which nothing more would be seen."""
        return self.frames // 2 * self.window.step_s

    def at(self, look_ahead_s: float) -> ModelConfig:
        """The same weights asked for the pose so much before the newest frame; ValueError beyond the longest."""
        if not 0 <= look_ahead_s <= self.longest_look_ahead_s:
            raise ValueError(
                f"look_ahead_s is {look_ahead_s}; this model's window takes 0 to {self.longest_look_ahead_s:.2f}"
            )
        # Rounded down: all of the grid is then in the past when the pose is due.
        frames = int(look_ahead_s / self.window.step_s + 1e-6) if self.dial else 0
        return dataclasses.replace(self, look_ahead_frames=frames)
