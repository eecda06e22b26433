import copy
import dataclasses
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pstmo_ros import engines
from pstmo_ros.core.bundle import BundleError, save_bundle
from pstmo_ros.core.camera import Camera
from pstmo_ros.core.model import STMO
from pstmo_ros.core.model_config import ModelConfig
from pstmo_ros.core.pipeline import PoseLifter
from pstmo_ros.engines import Engine, EngineError, Options, cache, load_engine
from pstmo_ros.engines.compile import main as compile_main
from pstmo_ros.engines.openvino import openvino
from pstmo_ros.engines.self_test import self_test
from tests.conftest import record, walker

FP32 = Options(precision="fp32")


@pytest.fixture(scope="module", params=["torch", "openvino"])
def engine(request, bundle):
    return load_engine(bundle.path, request.param, FP32)


def _windows(bundle, people):
    return np.resize(bundle.golden_x, (people, *bundle.golden_x.shape[1:]))


@pytest.mark.parametrize("people", [1, 2, 5, 32])
def test_any_number_of_people(engine, bundle, people):
    poses = engine(_windows(bundle, people))
    assert poses.shape == (people, 17, 3)
    assert poses.dtype == np.float32
    np.testing.assert_allclose(poses, np.resize(bundle.golden_y, poses.shape), atol=1e-4)


def test_missing_joints_reach_the_model_as_missing(engine, bundle):
    windows = _windows(bundle, 2)
    windows[:, :, 5] = np.nan
    np.testing.assert_allclose(engine(windows), load_engine(bundle, "torch")(windows), atol=1e-4)


def test_an_answer_is_not_overwritten_by_the_next(engine, bundle):
    first = engine(_windows(bundle, 1))
    kept = first.copy()
    engine(_windows(bundle, 1) * 0.5)
    np.testing.assert_array_equal(first, kept)


def test_non_contiguous_and_double_input_is_taken(engine, bundle):
    windows = np.asfortranarray(_windows(bundle, 3).astype(np.float64))
    np.testing.assert_allclose(engine(windows), engine(_windows(bundle, 3)), atol=1e-5)


def test_unknown_engine_names_the_nearest(bundle):
    with pytest.raises(ValueError, match="did you mean 'openvino'"):
        load_engine(bundle, "openvno")


def test_unknown_bundled_model_lists_what_there_is():
    with pytest.raises(BundleError, match="neither a file nor a bundled model"):
        load_engine("realtme")


def test_a_backend_that_fails_falls_back_loudly(bundle, monkeypatch, caplog):
    def broken(*_):
        raise ImportError("openvino is not installed: pip install openvino")

    monkeypatch.setitem(engines.ENGINES, "openvino", broken)
    with caplog.at_level(logging.WARNING):
        assert load_engine(bundle, "auto").name.startswith("torch")
    assert "pip install openvino" in caplog.text
    with pytest.raises(EngineError, match="pip install openvino"):
        load_engine(bundle, "openvino")


def test_an_engine_that_computes_something_else_is_not_trusted(bundle):
    tampered = dataclasses.replace(bundle, golden_y=bundle.golden_y + 0.002)
    with pytest.raises(EngineError, match="self-test failed"):
        load_engine(tampered, "torch")


def test_an_engine_that_gives_nan_is_not_trusted(bundle):
    tampered = dataclasses.replace(bundle, golden_y=bundle.golden_y * np.nan)
    with pytest.raises(EngineError, match="self-test failed"):
        load_engine(tampered, "torch")


