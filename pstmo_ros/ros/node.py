"""The lifecycle node ``lifter``: keypoints in, skeletons, poses and markers out."""

from __future__ import annotations

import gc
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from pstmo_ros.adapters import KeypointsError, stamp_ns
from pstmo_ros.adapters.detectors import BY_LAYOUT
from pstmo_ros.adapters.point_cloud import ROOT_RELATIVE
from pstmo_ros.core import bundle as bundles
from pstmo_ros.core.camera import Camera
from pstmo_ros.core.pipeline import PoseLifter, Windows
from pstmo_ros.core.tracks import Oddity
from pstmo_ros.core.types import Frame2D, Pose3D
from pstmo_ros.engines import EngineError, load_engine, model_path
from pstmo_ros.ros import messages
from pstmo_ros.ros.calibration import Calibration
from pstmo_ros.ros.diagnostics import Diagnostics
from pstmo_ros.ros.episodes import Episodes
from pstmo_ros.ros.inputs import INPUT_QOS, KeypointInput, overridable
from pstmo_ros.ros.node_config import ABOUT, NodeConfig
from pstmo_ros.ros.outputs import Outputs
from pstmo_ros.ros.parameters import Parameters, after_set
from pstmo_ros.ros.spin import end, init, said, spin, to_ros_log
from pstmo_ros.ros.transforms import NoTransform, Transforms
from pstmo_ros.ros.worker import Worker

JUMPS = (Oddity.WENT_BACK, Oddity.WENT_AHEAD)


@dataclass(frozen=True)
class Job:
    """One frame's way from its arrival (monotonic seconds) to the outputs."""

    header: Header
    windows: Windows
    camera: Camera | None
    arrived: float


