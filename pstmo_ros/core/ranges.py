"""What numbers settings may be, declared beside them: ``depth: Annotated[int, Range(1, 100)] = 3``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, get_origin, get_type_hints


@dataclass(frozen=True)
class Range:
    """From ``low`` to ``high``, both allowed; infinity and NaN never are. Of several numbers, each."""

    low: float
    high: float = math.inf

    def check(self, name: str, value: float | tuple[float, ...]) -> None:
        """ValueError with the setting's name, its value and what to give instead, where it is out of range."""
        numbers = value if isinstance(value, tuple) else (value,)
        if not all(self.low <= n <= self.high and n < math.inf for n in numbers):
            raise ValueError(f"{name} is {list(value) if isinstance(value, tuple) else value}; give {self}")

    def __str__(self) -> str:
        return f"{self.low} or more" if self.high == math.inf else f"{self.low} to {self.high}"


class Bounds(Range):
    """Of two bounds, the lower first, between which something is drawn."""

    def check(self, name: str, value: float | tuple[float, ...]) -> None:
        super().check(name, value)
        if isinstance(value, tuple) and list(value) != sorted(value):
            raise ValueError(f"{name} is {list(value)}; give the lower bound first, as {sorted(value)}")


Share = Annotated[float, Range(0, 1)]


class Settings:
    """What configuration dataclasses derive from: a setting that is out of its declared range is a ValueError."""

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(type(self), include_extras=True).items():
            if get_origin(kind) is Annotated:
                kind.__metadata__[0].check(name, getattr(self, name))
