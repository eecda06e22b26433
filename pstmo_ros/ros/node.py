"""The lifecycle node ``lifter``: keypoints in, skeletons, poses and markers out."""

from __future__ import annotations

import logging
import sys
import time
import traceback
from collections.abc import Callable
from itertools import groupby
from typing import Any

import rclpy
from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseArray
from rcl_interfaces.msg import SetParametersResult
from rclpy._rclpy_pybind11 import RCLError
from rclpy.executors import ExternalShutdownException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rclpy.task import Future
from sensor_msgs.msg import CameraInfo, PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from pstmo_ros.adapters import KeypointsError
from pstmo_ros.adapters.camera_info import camera_from
from pstmo_ros.core import bundle as bundles
from pstmo_ros.core.camera import Camera
from pstmo_ros.core.pipeline import PoseLifter
from pstmo_ros.core.types import Frame2D, Pose3D
from pstmo_ros.engines import EngineError, load_engine, model_path
from pstmo_ros.ros import messages
from pstmo_ros.ros.inputs import INPUT_QOS, KeypointInput, overridable
from pstmo_ros.ros.parameters import ABOUT, NodeConfig, Parameters

WARN_EVERY_S = 5.0
WAKE_S = 0.25  # the events executor looks for signals only this often
OUTPUT_QOS = QoSProfile(depth=10)
ROOT_RELATIVE = "_root_relative"  # frame_id suffix of poses about the pelvis, sent while no camera is known


class Lifter(LifecycleNode):
    """Lifecycle: configure loads the model, activate starts listening, deactivate stops, cleanup lets go of it all."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("lifter", **kwargs)
        self._declared = Parameters(self, NodeConfig(), ABOUT)
        self._warned: dict[str, float] = {}
        self._inputs: list[Any] = []  # subscriptions, while active
        self._keypoints: KeypointInput | None = None
        self._out: dict[str, Any] = {}  # publishers, while configured
        self.add_on_set_parameters_callback(self._may_set)

    def start(self) -> None:
        """Configure and activate when parameter autostart asks for it; else say how that is done."""
        if not self.get_parameter("autostart").value:
            name = self.get_fully_qualified_name()
            self.get_logger().info(
                f"unconfigured: `ros2 lifecycle set {name} configure`, then `activate`, or start it with "
                "`--ros-args -p autostart:=true`"
            )
        elif self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            config = self._declared.read()
            bundle = bundles.load(model_path(config.model))
            engine = load_engine(bundle, config.engine)
            self._lifter = PoseLifter(bundle, engine, config.lifter)
            self._keypoints = KeypointInput(
                self, config.keypoints_type, config.keypoints_form, config.layout, self._on_keypoints
            )
        except (ValueError, EngineError) as e:
            self.get_logger().error(f"cannot configure: {e}")
            return TransitionCallbackReturn.FAILURE
        self._config = config
        self._camera: Camera | None = None
        self._size_px = config.image_size
        self._uncalibrated = f"no camera_info on {self.resolve_topic_name('camera_info')}"  # why, in words
        self._camera_content: tuple[Any, ...] = ()
        self._markers = messages.SkeletonMarkers(config.marker_lifetime_s)
        self._out = {
            name: self.create_lifecycle_publisher(kind, f"~/{name}", OUTPUT_QOS, qos_overriding_options=overridable())
            for name, kind in (("skeletons", PointCloud2), ("poses", PoseArray), ("markers", MarkerArray))
        }
        self.get_logger().info(
            f"model {config.model} ({bundle.sha256[:12]}), engine {engine.name}, keypoints {config.layout}, "
            f"look-ahead {config.look_ahead_s:g} s"
        )
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._lifter.tracks.clear()
        self._inputs = [
            self.create_subscription(
                CameraInfo, "camera_info", self._on_camera_info, INPUT_QOS, qos_overriding_options=overridable()
            )
        ]
        self._keypoints.start()
        listening = [s.topic_name for s in self._inputs] + self._keypoints.topics
        self.get_logger().info(f"active: listening on {', '.join(listening)}")
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._stop_listening()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._let_go()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._stop_listening()
        self._let_go()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.get_logger().error(f"a transition from state {state.label} failed; back to unconfigured")
        self._stop_listening()
        self._let_go()
        return TransitionCallbackReturn.SUCCESS

    def _on_keypoints(self, header: Header, read: Callable[[tuple[int, int]], Frame2D]) -> None:
        if min(self._size_px) <= 0:
            self._warn(f"keypoints are not lifted: {self._uncalibrated}, and parameter image_size is not set")
            return
        if self._camera is None:
            self._warn(f"{self._uncalibrated}: poses are about the pelvis, and their frame_id ends in {ROOT_RELATIVE}")
        try:
            frame = read(self._size_px)
        except (KeypointsError, ValueError) as e:
            self._warn(f"keypoints refused: {e}")
            return
        poses = [p for p in self._lifter.step(frame, self._camera) if self._camera is None or p.position_m is not None]
        if not poses and not self._config.look_ahead_s:
            self._publish(header.stamp, header.frame_id, [])
        for stamp_ns, due in groupby(poses, key=lambda p: p.stamp_ns):
            self._publish(messages.stamp(stamp_ns), header.frame_id, list(due))

    def _on_camera_info(self, message: CameraInfo) -> None:
        content = (message.width, message.height, message.distortion_model, message.k.tobytes(), message.d.tobytes())
        if content == self._camera_content:
            return
        self._camera_content = content
        if min(message.width, message.height) <= 0:
            self._warn(f"camera_info ignored: its image is {message.width} x {message.height} pixels large")
            return
        self._size_px = (message.width, message.height)
        try:
            self._camera = camera_from(message)
            self._uncalibrated = "camera_info has K all zero: the camera is not calibrated"
        except ValueError as e:
            self._camera, self._uncalibrated = None, str(e)

    def _publish(self, stamp: Time, frame_id: str, poses: list[Pose3D]) -> None:
        """Send each output that somebody listens to."""
        header = Header(stamp=stamp, frame_id=frame_id + (ROOT_RELATIVE if self._camera is None else ""))
        if self._out["skeletons"].get_subscription_count():
            self._out["skeletons"].publish(messages.skeletons(header, poses))
        if self._out["poses"].get_subscription_count():
            self._out["poses"].publish(messages.pose_array(header, poses))
        if self._out["markers"].get_subscription_count():
            self._out["markers"].publish(self._markers.update(header, poses))

    def _may_set(self, parameters: list[Parameter]) -> SetParametersResult:
        ours = [p.name for p in parameters if p.name in self._declared.names]
        if self._out and ours:
            return SetParametersResult(successful=False, reason=f"{', '.join(ours)}: read on configure; clean up first")
        return SetParametersResult(successful=True)

    def _warn(self, text: str) -> None:
        """Warn, the same words at most every WARN_EVERY_S."""
        now = time.monotonic()
        if now - self._warned.get(text, -WARN_EVERY_S) < WARN_EVERY_S:
            return
        self._warned = {t: at for t, at in self._warned.items() if now - at < WARN_EVERY_S} | {text: now}
        self.get_logger().warning(text)

    def _stop_listening(self) -> None:
        if self._keypoints is not None:
            self._keypoints.stop()
        while self._inputs:
            self.destroy_subscription(self._inputs.pop())

    def _let_go(self) -> None:
        while self._out:
            self.destroy_lifecycle_publisher(self._out.popitem()[1])
        self._lifter = self._markers = self._keypoints = None


class _RosLog(logging.Handler):
    """Carries what the library logs (engines, compilation) into the node's log."""

    def __init__(self, logger: Any) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:  # one line each: rclpy ties a severity to the line that logs
            self._logger.warning(record.getMessage())
        else:
            self._logger.info(record.getMessage())


