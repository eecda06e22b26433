"""A node's parameters: one frozen dataclass, declared from itself; config/lifter.yaml is the lifter's manual."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import HistoryPolicy, ReliabilityPolicy

from pstmo_ros.adapters.detectors import KINDS
from pstmo_ros.core import layouts
from pstmo_ros.core.layouts import nearest
from pstmo_ros.core.pipeline import LifterConfig
from pstmo_ros.core.smoothing import SmoothingConfig
from pstmo_ros.core.tracks import TrackConfig
from pstmo_ros.engines import CHOICES
from pstmo_ros.engines.engine import MAX_PEOPLE, MAX_THREADS, PRECISIONS, Options

Config = TypeVar("Config")


@dataclass(frozen=True)
class NodeConfig:
    """Every parameter of the lifter, with its default; ``ABOUT`` describes each."""

    model: str = "realtime"
    engine: str = "auto"
    precision: str = "auto"
    threads: int = 0
    people: int = 4
    keypoints_type: str = "auto"
    keypoints_form: str = ""
    layout: str = "coco_17"
    look_ahead_s: float = 0.0
    rectified: bool = False
    image_size: tuple[int, int] = (0, 0)
    max_delay_s: float = 0.1
    target_frame: str = ""
    gravity_frame: str = ""
    odom_frame: str = ""
    transform_wait_s: float = 0.05
    publish_tf: bool = False
    rep155: bool = False
    rep155_namespace: str = "/humans"
    marker_lifetime_s: float = 0.5
    autostart: bool = False
    tracks: TrackConfig = field(default_factory=TrackConfig)
    smoothing: SmoothingConfig = field(default_factory=SmoothingConfig)

    def __post_init__(self) -> None:
        if self.engine not in CHOICES:
            raise ValueError(f"parameter engine: {self.engine!r} is unknown; {nearest(self.engine, CHOICES)}")
        layouts.get(self.layout)
        if len(self.image_size) != 2 or min(self.image_size) < 0:
            raise ValueError(
                f"parameter image_size: {list(self.image_size)}; give [width, height] in pixels, "
                "or [0, 0] to take it from camera_info"
            )

    @property
    def options(self) -> Options:
        """How the engine is to run the model."""
        return Options(self.precision, self.threads, self.people)

    @property
    def lifter(self) -> LifterConfig:
        """What the pipeline needs of it."""
        return LifterConfig(self.look_ahead_s, self.tracks, self.smoothing)

    @property
    def frames(self) -> dict[str, str]:
        """The parameters that name a frame of tf2's, and which."""
        frames = {name: getattr(self, name) for name in ("target_frame", "gravity_frame", "odom_frame")}
        return {name: frame for name, frame in frames.items() if frame}


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


ABOUT = {
    "model": About("A bundled model's name, or the path of a model file (.safetensors)."),
    "engine": About(f"How the model runs: {', '.join(CHOICES)}; auto takes the fastest that works here."),
    "precision": About(
        f"Of the model's matrix products: {', '.join(PRECISIONS)}; auto is the fastest that keeps the model's poses."
    ),
    "threads": About("CPU cores that one inference may use; 0 leaves it to the engine.", 0, MAX_THREADS),
    "people": About("How many are usually in view: the engine is made for up to so many at once.", 1, MAX_PEOPLE),
    "keypoints_type": About(f"Messages of the detector: {', '.join(KINDS)}; auto finds out from topic keypoints."),
    "keypoints_form": About("YAML file that describes the messages, for keypoints_type generic."),
    "layout": About(f"Keypoint order of the input: {', '.join(layouts.LAYOUTS)}."),
    "look_ahead_s": About("Seconds that each pose waits, to be better for having seen what follows.", 0, 10),
    "rectified": About("Whether the detector sees the rectified image (image_rect) instead of the raw one."),
    "image_size": About("[width, height] in pixels; used only while there is no camera_info."),
    "max_delay_s": About("Seconds that a frame may wait for its turn before only the newest is lifted.", 0, 10, True),
    "target_frame": About("Frame of all outputs, by tf2 at each stamp; empty keeps the camera's."),
    "gravity_frame": About("Frame whose z points up, such as base_link: tells the model where down is."),
    "odom_frame": About("Frame that does not move and whose z points up, such as odom: for cameras that move."),
    "transform_wait_s": About("Seconds to wait for a transform to target_frame.", 0, 1),
    "publish_tf": About("Broadcast body_<id> and its joints on /tf (needs tf2_msgs)."),
    "rep155": About("Publish /humans/bodies/tracked, each body's joint_states and skeleton2d (needs hri_msgs)."),
    "rep155_namespace": About("Where these topics are; give each of several lifters its own."),
    "marker_lifetime_s": About(
        "Seconds after which RViz removes markers that are not renewed; 0 keeps them.", 0, 3600, True
    ),
    "autostart": About("Configure and activate at start instead of waiting for lifecycle calls."),
    "tracks.min_score": About("Keypoints with a lower score count as not seen.", 0, 1, True),
    "tracks.max_gap_s": About("Longest stretch, in seconds, over which an unseen joint is interpolated.", 0, 10),
    "tracks.max_coast_s": About(
        "Seconds for which somebody hidden is expected back; then they have left.", 0, 3600, True
    ),
    "tracks.max_people": About("People followed at once; of more, the largest in the image are.", 1, 1000, True),
    "tracks.min_similarity": About(
        "Keypoint similarity (OKS) that makes somebody without a known id a known person.", 0, 1, True
    ),
    "tracks.max_jump_s": About("Stamps that go back by more seconds than this start everything anew.", 0, 3600, True),
    "smoothing.enabled": About("One-Euro filter on the output.", live=True),
    "smoothing.min_cutoff_hz": About("Cut-off for a still joint: lower is smoother and lags more.", 0.001, 1000, True),
    "smoothing.beta": About("How much the cut-off rises with speed, in Hz per m/s: higher lags less.", 0, 1000, True),
    "smoothing.speed_cutoff_hz": About("Cut-off of the speed estimate.", 0.001, 1000, True),
}
_PLAIN = ("use_sim_time", "start_type_description_service")  # every node's own
_QOS = "qos_overrides."
_QOS_POLICIES: dict[str, tuple[str, ...]] = {
    "history": tuple(HistoryPolicy.short_keys()),
    "depth": (),
    "reliability": tuple(ReliabilityPolicy.short_keys()),
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
