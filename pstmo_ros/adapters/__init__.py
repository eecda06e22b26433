"""Messages of other packages -> the core's types. Pure functions over attributes, so that live messages and those
read from a recording take the same way: nothing here imports ROS."""

from __future__ import annotations

from typing import Any

TF_MESSAGE = "tf2_msgs/msg/TFMessage"


class KeypointsError(ValueError):
    """A keypoint message that cannot be used: names the field, what it holds and the fix."""


def stamp_ns(header: Any) -> int:
    """A header's stamp in nanoseconds."""
    return int(header.stamp.sec) * 10**9 + int(header.stamp.nanosec)
