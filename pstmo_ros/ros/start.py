"""The nodes' entry points: asked to end while it still imports, which takes seconds, a process ends in peace too."""

from __future__ import annotations

import os
import signal


def lifter() -> None:
    """Run the lifter."""
    _end_at_once()
    from pstmo_ros.ros.node import main

    main()


def player() -> int:
    """Run the player."""
    _end_at_once()
    from pstmo_ros.ros.player import main

    return main()


def _end_at_once() -> None:
    """Until a node's main takes the signals over. Nothing is there yet that would have to be put away, and an exception
    would be lost, or take another's shape, in what is being imported."""
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, lambda *_: os._exit(0))
