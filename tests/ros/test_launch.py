"""The launch file, where ROS 2's launch is installed (it is not among the wheels)."""

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rcl_interfaces.srv import GetParameters
from rclpy.parameter import parameter_value_to_python
from sensor_msgs.msg import PointCloud2

from pstmo_ros.recording import save_recording
from tests.conftest import record, walker

ROOT = Path(__file__).parents[2]
WHY = "launch and launch_ros come with a ROS 2 installation, not as wheels"
pytest.importorskip("launch_ros", reason=WHY)
launch = pytest.importorskip("launch", reason=WHY)
pytestmark = pytest.mark.participants

_LAUNCH = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
source = PythonLaunchDescriptionSource(sys.argv[1])
arguments = [tuple(a.split(":=", 1)) for a in sys.argv[2:]]
service = LaunchService()
service.include_launch_description(LaunchDescription([IncludeLaunchDescription(source, launch_arguments=arguments)]))
sys.exit(service.run())
"""


@pytest.fixture
def prefix(tmp_path, monkeypatch):
    """This tree as an installed package: what colcon or pip would put where launch looks."""
    share = tmp_path / "share"
    (share / "ament_index/resource_index/packages").mkdir(parents=True)
    (share / "ament_index/resource_index/packages/pstmo_ros").touch()
    (share / "pstmo_ros").mkdir()
    for folder in ("config", "launch"):
        (share / "pstmo_ros" / folder).symlink_to(ROOT / folder)
    (tmp_path / "lib/pstmo_ros").mkdir(parents=True)
    for name, module in {"lifter": "node", "player": "player"}.items():
        executable = tmp_path / "lib/pstmo_ros" / name
        executable.write_text(f"#!{sys.executable}\nfrom pstmo_ros.ros.{module} import main\nmain()\n")
        executable.chmod(0o755)
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{tmp_path}:{os.environ.get('AMENT_PREFIX_PATH', '')}")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{os.environ.get('PYTHONPATH', '')}")


@contextlib.contextmanager
def launched(name, *arguments):
    """A launch file at work; it ends as Ctrl-C ends it, and each of its processes ends cleanly."""
    command = [sys.executable, "-c", _LAUNCH, ROOT / "launch" / name, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        log, _ = process.communicate(timeout=30)
    assert "process has finished cleanly" in log
    assert "process has died" not in log


def test_one_command_gives_an_active_node(graph, prefix, bundle):
    arguments = [f"model:={bundle.path}", "engine:=torch", "layout:=h36m_17", "keypoints:=/detector/people"]
    with launched("lifter.launch.py", *arguments, "namespace:=robot", "image_size:=[640, 480]", "look_ahead_s:=0.2"):
        graph.until(lambda: graph.node.count_subscribers("/detector/people"), "the lifter did not become active")
        # DDS tells of one endpoint after the other.
        graph.until(lambda: graph.node.count_publishers("/robot/lifter/skeletons"), "it has another namespace")
        names = ["layout", "image_size", "look_ahead_s", "rectified"]
        values = graph.call(GetParameters, "/robot/lifter/get_parameters", GetParameters.Request(names=names), 6).values
        assert [parameter_value_to_python(v) for v in values] == ["h36m_17", [640, 480], 0.2, False]


def test_an_argument_that_is_not_given_leaves_the_parameter_file_alone(graph, prefix, bundle, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("/**: {ros__parameters: {use_sim_time: true, layout: h36m_17, engine: torch}}")
    with launched("lifter.launch.py", f"params_file:={file}", f"model:={bundle.path}"):
        graph.until(lambda: graph.node.count_subscribers("/keypoints"), "the lifter did not become active")
        request = GetParameters.Request(names=["use_sim_time", "layout"])
        values = graph.call(GetParameters, "/lifter/get_parameters", request, 6).values
        assert [parameter_value_to_python(v) for v in values] == [True, "h36m_17"]


def lifter_launch():
    """The launch file as a module."""
    spec = importlib.util.spec_from_file_location("lifter_launch", ROOT / "launch/lifter.launch.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_parameter_file_that_is_not_there_starts_nothing(prefix):
    context = launch.LaunchContext()
    context.launch_configurations["params_file"] = "mime.yaml"
    with pytest.raises(RuntimeError, match=r"params_file: mime\.yaml is not a file"):
        lifter_launch().lifter(context)


def test_the_demo_plays_any_recording_by_any_name(graph, prefix, bundle, camera, tmp_path):
    save_recording(tmp_path / "walk.npz", record([walker(0.4)], camera))
    got = []
    graph.node.create_subscription(PointCloud2, "/robot/lifter/skeletons", got.append, 10)
    arguments = [f"model:={bundle.path}", "engine:=torch", "layout:=h36m_17", f"file:={tmp_path / 'walk.npz'}"]
    with launched("demo.launch.py", *arguments, "namespace:=robot", "keypoints:=people", "camera_frame:=eye"):
        graph.until(lambda: got)
        graph.until(lambda: graph.node.count_publishers("/robot/people"))
    assert (got[0].height, got[0].header.frame_id) == (1, "eye")


def test_the_demo_plays_what_a_detector_wrote(graph, prefix, bundle, tmp_path):
    person = np.linspace([300, 100, 0.9], [340, 400, 0.9], 17).ravel().tolist()
    of_coco = [{"image_id": t, "category_id": 1, "keypoints": person, "score": 1.0} for t in range(1, 60)]
    (tmp_path / "people.json").write_text(json.dumps(of_coco))
    got = []
    graph.node.create_subscription(PointCloud2, "/lifter/skeletons", got.append, 10)
    arguments = [f"model:={bundle.path}", "engine:=torch", f"file:={tmp_path / 'people.json'}", "source_rate_hz:=30.0"]
    with launched("demo.launch.py", *arguments, "image_size:=[640, 480]"):
        graph.until(lambda: got)


def test_the_demos_player_knows_which_frame_does_not_move(graph, prefix, bundle):
    """The lifter alone would look for transforms that nobody sends."""
    with launched("demo.launch.py", f"model:={bundle.path}", "odom_frame:=world"):
        request = GetParameters.Request(names=["odom_frame"])
        values = graph.call(GetParameters, "/player/get_parameters", request, 6).values
    assert [v.string_value for v in values] == ["world"]


@pytest.mark.parametrize("name", ["lifter", "demo"])
def test_every_argument_says_what_it_is_for(prefix, name):
    source = launch.launch_description_sources.PythonLaunchDescriptionSource(str(ROOT / f"launch/{name}.launch.py"))
    context = launch.LaunchContext()
    arguments = {a.name: a for a in source.get_launch_description(context).get_launch_arguments()}
    asked = {"params_file", "model", "engine", "keypoints", "camera_info", "rviz", "use_sim_time", "namespace"}
    assert asked <= set(arguments)
    assert all(a.description for a in arguments.values())


@pytest.mark.parametrize(
    ("arguments", "frame"),
    [
        ({"camera_frame": "left_eye"}, "below_left_eye"),
        ({"camera_frame": "right_eye"}, "below_right_eye"),  # one frame of two cameras would have two parents
        ({"target_frame": "map"}, "map"),
        ({"fixed_frame": "odom"}, "odom"),
    ],
)
def test_rviz_looks_from_where_people_stand_upright(prefix, arguments, frame):
    context, empty = (
        launch.LaunchContext(),
        ("fixed_frame", "target_frame", "camera_frame", "namespace", "use_sim_time"),
    )
    context.launch_configurations.update(dict.fromkeys(empty, "") | arguments)
    *upright, viewer = lifter_launch().rviz(context)
    given = [launch.utilities.perform_substitutions(context, part) for part in viewer.cmd[1:5]]
    assert given[::2] == ["-d", "-f"]
    assert Path(given[1]).exists()
    assert given[3] == frame
    assert len(upright) == frame.startswith("below"), "the camera stands upright only where nobody says how it stands"