@pytest.mark.parametrize("damage", ["foreign", "corrupt", "incomplete"])
def test_a_bad_cache_entry_is_rebuilt_not_trusted(bundle, damage, caplog, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    load_engine(bundle, "openvino", FP32)
    (weights,) = tmp_path.rglob("model.bin")
    listed = weights.parent / "files.json"
    data = weights.read_bytes()
    if damage == "foreign":
        listed.write_text(listed.read_text().replace("openvino", "another"))
    elif damage == "corrupt":
        weights.write_bytes(data[::-1])
    else:
        listed.unlink()
    with caplog.at_level(logging.WARNING):
        engine = load_engine(bundle, "openvino", FP32)
    assert "compiling again" in caplog.text
    np.testing.assert_allclose(engine(bundle.golden_x), bundle.golden_y, atol=1e-4)
    assert weights.read_bytes() == data


def test_a_whole_cache_entry_that_computes_something_else_is_rebuilt(bundle, caplog, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    other = copy.deepcopy(bundle.model)
    other.head.fc.bias.data += 0.01
    recipe = engines.ENGINES["openvino"](dataclasses.replace(bundle, model=other), Options())
    cache.build(recipe, prove=str)
    with caplog.at_level(logging.WARNING):
        engine = load_engine(bundle, "openvino", FP32)
    assert "poses are 17.3 mm off" in caplog.text
    np.testing.assert_allclose(engine(bundle.golden_x), bundle.golden_y, atol=1e-4)


def test_the_second_start_compiles_nothing(bundle, caplog, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with caplog.at_level(logging.INFO):
        load_engine(bundle, "openvino")
        assert "compiling the model with OpenVINO" in caplog.text
        caplog.clear()
        load_engine(bundle, "openvino", Options(threads=1))
    assert "compiling" not in caplog.text
    assert "reproduces the golden poses" in caplog.text


def test_openvino_takes_slices_as_torch_2_8_exports_them(bundle, tmp_path, monkeypatch):
    forward, whole = STMO.forward, torch.ops.aten.slice.Tensor
    monkeypatch.setattr(STMO, "forward", lambda model, x: whole(whole(forward(model, whole(x)), 1), 2, None, 17))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert load_engine(bundle, "openvino").name.startswith("openvino")


def test_an_unwritable_cache_is_no_obstacle(bundle, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert load_engine(bundle, "openvino").name.startswith("openvino")
    assert "not cached" in caplog.text


def test_a_user_without_a_home_has_no_cache_but_an_engine(bundle, tmp_path, monkeypatch, caplog):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("os.getuid", lambda: 2**31 - 5)  # nobody's: the password database does not know it
    assert load_engine(bundle, "openvino").name.startswith("openvino")
    assert "not cached" in caplog.text
    assert cache.shared("timing.bin", tmp_path) == tmp_path / "timing.bin"


def test_what_compilations_share_is_kept_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    kept = cache.shared("timing.bin", tmp_path)
    assert kept.parent == cache.root()
    assert kept.parent.is_dir()
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert cache.shared("timing.bin", tmp_path) == tmp_path / "timing.bin"


def test_without_a_gpu_its_engines_are_passed_over_with_the_reason(bundle, monkeypatch, caplog):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with caplog.at_level(logging.INFO):
        assert load_engine(bundle).name.startswith("openvino")
    for name in ("tensorrt", "cuda_graphs"):
        assert f"engine {name} is not for this machine: torch sees no NVIDIA GPU" in caplog.text
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def test_half_precision_that_fails_falls_back_to_fp32(bundle, monkeypatch, caplog):
    def exact_in_fp32_only(bundle, options):
        engine = engines.ENGINES["torch"](bundle, Options(precision="fp32"))
        if options.precision == "fp16":
            engine.infer = lambda windows, infer=engine.infer: infer(windows) + 0.01
        return engine

    monkeypatch.setitem(engines.ENGINES, "cuda_graphs", exact_in_fp32_only)
    with caplog.at_level(logging.WARNING):
        load_engine(bundle, "cuda_graphs")
    assert "in fp16: ValueError: self-test failed" in caplog.text


@pytest.mark.parametrize(
    ("engine", "why"), [("torch", "runs in fp32 on a CPU; give auto or fp32"), ("openvino", "runs in fp32 or bf16")]
)
def test_half_precision_is_refused_on_a_cpu(bundle, engine, why):
    with pytest.raises(EngineError, match=why):
        load_engine(bundle, engine, Options(precision="fp16"))


def test_bf16_on_a_cpu_is_another_precision_or_says_what_the_cpu_lacks(bundle):
    if "BF16" not in openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with pytest.raises(EngineError, match="this CPU has no bf16 units; give precision auto or fp32"):
            load_engine(bundle, "openvino", Options(precision="bf16"))
        return
    half = load_engine(bundle, "openvino", Options(precision="bf16"))
    assert half.name == "openvino (cpu, bf16)"
    error_mm = np.linalg.norm(half(bundle.golden_x) - bundle.golden_y[..., :3], axis=-1).max() * 1000
    assert 0.01 < error_mm <= 20


@pytest.mark.parametrize("units", [True, False])
def test_auto_is_bf16_on_a_cpu_with_units_for_it(bundle, monkeypatch, units):
    monkeypatch.setattr("pstmo_ros.engines.openvino.has_bf16", lambda: units)
    tried = [o.precision for o in engines.in_precisions("openvino", Options())]
    assert tried == (["bf16", "fp32"] if units else ["fp32"])
    assert [o.precision for o in engines.in_precisions("torch", Options())] == ["fp32"]


def test_bf16_that_computes_something_else_is_found_out(bundle):
    engine = load_engine(bundle, "torch")
    engine.infer = lambda windows, infer=engine.infer: infer(windows) + 0.01
    with pytest.raises(ValueError, match=r"poses are 17.3 mm off the golden ones in the mean, not 10.0"):
        self_test(engine, bundle, Options(precision="bf16"))


@pytest.mark.parametrize(
    ("values", "message"),
    [({"precision": "fp61"}, "did you mean 'fp16'"), ({"threads": -1}, "give 0"), ({"people": 0}, "give 1 to 32")],
)
def test_bad_options_name_the_fix(values, message):
    with pytest.raises(ValueError, match=message):
        Options(**values)


def test_all_that_a_model_gives_is_had_by_infer(bundle):
    """A model may give more than poses; the callable gives these alone."""

    class More(Engine):
        name = "more"

        def infer(self, windows):
            return np.zeros((len(windows), 17, 4), np.float32)

    assert More()(bundle.golden_x).shape == (len(bundle.golden_x), 17, 3)


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_compile_fills_the_cache_and_writes_the_file(bundle, engine, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    out = tmp_path / "out" / "compiled.xml"
    compile_main([str(bundle.path), "--engine", engine, "-o", str(out)])
    assert str(tmp_path / "cache") in capsys.readouterr().out
    assert out.stat().st_size
    assert out.with_suffix(".bin").exists() == (engine == "openvino")


def test_compile_says_what_is_missing(bundle, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit, match="torch sees no NVIDIA GPU"):
        compile_main([str(bundle.path), "--engine", "tensorrt"])


def test_a_compiled_model_serves_its_own_look_ahead_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    config = ModelConfig(frames=9, stride=1, dim=32, heads=4, depth=1, mofa=False, dial=True, uncertainty=True)
    windows = np.random.default_rng(0).standard_normal((2, 9, 17, 2)).astype(np.float32)
    bundle = save_bundle(tmp_path / "dial.safetensors", STMO(config), "rays", {"data": "none"}, windows)
    for look_ahead_s in (0.0, bundle.config.longest_look_ahead_s):
        asked = bundle.at(look_ahead_s)
        found = load_engine(asked, "openvino", FP32).infer(windows)
        np.testing.assert_allclose(found, asked.golden_y, atol=1e-4)
        assert found.shape == (2, 17, 4)
    assert len(list(tmp_path.rglob("files.json"))) == 2
    recording = record([walker(0.1)], Camera.from_field_of_view((1280, 720), 65.0))
    lifter = PoseLifter(bundle, load_engine(bundle, "openvino"))
    assert lifter.step(next(recording.frames()))[0].std_m is not None


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
