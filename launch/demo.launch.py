"""The bundled recording of two people through the lifter; with rviz:=true also RViz. All arguments: --show-args.

ros2 launch pstmo_ros demo.launch.py rviz:=true
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

LIFTER = Path(get_package_share_directory("pstmo_ros")) / "launch" / "lifter.launch.py"
ARGUMENTS = (
    ("rate", "1.0", "How fast to play: 1 is as recorded."),
    ("loop", "true", "Play it over and over."),
    ("rviz", "false", "Also start RViz with config/lifter.rviz."),
    ("log_level", "info", "debug, info, warn, error or fatal."),
)


def generate_launch_description() -> LaunchDescription:
    declared = [DeclareLaunchArgument(n, default_value=default, description=about) for n, default, about in ARGUMENTS]
    lifter = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(LIFTER)),
        launch_arguments=[(name, LaunchConfiguration(name)) for name in ("rviz", "log_level")],
    )
    settings = {"rate": float, "loop": bool}
    player = Node(
        package="pstmo_ros",
        executable="player",
        name="player",
        parameters=[{n: ParameterValue(LaunchConfiguration(n), value_type=kind) for n, kind in settings.items()}],
        output="screen",
    )
    return LaunchDescription([*declared, lifter, player])
