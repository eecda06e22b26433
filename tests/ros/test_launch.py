"""The launch file, where ROS 2's launch is installed (it is not among the wheels)."""

import importlib.util
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytest.importorskip("launch_ros", reason="launch and launch_ros come with a ROS 2 installation, not as wheels")

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
    (share / "pstmo_ros/config").symlink_to(ROOT / "config")
    executable = tmp_path / "lib/pstmo_ros/lifter"
    executable.parent.mkdir(parents=True)
    executable.write_text(f"#!{sys.executable}\nfrom pstmo_ros.ros.node import main\nmain()\n")
    executable.chmod(0o755)
    import os

    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{tmp_path}:{os.environ.get('AMENT_PREFIX_PATH', '')}")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{os.environ.get('PYTHONPATH', '')}")


def test_one_command_gives_an_active_node(graph, prefix, bundle):
    arguments = [f"model:={bundle.path}", "engine:=torch", "layout:=h36m_17", "keypoints:=/detector/people"]
    command = [sys.executable, "-c", _LAUNCH, ROOT / "launch/lifter.launch.py", *arguments, "namespace:=robot"]
    launched = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        graph.until(lambda: graph.node.count_subscribers("/detector/people"), "the lifter did not become active")
        assert graph.node.count_publishers("/robot/lifter/skeletons")
    finally:
        launched.send_signal(signal.SIGINT)
        log, _ = launched.communicate(timeout=30)
    assert "process has finished cleanly" in log


def test_every_argument_says_what_it_is_for(prefix):
    spec = importlib.util.spec_from_file_location("lifter_launch", ROOT / "launch/lifter.launch.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    arguments = {a.name: a for a in module.generate_launch_description().get_launch_arguments()}
    asked = {"params_file", "model", "engine", "keypoints", "camera_info", "rviz", "use_sim_time", "namespace"}
    assert asked <= set(arguments)
    assert all(a.description for a in arguments.values())
