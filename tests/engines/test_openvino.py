"""What OpenVINO is given, and what it is kept from."""

import os
import subprocess
import sys
from pathlib import Path

import torch

from pstmo_ros import engines
from pstmo_ros.core.model import STMO
from pstmo_ros.engines import Options, load_engine


def test_openvino_takes_slices_as_torch_2_8_exports_them(bundle, tmp_path, monkeypatch):
    forward, whole = STMO.forward, torch.ops.aten.slice.Tensor
    monkeypatch.setattr(STMO, "forward", lambda model, x: whole(whole(forward(model, whole(x)), 1), 2, None, 17))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert load_engine(bundle, "openvino").name.startswith("openvino")


def test_threads_are_those_asked_for_or_one_for_little_work(bundle, monkeypatch):
    asked = []
    made = "pstmo_ros.engines.openvino.OpenVinoEngine.__init__"
    monkeypatch.setattr(made, lambda self, path, precision, threads, people: asked.append((threads(1), threads(10**6))))
    recipe = engines.ENGINES["openvino"]
    for threads in (0, 2):
        recipe(bundle, Options(threads=threads)).open(Path())
    assert asked == [(1, 0), (2, 2)]


def test_nothing_is_reported_to_anybody(bundle, tmp_path):
    """OpenVINO reports its use, from forks, and keeps count of it in the home folder."""
    code = f"""
import os
os.register_at_fork(before=lambda: print("forked"))
from pstmo_ros.core.bundle import load
from pstmo_ros.engines import load_engine
print(load_engine(load({str(bundle.path)!r}), "openvino").name)
"""
    outside = {name: value for name, value in os.environ.items() if name not in ("CI", "TF_BUILD", "JENKINS_URL")}
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    said = subprocess.run([sys.executable, "-c", code], env=outside | home, capture_output=True, text=True, check=True)
    assert said.stdout.startswith("openvino (cpu")
    assert "forked" not in said.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
