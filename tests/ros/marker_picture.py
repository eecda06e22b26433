"""What RViz would show, drawn from the running node's own MarkerArray messages, in a target_frame on the floor.

    python -m tests.ros.marker_picture OUT.png [--seconds 4]

Lifter and player as processes of their own, the bundled recording, and the camera's pose by tf2: needs tf2_ros, which
comes with a ROS 2 installation. For looking at: left and right by colour, ids above heads, feet on the ground.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from pstmo_ros.ros.graph import own_graph
from tests.ros.conftest import FRAME, run_module

# How the camera of the bundled recording stands over the floor that its people walk on.
HEIGHT_M, PITCH_DEG = 1.62, 8.6
VIEWS = {"from behind the camera": (10, 184), "from the side": (6, 264)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=4.0, help="how far into the recording")
    args = parser.parse_args()
    own_graph()
    draw(received(args.seconds), args.out)


def received(seconds: float) -> Any:
    """The MarkerArray at about ``seconds`` after the first."""
    import rclpy
    import tf2_ros
    from visualization_msgs.msg import MarkerArray

    rclpy.init()
    node = rclpy.create_node("viewer")
    got: list[Any] = []
    node.create_subscription(MarkerArray, "/lifter/markers", got.append, 1000)
    broadcaster = tf2_ros.StaticTransformBroadcaster(node)
    broadcaster.sendTransform(camera_pose())
    with contextlib.ExitStack() as started:
        started.callback(rclpy.shutdown)
        for module, parameters in {
            "pstmo_ros.ros.node": {"autostart": "true", "target_frame": "map", "transform_wait_s": "1.0"},
            "pstmo_ros.ros.player": {},
        }.items():
            process = run_module(module, **parameters)
            started.callback(process.wait)
            started.callback(process.terminate)
        until = time.monotonic() + 120
        first = None
        while first is None or time.monotonic() < first + seconds:
            rclpy.spin_once(node, timeout_sec=0.1)
            first = first or (time.monotonic() if got else None)
            if time.monotonic() > until:
                raise SystemExit("the lifter sent no markers")
    return got[-1]


def camera_pose() -> Any:
    """The optical frame (x right, y down, z away) in map (x ahead of the camera, z up, the origin on the floor)."""
    from geometry_msgs.msg import TransformStamped

    message = TransformStamped()
    message.header.frame_id, message.child_frame_id = "map", FRAME
    level = Rotation.from_euler("xyz", [-90, 0, -90], degrees=True)
    turn, down = message.transform.rotation, Rotation.from_euler("y", PITCH_DEG, degrees=True)
    turn.x, turn.y, turn.z, turn.w = (down * level).as_quat().tolist()
    message.transform.translation.z = HEIGHT_M
    return message


def draw(markers: Any, out: Path) -> None:
    """Each marker as its type, scale and colours say, over a ground grid of 1 m."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure = plt.figure(figsize=(16, 6))
    (frame,) = {marker.header.frame_id for marker in markers.markers}
    figure.suptitle(
        f"~/markers in frame {frame} (z up); left orange, right blue; grid: the ground, 1 m; axes: frame, camera",
        y=0.9,
    )
    for k, (title, (elevation, azimuth)) in enumerate(VIEWS.items()):
        axes: Any = figure.add_subplot(1, len(VIEWS), k + 1, projection="3d")
        axes.set_title(title)
        for v in range(-2, 3):
            axes.plot([0, 6], [v, v], [0, 0], color="0.6", linewidth=0.8)
        for v in range(7):
            axes.plot([v, v], [-2, 2], [0, 0], color="0.6", linewidth=0.8)
        turn = camera_pose().transform.rotation
        camera = Rotation.from_quat([turn.x, turn.y, turn.z, turn.w]).as_matrix()
        for origin, basis in ((np.zeros(3), np.eye(3)), (np.array([0, 0, HEIGHT_M]), camera)):
            for axis, colour in zip(basis.T, ("red", "green", "blue"), strict=True):
                axes.plot(*np.stack([origin, origin + 0.4 * axis]).T, color=colour)
        for marker in markers.markers:
            _draw(axes, marker)
        axes.set(xlim=(0, 6), ylim=(-2, 2), zlim=(-0.1, 2.1), xlabel="x (m)", ylabel="y (m)", zlabel="z (m)")
        axes.set_box_aspect((6, 4, 2.2), zoom=1.6)
        axes.view_init(elevation, azimuth)
    figure.subplots_adjust(0, 0, 1, 0.95, 0)
    figure.savefig(out, dpi=80)


def _draw(axes: Any, marker: Any) -> None:
    points = np.array([[p.x, p.y, p.z] for p in marker.points])
    colours = [(c.r, c.g, c.b) for c in marker.colors]
    if marker.type == marker.SPHERE_LIST:
        axes.scatter(*points.T, c=colours, s=marker.scale.x * 300, depthshade=False)
    elif marker.type == marker.LINE_LIST:
        for bone, colour in zip(points.reshape(-1, 2, 3), colours[::2], strict=True):
            axes.plot(*bone.T, color=colour, linewidth=marker.scale.x * 90)
    elif marker.type == marker.TEXT_VIEW_FACING:
        at = marker.pose.position
        axes.text(at.x, at.y, at.z, marker.text, fontsize=marker.scale.z * 120, ha="center")


if __name__ == "__main__":
    main()
