"""Numbers on the command lines: one out of range is refused as argparse refuses what is no number."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from pstmo_ros.core.ranges import Range

N = TypeVar("N", int, float)


@contextmanager
def why_not() -> Iterator[None]:
    """argparse keeps a ValueError's message to itself, and shows this one's."""
    try:
        yield
    except ValueError as e:
        raise argparse.ArgumentTypeError(str(e)) from None


def number(kind: type[N], low: float, high: float = math.inf) -> Callable[[str], N]:
    """An argument's ``type``: an int or a float from ``low`` to ``high``."""

    def read(text: str) -> N:
        value = kind(text)
        with why_not():
            Range(low, high).check("it", value)
        return value

    read.__name__ = kind.__name__  # what argparse calls it where ``text`` is no number at all
    return read


count = number(int, 1)
seed = number(int, 0, 2**32 - 1)
