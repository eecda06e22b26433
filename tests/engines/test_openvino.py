"""What OpenVINO is given, and what it is kept from."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from pstmo_ros import engines
from pstmo_ros.core.model import STMO
from pstmo_ros.engines import Options, load_engine
from pstmo_ros.engines.openvino import openvino

FP32 = Options(precision="fp32")


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


def test_nothing_is_reported_to_anybody(least, tmp_path):
    """OpenVINO reports its use, from forks, and keeps count of it in the home folder."""
    code = f"""
import os
os.register_at_fork(before=lambda: print("forked"))
from pstmo_ros.core.bundle import load
from pstmo_ros.engines import load_engine
print(load_engine(load({str(least.path)!r}), "openvino").name)
"""
    outside = {name: value for name, value in os.environ.items() if name not in ("CI", "TF_BUILD", "JENKINS_URL")}
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    said = subprocess.run([sys.executable, "-c", code], env=outside | home, capture_output=True, text=True, check=True)
    assert said.stdout.startswith("openvino (cpu")
    assert "forked" not in said.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_what_openvino_is_asked_for(bundle, tmp_path, monkeypatch):
    asked = []
    Core = openvino().Core
    compile_model = Core.compile_model

    def record(self, model, device, settings):
        asked.append(settings)
        return compile_model(self, model, device, settings)

    monkeypatch.setattr(Core, "compile_model", record)
    load_engine(bundle, "openvino", Options(precision="fp32", threads=2, people=2))
    assert len(asked) == 3  # any batch, and one and two people
    for settings in asked:
        assert settings["INFERENCE_NUM_THREADS"] == 2
        assert settings["PERFORMANCE_HINT"] == "LATENCY"
        assert settings["ENABLE_CPU_PINNING"] is False


FAULTS = {
    "import": "raise RuntimeError('module compiled against another NumPy')",
    "names": "",
    "start": "class Core:\n  def __init__(self): raise RuntimeError('no CPU plugin')\n",
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_broken_openvino_is_passed_over(bundle, tmp_path, fault):
    (tmp_path / "openvino").mkdir()
    (tmp_path / "openvino" / "__init__.py").write_text(f"__version__ = '2022.3'\n{fault}")
    code = f"from pstmo_ros.engines import load_engine; print(load_engine({str(bundle.path)!r}).name)"
    path = os.pathsep.join([str(tmp_path), *sys.path])
    said = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True
    )
    assert said.stdout.startswith("torch"), said.stderr
    assert "another NumPy" not in fault or "another NumPy" in said.stderr


@pytest.fixture(scope="module")
def engine(bundle):
    return load_engine(bundle, "openvino", FP32)


def test_callers_in_several_threads_get_their_own_poses(engine, bundle):
    wrong = []

    def call(k):
        for _ in range(300):
            if np.abs(engine(bundle.golden_x[k : k + 1]) - bundle.golden_y[k : k + 1]).max() > 1e-4:
                wrong.append(k)

    threads = [threading.Thread(target=call, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