class Lifter(LifecycleNode):
    """Lifecycle: configure loads the model, activate starts listening, deactivate stops, cleanup lets go of it all.

    Callbacks take frames in, in the executor's thread; the worker's thread lifts and publishes.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("lifter", **kwargs)
        self._declared = Parameters(self, NodeConfig(), ABOUT)
        self._episodes = Episodes()
        self._keypoints: KeypointInput | None = None  # while configured; it listens while active
        self._camera_info: Any = None  # subscription, while active
        self._worker: Worker[Job] | None = None  # while active
        self._outputs: Outputs | None = None  # while configured
        self._transforms: Transforms | None = None  # while configured
        self.add_on_set_parameters_callback(self._may_set)
        after_set(self, self._was_set)

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

    def destroy_node(self) -> None:
        self._stop_listening()
        super().destroy_node()

    @said
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            config = self._declared.read()
            bundle = bundles.load(model_path(config.model)).at(config.lifter.look_ahead_s)
            engine = load_engine(bundle, config.engine, config.options)
            self._keypoints = KeypointInput(
                self, config.keypoints_type, config.keypoints_form, config.layout, self._on_keypoints
            )
            self._outputs = Outputs(self, config, self._keypoints)
            self._transforms = Transforms(self, config.frames, config.transform_wait_s, self._warn)
        except (ValueError, EngineError) as e:
            if self._outputs is not None:
                self._outputs.close()
            self._outputs = None
            self.get_logger().error(f"cannot configure: {e}")
            return TransitionCallbackReturn.FAILURE
        self._config = config
        topic = self.resolve_topic_name("camera_info")
        info = self.get_logger().info
        self._calibration = Calibration(topic, config.image_size, config.rectified, self._warn, info)
        about = {
            "model": f"{config.model} ({bundle.sha256[:12]})",
            "engine": engine.name,
            "keypoints": config.layout if config.keypoints_type in BY_LAYOUT else config.keypoints_type,
            "look-ahead": f"{config.look_ahead_s:g} s",
        }
        self._diagnostics = Diagnostics(self, about)
        self._lifter = PoseLifter(bundle, self._diagnostics.timed(engine.infer), config.lifter)
        self._diagnostics.tracks = self._lifter.tracks
        info(", ".join(f"{name} {value}" for name, value in about.items()))
        if config.gravity_frame and not bundle.config.gravity:
            self.get_logger().warning(f"gravity_frame has no effect: model {config.model} was not trained with gravity")
        return super().on_configure(state)

    @said
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._lifter.tracks.clear()
        self._calibration.forget_clock()
        self._worker = Worker(self._lift, self._skipped, self._config.max_delay_s)
        self._camera_info = self.create_subscription(
            CameraInfo, "camera_info", callback=self._calibration.take, **overridable(INPUT_QOS)
        )
        self._keypoints.start()
        self._diagnostics.activated(self._keypoints.topics)
        for name in self._declared.idle_qos():
            self.get_logger().warning(f"parameter {name} has no effect: the node has no such topic")
        gc.collect()
        gc.freeze()  # walking through all that torch has, now and then, would hold poses up by a tenth of a second
        self.get_logger().info(
            f"active: listening on {', '.join([self._camera_info.topic_name, *self._keypoints.topics])}"
        )
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

    def _on_keypoints(self, find: Callable[[str], Header], read: Callable[[tuple[int, int]], Frame2D]) -> None:
        arrived = time.monotonic()
        try:
            header = find(self._calibration.frame_id)
            self._diagnostics.received(stamp_ns(header))
            if min(self._calibration.size_px) <= 0:
                why = self._calibration.why_not
                self._refuse(f"keypoints are not lifted: {why}, and parameter image_size is not set")
                return
            frame = read(self._calibration.size_px)
        except (KeypointsError, ValueError) as e:
            self._diagnostics.count("messages refused")
            self._refuse(f"keypoints refused: {e}")
            return
        self._take_in(frame, header, arrived)

    def _take_in(self, frame: Frame2D, header: Header, arrived: float) -> None:
        """Add a frame to everyone's history, and hand over to the worker what is now due."""
        if frame.stamp_ns == 0:
            self._diagnostics.count("messages refused")
            self._refuse("keypoints refused: stamp is 0; let the detector copy the image's header")
            return
        self._diagnostics.took(True)
        if not header.frame_id:
            self._warn("keypoints have an empty frame_id, so nobody can say where people are: copy the image's header")
        if (camera := self._calibration.camera) is None:
            why = self._calibration.why_not
            self._warn(f"{why}: poses are about the pelvis, and their frame_id ends in {ROOT_RELATIVE}")
        windows = self._lifter.observe(self._transforms.standing(frame, header), camera)
        tracks = self._lifter.tracks
        self._outputs.publish_2d(header, frame, tracks)
        for oddity in tracks.oddities:
            self._diagnostics.count(oddity.name.lower().replace("_", " "))
            self._warn(oddity.value, each=oddity in JUMPS)
        if any(o in JUMPS for o in tracks.oddities):
            self._calibration.forget_clock()
            if Oddity.WENT_BACK in tracks.oddities:
                self._transforms.forget()
        elif apart := self._calibration.clocks_apart(frame.stamp_ns * 1e-9, arrived):
            self._warn(apart, key="clocks")
        if self._worker is not None and windows.stamps_ns:
            self._worker.put(Job(header, windows, camera, arrived))

    def _lift(self, job: Job) -> None:
        """The worker's part: lift, and publish in the order of stamps."""
        try:
            camera, known = job.camera, job.camera is not None
            if camera is not None and job.windows.due and self._lifter.takes_gravity and not job.windows.view:
                camera = self._transforms.upright(camera, job.header)
            poses = [p for p in self._lifter.lift(job.windows, camera) if not known or p.position_m is not None]
            frame_id = job.header.frame_id + ("" if known else ROOT_RELATIVE)
            fits = stamp_ns(job.header) if known and isinstance(job.header, Header) else None  # making another is slow
            for stamp in job.windows.stamps_ns:  # also where nobody is, which is worth knowing
                header = job.header if stamp == fits else Header(stamp=messages.stamp(stamp), frame_id=frame_id)
                self._publish(header, [p for p in poses if p.stamp_ns == stamp])
            self._diagnostics.published(time.monotonic() - job.arrived)
        except NoTransform as e:
            self._warn(f"poses are not published: {e}", key="transform")
        except Exception as e:  # whatever went wrong must not end what a robot may be relying on
            self._diagnostics.error(f"{type(e).__name__}: {e}")
            if self._episodes.due(type(e).__name__):
                self.get_logger().error(f"a frame was lost: {traceback.format_exc()}")

    def _publish(self, header: Header, poses: list[Pose3D]) -> None:
        self._outputs.publish(header, poses, None if header.frame_id.endswith(ROOT_RELATIVE) else self._transforms.move)

    def _skipped(self, frames: int) -> None:
        self._diagnostics.skipped += frames
        self._warn(
            f"too slow for the input: frames that waited longer than {self._config.max_delay_s:g} s (max_delay_s) are "
            "skipped, so that poses stay timely; a smaller model or a faster engine lifts them all",
            key="slow",
        )

    def _may_set(self, parameters: list[Parameter]) -> SetParametersResult:
        if self._outputs is None:
            return SetParametersResult(successful=True)
        ours = [p for p in parameters if p.name in self._declared.names and not ABOUT[p.name].live]
        fixed = [p.name for p in ours if p.get_parameter_value() != self.get_parameter(p.name).get_parameter_value()]
        if fixed:
            return SetParametersResult(
                successful=False, reason=f"{', '.join(fixed)}: read on configure; clean up first"
            )
        return SetParametersResult(successful=True)

    def _was_set(self, parameters: list[Parameter]) -> None:
        """Go on with what was changed, if that is one of the live parameters."""
        if self._outputs is None or not any(p.name in self._declared.names for p in parameters):
            return
        self._config = config = self._declared.read()
        self._lifter.tracks.reconfigure(config.tracks, config.smoothing)
        self._outputs.reconfigure(config)
        if self._worker is not None:
            self._worker.max_delay_s = config.max_delay_s

    def _warn(self, text: str, key: str | None = None, each: bool = False) -> None:
        self._diagnostics.warn(text)
        if self._episodes.due(key or text, each):
            self.get_logger().warning(text)

    def _refuse(self, why: str) -> None:
        self._diagnostics.took(False)
        self._warn(why)

    def _stop_listening(self) -> None:
        if self._worker is not None:
            self._worker.stop()
            self._worker = None
            self._diagnostics.deactivated()
            gc.unfreeze()
            # While the input still says which lists are the detector's. Nothing can be sent once the context has ended.
            if self.context.ok():
                self._outputs.nobody(Header(stamp=self.get_clock().now().to_msg()))
        if self._camera_info is not None:
            self.destroy_subscription(self._camera_info)
            self._keypoints.stop()
            self._camera_info = None

    def _let_go(self) -> None:
        if self._outputs is not None:
            self._outputs.close()
            self._diagnostics.close()
            self._transforms.close()
        self._outputs = self._lifter = self._keypoints = self._transforms = None


def main(args: list[str] | None = None) -> None:
    node = None
    try:
        init(args)
        node = Lifter()
        to_ros_log(node.get_logger())
        node.start()
        spin(node)
    except KeyboardInterrupt:
        pass
    finally:
        end(node)


if __name__ == "__main__":
    sys.exit(main())
