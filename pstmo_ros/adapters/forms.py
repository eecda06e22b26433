"""Forms: where a message type keeps its keypoints, written down as data; config/adapters has an example to copy."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pstmo_ros.adapters import KeypointsError, stamp_ns
from pstmo_ros.adapters.people import person_id, seen_people
from pstmo_ros.core import layouts
from pstmo_ros.core.layouts import LAYOUTS, Layout, nearest, to_model_joints
from pstmo_ros.core.types import Frame2D

_PATHS = ("header", "people", "id", "points", "key", "x", "y", "score")
_JOINTS = tuple(sorted({joint for layout in LAYOUTS.values() for joint in layout.joints}))


@dataclass(frozen=True)
class Form:
    """A path is field names joined by dots, a number in it an index ("kp.0"); people and header start at the message,
    id and points at a person, x, y, score and key at a point.

    type: the message, "package/msg/Name". header: its std_msgs/Header.
    people: its list of people; empty when the message is one person. id: number or text; empty without.
    points: the person's list of points; empty when every joint is a field of the person.
    x, y: pixels, or shares of the image's width and height when ``normalized``. score: empty when there is none;
    a joint at (0, 0) or less is then not seen.
    joints: a layout's name or a list of joint names (null: not used), for points in that order, or, with a ``key``,
    for points numbered in that order from ``first``; or joint name -> the value of ``key`` that tells the joint, or
    its path in the person when there are no points (null: there is none).
    """

    type: str
    joints: str | Sequence[str | None] | Mapping[str, Any]
    header: str = "header"
    people: str = ""
    id: str = ""
    points: str = ""
    key: str = ""
    first: int = 0
    x: str = "x"
    y: str = "y"
    score: str = ""
    normalized: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.type, str) or not re.fullmatch(r"\w+/msg/\w+", self.type):
            raise ValueError(f"form field type is {self.type!r}; give package/msg/Name")
        for name in _PATHS:
            if not isinstance(path := getattr(self, name), str):
                raise ValueError(f"form field {name} is {path!r}; give a path, field names joined by dots")
        if type(self.first) is not int:
            raise ValueError(f"form field first is {self.first!r}; give the number of the first point")
        if type(self.normalized) is not bool:
            raise ValueError(f"form field normalized is {self.normalized!r}; give true or false")
        if not (self.x and self.y):
            raise ValueError(f"form fields x and y are {self.x!r} and {self.y!r}; give a path each")
        if not self.joints or not isinstance(self.joints, (str, list, tuple, Mapping)):
            raise ValueError(f"form field joints is {self.joints!r}; give a layout's name, a list or a mapping")
        if not self.points and not isinstance(self.joints, Mapping):
            raise ValueError("form field points is empty; give the path of a person's points, or joints as a mapping")
        if isinstance(self.joints, str):
            layouts.get(self.joints)
            return
        for joint in self.joints:
            if joint is not None and joint not in _JOINTS:
                raise ValueError(f"form field joints names {joint!r}; {nearest(str(joint), _JOINTS)}")
        if not isinstance(self.joints, Mapping):
            return
        for joint, key in self.joints.items():
            if key is not None and type(key) not in (str, int):  # YAML reads NO, on and the like as truth values
                raise ValueError(f"form field joints has {key!r} for {joint}; give a number, or text in quotes")
        if bool(self.points) != bool(self.key):
            raise ValueError("form field joints maps names: give points with a key, or neither, for fields of a person")

    @property
    def layout(self) -> Layout:
        """The joints that it has, in their order."""
        if isinstance(self.joints, str):
            return layouts.get(self.joints)
        names = self.joints
        if isinstance(names, Mapping):
            names = [joint if key is not None else None for joint, key in names.items()]
        return Layout(self.type, tuple(joint or "unused" for joint in names))


def load_form(path: str | Path) -> Form:
    """A form from a YAML file. ValueError names the file, the key and the nearest valid one."""
    try:
        given = yaml.safe_load(Path(path).read_bytes())
    except (OSError, yaml.YAMLError, ValueError) as e:
        raise ValueError(f"form {str(path)!r} cannot be read: {' '.join(str(e).split())}") from None
    fields = {f.name: f for f in dataclasses.fields(Form)}
    if not isinstance(given, dict):
        raise ValueError(f"form {str(path)!r} must be a mapping of {', '.join(fields)}")
    for name in given:
        if name not in fields:
            raise ValueError(f"form {str(path)!r} has {name!r}; {nearest(str(name), tuple(fields))}")
    if missing := {"type", "joints"} - set(given):
        raise ValueError(f"form {str(path)!r} lacks {', '.join(sorted(missing))}")
    for name in set(_PATHS) & set(given):
        if given[name] is None or type(given[name]) is int:  # an empty path, and an index alone
            given[name] = "" if given[name] is None else str(given[name])
    try:
        return Form(**given)
    except ValueError as e:
        raise ValueError(f"{path}: {e}") from None


def read(form: Form, message: Any, size_px: tuple[int, int]) -> Frame2D:
    """A message of the form's type -> Frame2D. KeypointsError names a field that is not there or does not fit."""
    try:
        return _read(form, message, size_px)
    except KeypointsError:
        raise
    except (AttributeError, TypeError, ValueError) as e:  # a path leads to something else than what it is for
        raise KeypointsError(f"{form.type} does not fit its form: {e}") from None


