"""Saying something once while it lasts, instead of with every message."""

from __future__ import annotations

import time
from collections.abc import Callable

EPISODE_S, REMIND_S = 5.0, 60.0  # what stops for so long has ended; what lasts is said again now and then


class Episodes:
    """What has been said, and when it last happened."""

    def __init__(self) -> None:
        self._said: dict[str, tuple[float, float]] = {}  # what -> when it last happened, and was last said

    def say(self, text: str, log: Callable[[str], object], key: str | None = None, each: bool = False) -> None:
        """Log once per episode; ``each``: every time. Without a key the text tells episodes apart."""
        now, key = time.monotonic(), key or text
        happened, said = self._said.get(key, (-REMIND_S, -REMIND_S))
        quiet = not each and now - happened < EPISODE_S and now - said < REMIND_S
        if len(self._said) > 100:
            self._said.clear()
        self._said[key] = (now, said if quiet else now)
        if not quiet:
            log(text)
