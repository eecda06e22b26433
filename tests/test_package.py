"""What a user gets from `pip install .` or `colcon build`."""

import configparser
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The package built from a copy of the tree, so that no build folder is left in it."""
    source, out = tmp_path_factory.mktemp("source") / "tree", tmp_path_factory.mktemp("wheel")
    ignore = shutil.ignore_patterns(
        ".git", ".venv", "training", "tests", "runs", "demo", "build", "*.egg-info", "__pycache__"
    )
    shutil.copytree(ROOT, source, ignore=ignore)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", out, source]
    subprocess.run(command, check=True, capture_output=True, cwd=out)
    (path,) = out.glob("pstmo_ros-*.whl")
    with zipfile.ZipFile(path) as z:
        return {name: z.read(name) for name in z.namelist()}


@pytest.mark.parametrize(
    "suffix",
    [
        "share/ament_index/resource_index/packages/pstmo_ros",
        "share/pstmo_ros/package.xml",
        "share/pstmo_ros/launch/lifter.launch.py",
        "share/pstmo_ros/launch/demo.launch.py",
        "share/pstmo_ros/config/lifter.yaml",
        "share/pstmo_ros/config/lifter.rviz",
        "share/pstmo_ros/config/lifter.foxglove.json",
        "share/pstmo_ros/config/adapters/example.yaml",
        "pstmo_ros/models/accurate.safetensors",
        "pstmo_ros/models/realtime.safetensors",
        "pstmo_ros/models/small.safetensors",
        "pstmo_ros/samples/two_people.npz",
    ],
)
def test_files_users_need_are_installed(wheel, suffix):
    assert any(name.endswith(suffix) for name in wheel), f"{suffix} is not in the wheel"


def test_executables_exist_and_import(wheel):
    (text,) = (v.decode() for k, v in wheel.items() if k.endswith("entry_points.txt"))
    entries = configparser.ConfigParser()
    entries.read_string(text)
    scripts = dict(entries["console_scripts"])
    assert set(scripts) == {"lifter", "player", "lift", "compile"}
    for target in scripts.values():
        module, function = target.split(":")
        assert f"def {function}(" in wheel[module.replace(".", "/") + ".py"].decode()


def test_training_is_not_installed(wheel):
    assert not [name for name in wheel if name.startswith(("training/", "tests/"))]


def test_every_ros_import_is_declared():
    """package.xml names each ROS package that the source imports, so that rosdep installs what the node needs."""
    declared = {e.text for e in ElementTree.parse(ROOT / "package.xml").getroot().iter("exec_depend")}
    ros = {"rclpy", "launch", "launch_ros", "tf2_ros", "rosbag2_py"}
    found = set()
    for path in [*(ROOT / "pstmo_ros").rglob("*.py"), *(ROOT / "launch").glob("*.py")]:
        for name in re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(), re.M):
            if name in ros or name.endswith(("_msgs", "_interfaces")):
                found.add(name)
    assert found <= declared, f"package.xml lacks {found - declared}"
    assert "rclpy" in found
