"""Imports point one way: core <- engines, adapters <- recording, lift <- ros; core <- training <- nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROS = {"rclpy", "launch", "launch_ros", "builtin_interfaces", "rcl_interfaces", "tf2_ros"}


def imports(path: Path) -> set[str]:
    """Every module that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found |= {f"{node.module}.{a.name}" for a in node.names} | {str(node.module)}
    return found


def of(folder: str) -> list[Path]:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    return files


def is_ros(name: str) -> bool:
    return name.split(".")[0] in ROS or name.split(".")[0].endswith("_msgs") or name.startswith("pstmo_ros.ros")


@pytest.mark.parametrize(
    ("folder", "may_import"),
    [
        ("pstmo_ros/core", ("pstmo_ros.core",)),
        ("pstmo_ros/engines", ("pstmo_ros.core", "pstmo_ros.engines")),
        ("pstmo_ros/adapters", ("pstmo_ros.core", "pstmo_ros.adapters")),
        ("pstmo_ros/formats", ("pstmo_ros.core", "pstmo_ros.adapters", "pstmo_ros.formats", "pstmo_ros.recording",
                               "pstmo_ros.render")),
        ("pstmo_ros/ros", ("pstmo_ros",)),
        ("training", ("pstmo_ros.core", "pstmo_ros.engines", "pstmo_ros.formats", "pstmo_ros.lift",
                      "pstmo_ros.recording", "pstmo_ros.render", "training")),
        ("bench", ("pstmo_ros", "training", "bench")),
    ],
)  # fmt: skip
def test_layers(folder, may_import):
    for path in of(folder):
        ours = {n for n in imports(path) if n.split(".")[0] in ("pstmo_ros", "training", "tests")}
        bad = {n for n in ours if n != "pstmo_ros" and not n.startswith(may_import)}
        assert not bad, f"{path.relative_to(ROOT)} imports {sorted(bad)}"


def test_ros_stays_in_its_shell():
    shell = {*of("pstmo_ros/ros"), ROOT / "pstmo_ros/demo.py"}  # the demo runs the node and listens to it
    for path in {*of("pstmo_ros"), *of("training")} - shell:
        bad = {n for n in imports(path) if is_ros(n)}
        assert not bad, f"{path.relative_to(ROOT)} imports {sorted(bad)}"


def test_the_package_itself_imports_nothing():
    assert not imports(ROOT / "pstmo_ros/__init__.py")


@pytest.mark.parametrize("module", ["pstmo_ros.ros.player", "pstmo_ros.formats", "pstmo_ros.recording"])
def test_what_lifts_nothing_starts_without_waiting_for_torch(module):
    """Seconds on a Jetson, and a few hundred megabytes."""
    if module.startswith("pstmo_ros.ros"):
        pytest.importorskip("rclpy")
    program = f"import sys, {module}; print([m for m in ('torch', 'scipy') if m in sys.modules])"
    asked = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert asked.stdout.strip() == "[]"
