"""What camera_info has said: the camera, the image's size, and the clock of its stamps."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from sensor_msgs.msg import CameraInfo

from pstmo_ros.adapters import stamp_ns
from pstmo_ros.adapters.camera_info import camera_from, image_size
from pstmo_ros.core.camera import Camera

CLOCKS_APART_S = 5.0


class Calibration:
    """camera: None while none is known; why_not then says so, in words. size_px: the image's, (0, 0) while unknown.

    frame_id: of the camera's optical frame, empty while unknown.
    """

    def __init__(
        self,
        topic: str,
        size_px: tuple[int, int],
        rectified: bool,
        warn: Callable[[str], None],
        info: Callable[[str], None],
    ) -> None:
        self.camera: Camera | None = None
        self.size_px = size_px
        self.frame_id = ""
        self.why_not = f"no camera_info on {topic}"
        self._rectified, self._warn, self._info = rectified, warn, info
        self._content: tuple[Any, ...] = ()
        self._clock: tuple[float, float] | None = None  # arrival and stamp of the newest camera_info

    def take(self, message: CameraInfo) -> None:
        """A camera_info; what it says is worked out once for each change."""
        self.frame_id = message.header.frame_id
        if any((message.header.stamp.sec, message.header.stamp.nanosec)):
            self._clock = (time.monotonic(), stamp_ns(message.header) * 1e-9)
        roi = message.roi
        content = (
            *(message.width, message.height, message.distortion_model, message.binning_x, message.binning_y),
            *(roi.x_offset, roi.y_offset, roi.width, roi.height),
            *(values.tobytes() for values in (message.k, message.d, message.p)),
        )
        if content == self._content:
            return
        self._content = content
        if min(image_size(message)) <= 0:
            said = f"its image is {message.width} x {message.height} pixels large"
            self._warn(f"camera_info ignored: {said}")
            if self.camera is None:
                self.why_not = f"camera_info is of no use: {said}"
            return
        self.size_px, before = image_size(message), self.camera
        try:
            self.camera = camera_from(message, self._rectified)
            self.why_not = "camera_info has K all zero: the camera is not calibrated"
        except ValueError as e:
            self.camera, self.why_not = None, f"camera_info is of no use: {e}"
        if self.camera is not None and before is None:  # after a warning that none is known, good news
            c = self.camera
            self._info(f"camera_info: {c.width} x {c.height} pixels, fx {c.fx:.1f}, fy {c.fy:.1f}, {c.lens}")

    def forget_clock(self) -> None:
        """Time has jumped: the next camera_info says anew what its stamps are."""
        self._clock = None

    def clocks_apart(self, stamp_s: float, arrived: float) -> str:
        """How keypoints and camera_info that arrive together differ by their stamps; empty when one clock made both."""
        if self._clock is None:
            return ""
        camera_arrived, camera_stamp_s = self._clock
        apart = (stamp_s - arrived) - (camera_stamp_s - camera_arrived)
        if arrived - camera_arrived >= 1 or abs(apart) <= CLOCKS_APART_S:
            return ""
        return (
            f"keypoints are stamped {abs(apart):.0f} s {'after' if apart > 0 else 'before'} camera_info: "
            "their clocks differ, or one is simulated; poses carry the keypoints' stamps"
        )
