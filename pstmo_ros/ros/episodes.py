"""Saying something once while it lasts, instead of with every message."""

from __future__ import annotations

import re
import time

EPISODE_S, REMIND_S = 5.0, 60.0  # what stops for so long has ended; what lasts is said again now and then


class Episodes:
    """What has been said, and when it last happened."""

    def __init__(self) -> None:
        self._said: dict[str, tuple[float, float]] = {}  # what -> when it last happened, and was last said

    def due(self, what: str, each: bool = False) -> bool:
        """It happens now: whether that is to be said. Once per episode, whatever the numbers in it; ``each``: every
        time."""
        what = re.sub(r"\d+", "", what)
        now = time.monotonic()
        happened, said = self._said.get(what, (-REMIND_S, -REMIND_S))
        quiet = not each and now - happened < EPISODE_S and now - said < REMIND_S
        if len(self._said) > 100:
            self._said.clear()
        self._said[what] = (now, said if quiet else now)
        return not quiet
