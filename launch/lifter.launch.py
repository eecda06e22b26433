"""Starts the lifter, configured and active; with rviz:=true also RViz. All arguments: --show-args.

ros2 launch pstmo_ros lifter.launch.py rviz:=true keypoints:=/detector/keypoints camera_info:=/camera/camera_info
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, GroupAction, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import ParameterValue

TYPES = {
    **{name: str for name in ("model", "engine", "keypoints_type", "layout", "target_frame")},
    **{"look_ahead_s": float, "publish_tf": bool, "rep155": bool},
}
CONFIG = Path(get_package_share_directory("pstmo_ros")) / "config"
ARGUMENTS = (
    ("params_file", str(CONFIG / "lifter.yaml"), "Parameters of the lifter; this file is also their manual."),
    ("model", "", "Model name or file; empty takes it from params_file."),
    ("engine", "", "auto, openvino or torch; empty takes it from params_file."),
    ("keypoints_type", "", "Messages of the detector, such as yolo; empty takes it from params_file (auto)."),
    ("layout", "", "Keypoint order of the input, such as coco_17; empty takes it from params_file."),
    ("look_ahead_s", "", "Seconds that each pose waits to be better; empty takes it from params_file."),
    ("target_frame", "", "Frame of all outputs, such as map; empty takes it from params_file."),
    ("publish_tf", "", "true broadcasts body_<id> on /tf; empty takes it from params_file."),
    ("rep155", "", "true publishes /humans/bodies; empty takes it from params_file."),
    ("keypoints", "keypoints", "Topic of the keypoints."),
    ("camera_info", "camera_info", "Topic of the camera's calibration (sensor_msgs/CameraInfo)."),
    ("namespace", "", "Namespace of the node."),
    ("use_sim_time", "false", "Take time from /clock."),
    ("autostart", "true", "Configure and activate; false leaves that to a lifecycle manager."),
    ("log_level", "info", "debug, info, warn, error or fatal."),
    ("rviz", "false", "Also start RViz with config/lifter.rviz."),
    ("camera_frame", "camera_optical_frame", "With rviz: frame_id of the keypoints; RViz shows it upright."),
)


def lifter(context: LaunchContext) -> list[LifecycleNode]:
    """The node; arguments left empty do not override the parameter file."""
    given = {name: LaunchConfiguration(name).perform(context) for name in TYPES}
    settings = {name: ParameterValue(value, value_type=TYPES[name]) for name, value in given.items() if value}
    for name in ("use_sim_time", "autostart"):
        settings[name] = ParameterValue(LaunchConfiguration(name), value_type=bool)
    return [
        LifecycleNode(
            package="pstmo_ros",
            executable="lifter",
            name="lifter",
            namespace=LaunchConfiguration("namespace"),
            parameters=[LaunchConfiguration("params_file"), settings],
            remappings=[(name, LaunchConfiguration(name)) for name in ("keypoints", "camera_info")],
            ros_arguments=["--log-level", LaunchConfiguration("log_level")],
            output="screen",
            emulate_tty=True,
        )
    ]


def rviz() -> GroupAction:
    """RViz, and the frame it shows people in: an optical frame has y down, so they would lie on their side."""
    upright = Node(
        package="tf2_ros",
        executable="static_transform_publisher",
        name="camera_upright",
        arguments=[
            *("--frame-id", LaunchConfiguration("camera_frame"), "--child-frame-id", "camera_upright"),
            *("--qx", "0.5", "--qy", "-0.5", "--qz", "0.5", "--qw", "0.5"),
        ],
    )
    viewer = Node(
        package="rviz2",
        executable="rviz2",
        name="rviz2",
        namespace=LaunchConfiguration("namespace"),
        arguments=["-d", str(CONFIG / "lifter.rviz")],
        parameters=[{"use_sim_time": ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool)}],
    )
    return GroupAction([upright, viewer], condition=IfCondition(LaunchConfiguration("rviz")))


def generate_launch_description() -> LaunchDescription:
    declared = [DeclareLaunchArgument(n, default_value=default, description=about) for n, default, about in ARGUMENTS]
    return LaunchDescription([*declared, OpaqueFunction(function=lifter), rviz()])
