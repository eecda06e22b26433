"""One person as time goes by, and one whose pose is due."""

from __future__ import annotations

from dataclasses import dataclass, field

from pstmo_ros.core.association import Motion
from pstmo_ros.core.sides import Sides
from pstmo_ros.core.smoothing import OneEuro, SmoothingConfig
from pstmo_ros.core.types import Floats, Move, Stand
from pstmo_ros.core.velocity import Velocity
from pstmo_ros.core.window import History


@dataclass(slots=True, eq=False)
class Track:
    """One person: their history, where they are expected in the image, and the filters of their output."""

    person_id: int
    history: History
    motion: Motion
    smoother: OneEuro
    velocity: Velocity = field(default_factory=Velocity)  # of poses in space
    velocity_unplaced: Velocity = field(default_factory=Velocity)  # of those that have no place, about the pelvis
    sides: Sides = field(default_factory=Sides)
    still: bool = False  # whether what is filtered is in a frame that does not move

    def turn(self, move: Move) -> bool:
        """Go on in another image than the one so far; False for somebody whom it cannot show."""
        self.history.turn(move)
        self.sides.turn(move)
        return self.motion.turn(move)

    def filter_in(self, still: bool, smoothing: SmoothingConfig) -> None:
        """Filter what is put out in that frame; what was put out in the other one is forgotten."""
        if still != self.still:
            self.smoother, self.velocity, self.velocity_unplaced = OneEuro(smoothing), Velocity(), Velocity()
            self.still = still


@dataclass(frozen=True, slots=True, eq=False)
class Due:
    """A person whose pose at ``stamp_ns`` can now be given, with that frame's joints (17, 2) px and scores (17,), and
    how the camera stood, where that is known.

    Joints are on the sides, and in the view, that they were thought to be in by then; ``Tracks`` alone may change that.
    """

    track: Track
    person_id: int
    stamp_ns: int
    joints_px: Floats
    scores: Floats
    stand: Stand | None = None