def _to_ros_log(logger: Any) -> None:
    library = logging.getLogger("pstmo_ros")
    library.handlers, library.propagate = [_RosLog(logger)], False
    library.setLevel(logging.INFO)


def _executor() -> Any:
    """The events executor costs half of the others' time per message; it is experimental, so there is a way around."""
    try:
        from rclpy.experimental.events_executor import EventsExecutor

        return EventsExecutor()
    except ImportError:
        from rclpy.executors import SingleThreadedExecutor

        return SingleThreadedExecutor()


def spin(node: Any) -> None:
    """Run a node until it is asked to end (KeyboardInterrupt or ExternalShutdownException)."""
    executor = _executor()
    executor.add_node(node)
    never = Future()
    while rclpy.ok():
        try:
            executor.spin_until_future_complete(never, WAKE_S)
        except Exception as e:  # whatever went wrong must not end what a robot may be relying on
            if not rclpy.ok():  # it went wrong because everything is ending
                raise ExternalShutdownException from None
            if isinstance(e, RCLError):  # rclpy raises on a lifecycle transition that the present state does not have
                node.get_logger().error(f"refused: {e}")
            else:
                node.get_logger().error(f"this is a bug, please report it: {traceback.format_exc()}")


def main(args: list[str] | None = None) -> None:
    node = None
    try:
        rclpy.init(args=args)
        node = Lifter()
        _to_ros_log(node.get_logger())
        node.start()
        spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    sys.exit(main())
