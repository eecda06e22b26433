"""A node's parameters: declared from a frozen dataclass, and read back into it, checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import HistoryPolicy, ReliabilityPolicy

from pstmo_ros.core.layouts import nearest

Config = TypeVar("Config")


@dataclass(frozen=True)
class About:
    """What a parameter does, the values that it may take, and whether it may change while the node is configured."""

    text: str
    low: float | None = None
    high: float | None = None
    live: bool = False

    def descriptor(self, default: Any) -> ParameterDescriptor:
        """For tools such as `ros2 param describe`; rclpy refuses values out of range by it."""
        descriptor = ParameterDescriptor(description=self.text)
        if self.low is None or self.high is None:
            return descriptor
        if isinstance(default, int):
            descriptor.integer_range = [IntegerRange(from_value=int(self.low), to_value=int(self.high), step=1)]
        else:
            bounds = FloatingPointRange(from_value=float(self.low), to_value=float(self.high))
            descriptor.floating_point_range = [bounds]
        return descriptor

    def expected(self, default: Any) -> str:
        """An error message's ending: what to give instead."""
        kinds = {bool: "true or false", str: "text", int: "an integer", float: "a number", list: "a list of integers"}
        kind = kinds[type(default)]
        bounds = f" from {self.low:g} to {self.high:g}" if self.low is not None else ""
        return f"give {kind}{bounds}, for example {default!r}"


_PLAIN = ("use_sim_time", "start_type_description_service")  # every node's own
_QOS = "qos_overrides."
_QOS_POLICIES: dict[str, tuple[str, ...]] = {
    "history": tuple(key for key in HistoryPolicy.short_keys() if key != "unknown"),  # no topic can be made with that
    "depth": (),
    "reliability": tuple(key for key in ReliabilityPolicy.short_keys() if key != "unknown"),
}


class Parameters(Generic[Config]):
    """A node's declared parameters. ``read`` gives the checked configuration."""

    def __init__(self, node: Node, default: Config, about: Mapping[str, About]) -> None:
        """Declare every field of ``default``. A value given at start that cannot be used is kept for ``read``."""
        self.names = tuple(about)
        self._node, self._default = node, default
        self._faults: dict[str, str] = {}
        # rclpy drops what nobody declares without a word, and has no public view of what was given.
        given: dict[str, Parameter] = node._parameter_overrides
        for name, value in flatten(default).items():
            if isinstance(value, float) and name in given and given[name].type_ is Parameter.Type.INTEGER:
                given[name] = Parameter(name, value=float(given[name].value))
            descriptor = about[name].descriptor(value)
            empty = name in given and given[name].type_ is Parameter.Type.NOT_SET  # as [] and nothing at all are
            if empty:
                self._faults[name] = f"parameter {name} is empty; {about[name].expected(value)}"
            try:
                node.declare_parameter(name, value, descriptor, ignore_override=empty)
            except (InvalidParameterTypeException, InvalidParameterValueException):
                self._faults[name] = f"parameter {name}: {given[name].value!r}; {about[name].expected(value)}"
                node.declare_parameter(name, value, descriptor, ignore_override=True)
        for name in given:
            if name.startswith(_QOS):
                if fault := _qos_fault(name, given[name].value):
                    self._faults[name] = fault
            elif name not in (*about, *_PLAIN):
                self._faults[name] = f"parameter {name} is unknown; {nearest(name, self.names)}"
        after_set(node, self._forgive)

    def read(self) -> Config:
        """The configuration as it stands; ValueError names each parameter that cannot be used, and the fix."""
        if self._faults:
            raise ValueError("; ".join(self._faults.values()))
        return unflatten(self._default, {name: self._node.get_parameter(name).value for name in self.names})

    def idle_qos(self) -> list[str]:
        """QoS overrides given for topics that the node, now active, does not have."""
        given: Mapping[str, Parameter] = self._node._parameter_overrides
        return [name for name in given if name.startswith(_QOS) and not self._node.has_parameter(name)]

    def _forgive(self, parameters: list[Parameter]) -> None:
        for parameter in parameters:
            self._faults.pop(parameter.name, None)


def after_set(node: Node, callback: Callable[[list[Parameter]], None]) -> None:
    """Have parameters told to a callback once they are set. rclpy of Humble has no means for that."""
    if hasattr(node, "add_post_set_parameters_callback"):
        node.add_post_set_parameters_callback(callback)
        return
    set_atomically = node._set_parameters_atomically

    def set_and_tell(parameters: list[Parameter], *args: Any, **kwargs: Any) -> SetParametersResult:
        result = set_atomically(parameters, *args, **kwargs)
        if result.successful:
            callback(parameters)
        return result

    node._set_parameters_atomically = set_and_tell


def _qos_fault(name: str, value: Any) -> str:
    """What is wrong with a QoS override, which rclpy would ignore or fail at without saying why; empty when fine."""
    *_, side, policy = name.split(".")
    if side not in ("publisher", "subscription") or policy not in _QOS_POLICIES:
        return (
            f"parameter {name} is unknown; give {_QOS}/TOPIC.publisher or .subscription, "
            f"and one of .{', .'.join(_QOS_POLICIES)}"
        )
    choices = _QOS_POLICIES[policy]
    if not choices:
        fine = type(value) is int and 0 <= value < 2**31
        return "" if fine else f"parameter {name}: {value!r}; give an integer from 0 to {2**31 - 1}, for example 10"
    return "" if value in choices else f"parameter {name}: {value!r} is unknown; {nearest(str(value), choices)}"


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """Dataclass -> ROS parameter names and values: nested fields are joined by dots, tuples become lists."""
    out: dict[str, Any] = {}
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        if dataclasses.is_dataclass(value):
            out |= flatten(value, f"{prefix}{f.name}.")
        else:
            out[prefix + f.name] = list(value) if isinstance(value, tuple) else value
    return out


def unflatten(default: Config, values: Mapping[str, Any], prefix: str = "") -> Config:
    """The inverse of ``flatten``: ``default`` with every field replaced."""
    changes: dict[str, Any] = {}
    for f in dataclasses.fields(default):  # type: ignore[arg-type]
        before, name = getattr(default, f.name), prefix + f.name
        if dataclasses.is_dataclass(before):
            changes[f.name] = unflatten(before, values, f"{name}.")
        else:
            changes[f.name] = tuple(values[name]) if isinstance(before, tuple) else values[name]
    return dataclasses.replace(default, **changes)  # type: ignore[type-var]
