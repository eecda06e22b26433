"""A ROS graph of a run's own: for the demo, the bench and the tests."""

from __future__ import annotations

import os
import random


def own_graph() -> None:
    """A ROS domain that nobody else is on, on this machine only: nothing of a robot that may be on this network is seen
    or disturbed. Processes inherit it; to be called before rclpy.init."""
    os.environ["ROS_DOMAIN_ID"] = str(random.randint(1, 101))
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