def header(form: Form, message: Any) -> Any:
    """A message's header. KeypointsError where the form's path leads to none."""
    found = _at(form.header)(message)
    if not hasattr(found, "frame_id"):
        raise KeypointsError(f"form field header is {form.header!r}: {type(found).__name__} is no std_msgs/Header")
    return found


def _read(form: Form, message: Any, size_px: tuple[int, int]) -> Frame2D:
    layout = form.layout
    people = list(_at(form.people)(message)) if form.people else [message]
    xy = np.full((len(people), len(layout.joints), 2), np.nan)
    scores = np.zeros(xy.shape[:2])
    x, y, score = _at(form.x), _at(form.y), _at(form.score)
    for p, person in enumerate(people):
        for j, point in _points(form, layout, person):
            xy[p, j] = x(point), y(point)
            scores[p, j] = score(point) if form.score else (xy[p, j] > 0).any()
    if form.normalized:
        xy *= size_px
    ids = [person_id(_at(form.id)(person)) if form.id else None for person in people]
    frame = seen_people(stamp_ns(header(form, message)), size_px, layout.name, xy, scores, ids)
    return frame if isinstance(form.joints, str) else _in_model_joints(frame, layout)


def _points(form: Form, layout: Layout, person: Any) -> Iterator[tuple[int, Any]]:
    """(joint index, point) of each joint that the person has."""
    if not form.points:
        assert isinstance(form.joints, Mapping)
        yield from ((j, _at(str(path))(person)) for j, path in enumerate(form.joints.values()) if path is not None)
        return
    points, count = _at(form.points)(person), len(layout.joints)
    if not form.key:
        if len(points) not in (0, count):
            raise KeypointsError(f"{form.type}: {form.points} has {len(points)} points; {layout.name} has {count}")
        yield from enumerate(points)
        return
    named = form.joints.values() if isinstance(form.joints, Mapping) else None
    index = {str(k): j for j, k in enumerate(named or range(form.first, form.first + count)) if k is not None}
    for point in points:
        value = str(_at(form.key)(point))
        if value in index:
            yield index[value], point
        elif named is None:
            raise KeypointsError(
                f"{form.type}: {form.points} has {form.key} {value}; layout {layout.name} has {form.first} to "
                f"{form.first + count - 1}: set parameter layout to what the detector sends"
            )


def _in_model_joints(frame: Frame2D, layout: Layout) -> Frame2D:
    """Joints by a form's own list are nobody else's layout: they go on as the model's."""
    points, scores = to_model_joints(layout, frame.keypoints_px, frame.scores)
    return dataclasses.replace(frame, layout="h36m_17", keypoints_px=points, scores=scores)


def _fields(message: Any) -> Iterable[str]:
    """Of a live message, or of one read from a bag."""
    if dataclasses.is_dataclass(message):
        return (f.name for f in dataclasses.fields(message))
    fields: Iterable[str] = getattr(message, "get_fields_and_field_types", dict)()
    return fields


def _at(path: str) -> Callable[[Any], Any]:
    """The value at a path. KeypointsError names the part that is not there, and what is."""
    parts = path.split(".")

    def get(value: Any) -> Any:
        for part in parts:
            try:
                value = value[int(part)] if part.isdecimal() else getattr(value, part)
            except (AttributeError, IndexError, TypeError):
                there = ", ".join(_fields(value)) or type(value).__name__
                raise KeypointsError(f"path {path!r}: there is no {part!r}; there is {there}") from None
        return value

    return get
