"""Starts the lifter, configured and active; with rviz:=true also RViz. All arguments: --show-args.

ros2 launch pstmo_ros lifter.launch.py rviz:=true keypoints:=/detector/keypoints camera_info:=/camera/camera_info
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import ParameterValue

TYPES = {
    **{name: str for name in ("model", "engine", "keypoints_type", "keypoints_form", "layout")},
    **{name: str for name in ("target_frame", "gravity_frame", "odom_frame")},
    **{"look_ahead_s": float, "rectified": bool, "image_size": list[int], "publish_tf": bool, "rep155": bool},
    **{"use_sim_time": bool, "autostart": bool},
}
CONFIG = Path(get_package_share_directory("pstmo_ros")) / "config"
ARGUMENTS = (
    ("params_file", str(CONFIG / "lifter.yaml"), "Parameter file; the default one explains every parameter."),
    ("model", "", "Model name or file; empty takes it from params_file."),
    ("engine", "", "auto, tensorrt, cuda_graphs, openvino or torch; empty takes it from params_file."),
    ("keypoints_type", "", "Messages of the detector, such as yolo; empty takes it from params_file (auto)."),
    ("keypoints_form", "", "YAML file for keypoints_type generic; empty takes it from params_file."),
    ("layout", "", "Keypoint order of the input, such as coco_17; empty takes it from params_file."),
    ("look_ahead_s", "", "Delay of each pose in seconds, for accuracy; empty takes it from params_file."),
    ("rectified", "", "true where the detector sees the rectified image; empty takes it from params_file."),
    ("image_size", "", "[width, height] while there is no camera_info; empty takes it from params_file."),
    ("target_frame", "", "Frame of all outputs, such as map; empty takes it from params_file."),
    ("gravity_frame", "", "Frame whose z points up, such as base_link; empty takes it from params_file."),
    ("odom_frame", "", "For moving cameras: a fixed frame, such as odom; empty takes it from params_file."),
    ("publish_tf", "", "true broadcasts body_<id> on /tf; empty takes it from params_file."),
    ("rep155", "", "true publishes /humans/bodies; empty takes it from params_file."),
    ("keypoints", "keypoints", "Topic of the keypoints."),
    ("camera_info", "camera_info", "Topic of the camera's calibration (sensor_msgs/CameraInfo)."),
    ("namespace", "", "Namespace of the node."),
    ("use_sim_time", "", "true takes time from /clock; empty takes it from params_file, but for RViz."),
    ("autostart", "true", "Configure and activate; false leaves that to a lifecycle manager."),
    ("log_level", "info", "debug, info, warn, error or fatal."),
    ("rviz", "false", "Also start RViz with config/lifter.rviz."),
    ("camera_frame", "camera_optical_frame", "With rviz: frame_id of the keypoints."),
    ("fixed_frame", "", "RViz's fixed frame; empty takes argument target_frame, else 1 m below the camera."),
)


def settings(context: LaunchContext, *names: str) -> dict[str, ParameterValue]:
    """Of these arguments those that were given; what is left empty overrides nothing."""
    given = [name for name in names if LaunchConfiguration(name).perform(context)]
    return {name: ParameterValue(LaunchConfiguration(name), value_type=TYPES[name]) for name in given}


def lifter(context: LaunchContext) -> list[LifecycleNode]:
    """The node. RuntimeError for a params_file that is not there: launch would warn, and start it with the defaults."""
    file = LaunchConfiguration("params_file").perform(context)
    if file and not Path(file).is_file():
        raise RuntimeError(f"argument params_file: {file} is not a file")
    return [
        LifecycleNode(
            package="pstmo_ros",
            executable="lifter",
            name="lifter",
            namespace=LaunchConfiguration("namespace"),
            parameters=[LaunchConfiguration("params_file"), settings(context, *TYPES)],
            remappings=[(name, LaunchConfiguration(name)) for name in ("keypoints", "camera_info")],
            ros_arguments=["--log-level", LaunchConfiguration("log_level")],
            output="screen",
            emulate_tty=True,
        )
    ]


def rviz(context: LaunchContext) -> list[Node]:
    """RViz, and the frame it shows people in: an optical frame has y down, so they would lie on their side."""
    fixed, target, camera = (
        LaunchConfiguration(name).perform(context) for name in ("fixed_frame", "target_frame", "camera_frame")
    )
    below = f"below_{camera}"  # each camera's own: a frame of several would have several parents
    fixed = fixed or target or below
    upright = Node(
        package="tf2_ros",
        executable="static_transform_publisher",
        name="below_camera",
        namespace=LaunchConfiguration("namespace"),
        arguments=[
            *("--frame-id", camera, "--child-frame-id", below, "--y", "1.0"),
            *("--qx", "0.5", "--qy", "-0.5", "--qz", "0.5", "--qw", "0.5"),
        ],
    )
    clock = settings(context, "use_sim_time")
    viewer = Node(
        package="rviz2",
        executable="rviz2",
        name="rviz2",
        namespace=LaunchConfiguration("namespace"),
        arguments=["-d", str(CONFIG / "lifter.rviz"), "-f", fixed],
        parameters=[clock] if clock else [],
    )
    return [upright, viewer] if fixed == below else [viewer]


def generate_launch_description() -> LaunchDescription:
    declared = [DeclareLaunchArgument(n, default_value=default, description=about) for n, default, about in ARGUMENTS]
    viewer = OpaqueFunction(function=rviz, condition=IfCondition(LaunchConfiguration("rviz")))
    return LaunchDescription([*declared, OpaqueFunction(function=lifter), viewer])
