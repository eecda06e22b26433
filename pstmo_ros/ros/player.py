"""Plays a recording (.npz, rosbag2 or detectors' JSON) as a detector and a camera would send it.

ros2 run pstmo_ros player --ros-args -p file:=RECORDING [-p rate:=1.0] [-p loop:=true] [-p step:=true]
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, PointCloud2
from std_msgs.msg import Header

from pstmo_ros.adapters import TF_MESSAGE
from pstmo_ros.core.orientation import quaternions
from pstmo_ros.formats import Source, read
from pstmo_ros.recording import ODOM_FRAME, SAMPLE
from pstmo_ros.ros import messages
from pstmo_ros.ros.bodies import transform
from pstmo_ros.ros.inputs import message_class
from pstmo_ros.ros.outputs import TF_QOS, TF_SOURCE
from pstmo_ros.ros.parameters import About, Parameters
from pstmo_ros.ros.spin import end, init

STAMPS = ("now", "recorded")
# A best-effort subscriber acknowledges nothing: it sees this node a little later than this node sees it, and what it
# has not taken yet is gone with this node.
SETTLE_S = 0.3
LOOK_EVERY_S = 0.05


@dataclass(frozen=True)
class PlayerConfig:
    """Every parameter of the player, with its default."""

    file: str = str(SAMPLE)
    rate: float = 1.0
    loop: bool = False
    step: bool = False
    source_rate_hz: float = 0.0
    image_size: tuple[int, int] = (0, 0)
    layout: str = ""
    keypoints_topic: str = ""
    camera_info_topic: str = ""
    keypoints_form: str = ""
    odom_frame: str = ""
    calibration: str = ""
    rectified: bool = False
    frame_id: str = ""
    stamps: str = "now"
    publish_camera_info: bool = True
    wait_for_subscriber: bool = True

    def __post_init__(self) -> None:
        if self.stamps not in STAMPS:
            raise ValueError(f"parameter stamps is {self.stamps!r}; give one of {', '.join(STAMPS)}")
        if len(self.image_size) != 2 or min(self.image_size) < 0:
            raise ValueError(f"parameter image_size: {list(self.image_size)}; give [width, height] in pixels")


ABOUT = {
    "file": About("Recording: .npz, rosbag2, or detectors' JSON (a file, or a folder with one per frame)."),
    "rate": About("Speed: 1 is real time.", 0.001, 1000),
    "loop": About("Start again at the end."),
    "step": About("Send one frame for each line on standard input (Enter) instead of by time."),
    "source_rate_hz": About("For JSON, which does not say: frames per second.", 0, 10000),
    "image_size": About("For JSON, and bags without camera_info: [width, height] in pixels."),
    "layout": About("Keypoint order, where the file leaves it open; empty takes the usual one."),
    "keypoints_topic": About("In a bag: topic of the keypoints; empty takes the only one."),
    "camera_info_topic": About("In a bag: topic of camera_info; empty takes the only one."),
    "keypoints_form": About("YAML file that describes the messages in a bag, see config/adapters."),
    "odom_frame": About("In a bag: frame of /tf that does not move, for cameras that do."),
    "calibration": About("Calibration file of the camera (YAML, as camera_calibration writes it)."),
    "rectified": About("In a bag, or with calibration: whether the detector saw the rectified image (image_rect)."),
    "frame_id": About("frame_id of the messages, the camera's optical frame; empty takes the recording's."),
    "stamps": About("Stamps of the messages: now (the time of playing) or recorded."),
    "publish_camera_info": About("Also send camera_info when the recording has a camera."),
    "wait_for_subscriber": About("Wait until somebody listens, so that nothing of the recording is missed."),
}


class Player(Node):
    """Publishes ``keypoints`` (PointCloud2) and ``camera_info``, as the lifter takes them."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("player", **kwargs)
        self.config = Parameters(self, PlayerConfig(), ABOUT).read()
        c = self.config
        self.recording = read(
            c.file,
            Source(
                c.source_rate_hz,
                c.image_size,
                c.layout,
                c.keypoints_topic,
                c.camera_info_topic,
                c.keypoints_form,
                c.odom_frame,
                c.calibration,
                c.rectified,
            ),
        )
        self._camera = self.recording.camera if self.config.publish_camera_info else None
        qos = QoSProfile(depth=50)
        self._keypoints = self.create_publisher(PointCloud2, "keypoints", qos)
        self._camera_info = self.create_publisher(CameraInfo, "camera_info", qos)
        self._next_round_ns = 0
        self._tf: Any = None
        if self.recording.odom_from_camera is not None:
            try:
                self._tf = self.create_publisher(message_class(TF_MESSAGE, TF_SOURCE), "/tf", TF_QOS)
            except ValueError as e:
                self.get_logger().warning(f"how the camera moves is not sent: {e}")

    def play(self) -> None:
        """Play to the end, or for ever."""
        publishers = [self._keypoints, *([self._camera_info] if self._camera else [])]
        if self.config.wait_for_subscriber:
            topics = ", ".join(p.topic_name for p in publishers)
            self.get_logger().info(f"waiting for somebody who listens to {topics}")
        while self.config.wait_for_subscriber and not all(p.get_subscription_count() for p in publishers):
            time.sleep(LOOK_EVERY_S)
        while self.get_clock().now().nanoseconds == 0:  # with use_sim_time, until /clock has come
            time.sleep(LOOK_EVERY_S)
        time.sleep(SETTLE_S)
        self.get_logger().info(f"playing {self.config.file}: {len(self.recording.stamps_ns)} frames")
        while self._play_once() and self.config.loop:
            pass
        for publisher in publishers:  # what a reliable subscriber has not yet acknowledged would be lost with this node
            publisher.wait_for_all_acked(rclpy.duration.Duration(seconds=2))
        time.sleep(SETTLE_S)

    def _play_once(self) -> bool:
        """Whether it was played to its end: standard input may end before."""
        recorded = self.recording.stamps_ns
        after_s = (recorded - recorded[0]) / 1e9 / self.config.rate
        start = time.monotonic()
        # Stamps go on where those of the last round ended: stepped through in less time than recorded, that is ahead.
        start_ns = max(self.get_clock().now().nanoseconds, self._next_round_ns)
        self._next_round_ns = start_ns + round(self.recording.period_ns / self.config.rate)
        for t, at in enumerate(after_s):
            if self.config.step and not sys.stdin.readline():
                return False
            self._wait(start + at)
            # Evenly spaced, as a camera stamps its images, not with the moment that this process wakes up.
            stamp_ns = int(recorded[t]) if self.config.stamps == "recorded" else start_ns + round(at * 1e9)
            self._send(t, stamp_ns)
        if self.config.loop:  # the first frame of the next round is the next image, not one together with the last
            self._wait(start + self.recording.period_ns / 1e9 / self.config.rate)
        return True

    def _wait(self, until: float) -> None:
        while not self.config.step and (left := until - time.monotonic()) > 0:
            time.sleep(left)

    def _send(self, t: int, stamp_ns: int) -> None:
        header = Header(stamp=messages.stamp(stamp_ns), frame_id=self.config.frame_id or self.recording.frame_id)
        if self._camera:
            self._camera_info.publish(messages.camera_info(header, self._camera))
        if self._tf and (stand := self.recording.stand(t)):
            odom = Header(stamp=header.stamp, frame_id=self.config.odom_frame or ODOM_FRAME)
            moved = transform(odom, header.frame_id, stand.position_m, quaternions(stand.rotation.T))
            self._tf.publish(self._tf.msg_type(transforms=[moved]))
        ids = None if self.recording.person_ids is None else self.recording.person_ids[t]
        self._keypoints.publish(messages.keypoints(header, self.recording.keypoints[t], ids))


@contextmanager
def answering(node: Node) -> Iterator[None]:
    """Meanwhile a thread answers who asks for parameters, and takes the time from /clock."""
    executor, done = SingleThreadedExecutor(), threading.Event()
    executor.add_node(node)

    def serve() -> None:
        while not done.is_set():
            executor.spin_once(timeout_sec=LOOK_EVERY_S)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        executor.shutdown()


def main(args: list[str] | None = None) -> int:
    node = None
    try:
        init(args)
        node = Player()
        with answering(node):
            node.play()
    except KeyboardInterrupt:
        pass
    except (ValueError, OSError) as e:
        print(f"player: {e}", file=sys.stderr)
        return 1
    finally:
        end(node)
    return 0


if __name__ == "__main__":
    sys.exit(main())
