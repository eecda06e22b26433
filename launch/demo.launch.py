"""A recording, by default the bundled one of two people, through the lifter. All arguments: --show-args.

ros2 launch pstmo_ros demo.launch.py rviz:=true
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

TYPES = {  # image_size, layout, odom_frame and rectified are the lifter's, and say the same of the file
    **{"file": str, "rate": float, "loop": bool, "source_rate_hz": float, "calibration": str},
    **{"image_size": list[int], "layout": str, "odom_frame": str, "rectified": bool},
}
LIFTER = Path(get_package_share_directory("pstmo_ros")) / "launch" / "lifter.launch.py"
ARGUMENTS = (
    ("file", "", "Recording to play; empty plays the bundled one."),
    ("rate", "1.0", "How fast to play: 1 is as recorded."),
    ("loop", "true", "Play it over and over."),
    ("source_rate_hz", "", "For JSON, which does not say: frames per second; it also needs image_size or calibration."),
    ("calibration", "", "Calibration file of the recording's camera (YAML, as camera_calibration writes it)."),
    ("rviz", "false", "Also start RViz with config/lifter.rviz."),
    ("log_level", "info", "debug, info, warn, error or fatal."),
)


def player(context: LaunchContext) -> list[Node]:
    """The player, by the names that the lifter was given."""
    wanted = [name for name in TYPES if LaunchConfiguration(name).perform(context)]
    settings = {name: ParameterValue(LaunchConfiguration(name), value_type=TYPES[name]) for name in wanted}
    return [
        Node(
            package="pstmo_ros",
            executable="player",
            name="player",
            namespace=LaunchConfiguration("namespace"),
            parameters=[{**settings, "frame_id": LaunchConfiguration("camera_frame")}],
            remappings=[(name, LaunchConfiguration(name)) for name in ("keypoints", "camera_info")],
            output="screen",
        )
    ]


def generate_launch_description() -> LaunchDescription:
    declared = [DeclareLaunchArgument(n, default_value=default, description=about) for n, default, about in ARGUMENTS]
    lifter = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(LIFTER)),
        launch_arguments=[(name, LaunchConfiguration(name)) for name in ("rviz", "log_level")],
    )
    return LaunchDescription([*declared, lifter, OpaqueFunction(function=player)])
