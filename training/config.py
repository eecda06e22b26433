"""Training configurations: frozen dataclasses filled from YAML and ``key=value`` overrides; unknown keys fail."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import yaml

from pstmo_ros.core.layouts import nearest

T = TypeVar("T")


def load_config(cls: type[T], path: str | Path | None, overrides: Sequence[str] = ()) -> T:
    """A configuration of dataclass ``cls``; overrides name nested fields with dots: ``model.frames=81``.

    ValueError names the key, the value and the nearest valid key.
    """
    values: dict[str, Any] = {}
    if path is not None:
        if not Path(path).is_file():
            raise ValueError(f"configuration file {str(path)!r} does not exist; see config/training/")
        values = yaml.safe_load(Path(path).read_text()) or {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ValueError(f"override {override!r} is not key=value")
        inner = values
        *parents, leaf = key.split(".")
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[leaf] = yaml.safe_load(text)
    return _build(cls, values, "")


def _build(cls: type[T], values: dict[str, Any], prefix: str) -> T:
    if not isinstance(values, dict):
        raise ValueError(f"{prefix.rstrip('.') or 'the configuration'} is {values!r}; give settings, one per line")
    types = get_type_hints(cls)
    out: dict[str, Any] = {}
    for key, value in values.items():
        if key not in types:
            raise ValueError(f"{prefix}{key} is unknown; {nearest(str(key), tuple(types))}")
        kind = types[key]
        if dataclasses.is_dataclass(kind):
            value = _build(kind, value, f"{prefix}{key}.")  # type: ignore[type-var, arg-type]
        elif isinstance(value, list):
            value = tuple(value)
        elif kind is float and isinstance(value, int | str):
            value = _number(value, f"{prefix}{key}")  # YAML reads 1e-3 as text
        elif kind in (int, str, bool) and type(value) is not kind:
            raise ValueError(f"{prefix}{key} is {value!r}; give {'an' if kind is int else 'a'} {kind.__name__}")
        out[key] = value
    return cls(**out)


def _number(value: int | str, key: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise ValueError(f"{key} is {value!r}; give a number") from None
