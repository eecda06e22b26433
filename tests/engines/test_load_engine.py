import dataclasses
import logging
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from pstmo_ros import engines
from pstmo_ros.core.bundle import BundleError
from pstmo_ros.engines import Engine, EngineError, Options, load_engine, model_path
from pstmo_ros.engines.openvino import openvino
from pstmo_ros.engines.self_test import self_test

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


def test_nobody_has_no_poses(engine, bundle):
    engine(bundle.golden_x)
    assert engine(bundle.golden_x[:0]).shape == (0, 17, 3)


def test_windows_of_another_shape_are_refused(engine, bundle):
    x = bundle.golden_x
    for windows in (x[0], x[:0, :1], x[:1, :1], x[:1, :, :1], x[:1, :, :, :1]):
        with pytest.raises(ValueError, match=r"give \(people, 27, 17, 2\)"):
            engine(windows)


def test_callers_in_several_threads_take_turns():
    class Alone(Engine):
        name, inside = "alone", 0

        def _run(self, windows):
            self.inside += 1
            time.sleep(0.01)
            alone = self.inside == 1
            self.inside -= 1
            return np.full((len(windows), 17, 3), alone, np.float32)

    engine = Alone((3, 17, 2), (17, 3))
    with ThreadPoolExecutor(4) as callers:
        assert all(answer.all() for answer in callers.map(engine, [np.zeros((1, 3, 17, 2))] * 8))


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


@pytest.mark.parametrize("name", ["realtme", "", "a" * 300])
def test_unknown_bundled_model_lists_what_there_is(name):
    with pytest.raises(BundleError, match=r"neither a file nor a bundled model.*realtime"):
        load_engine(name)


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
    ("engine", "why"),
    [("torch", "runs in fp32 on a CPU; give auto or fp32"), ("openvino", "runs in fp32, bf16, int8 on a CPU")],
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


@pytest.mark.parametrize(
    ("bf16", "vnni", "order"),
    [(True, True, ["bf16", "fp32"]), (False, True, ["int8", "fp32"]), (False, False, ["fp32"])],
)
def test_auto_is_the_fastest_that_the_cpu_has_units_for(bundle, monkeypatch, bf16, vnni, order):
    monkeypatch.setattr("pstmo_ros.engines.openvino.has_bf16", lambda: bf16)
    monkeypatch.setattr("pstmo_ros.engines.openvino.has_vnni", lambda: vnni)
    assert [o.precision for o in engines.in_precisions("openvino", Options())] == order
    assert [o.precision for o in engines.in_precisions("torch", Options())] == ["fp32"]


def test_bf16_that_computes_something_else_is_found_out(bundle):
    engine = load_engine(bundle, "torch")
    engine.infer = lambda windows, infer=engine.infer: infer(windows) + 0.01
    with pytest.raises(ValueError, match=r"poses are 17.3 mm off the golden ones in the mean, not 10.0"):
        self_test(engine, bundle, Options(precision="bf16"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"precision": "fp61"}, "did you mean 'fp16'"),
        ({"threads": -1}, "give 0"),
        ({"people": 0}, "give 1 to 32"),
        ({"threads": 257}, "give 0"),
        ({"people": 33}, "give 1 to 32"),
    ],
)
def test_bad_options_name_the_fix(values, message):
    with pytest.raises(ValueError, match=message):
        Options(**values)


def test_all_that_a_model_gives_is_had_by_infer(bundle):
    """A model may give more than poses; the callable gives these alone."""

    class More(Engine):
        name = "more"

        def _run(self, windows):
            return np.zeros((len(windows), 17, 4), np.float32)

    assert More(bundle.golden_x.shape[1:], (17, 4))(bundle.golden_x).shape == (len(bundle.golden_x), 17, 3)


def test_without_openvino_auto_is_torch(bundle, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "openvino", None)  # as where it is not installed
    assert load_engine(bundle).name.startswith("torch")
    assert "pip install openvino" in caplog.text


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine's GPU may work")
def test_a_gpu_that_does_not_work_leaves_the_cpu(bundle, monkeypatch, caplog):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert load_engine(bundle).name == "torch (cpu, fp32)"
    assert "torch sees a GPU and cannot use it" in caplog.text


def test_the_fastest_engine_is_tried_first():
    assert tuple(engines.ENGINES) == ("tensorrt", "cuda_graphs", "openvino", "torch")
    assert [o.precision for o in engines.in_precisions("tensorrt", Options())] == ["fp16", "fp32"]


def test_torch_takes_the_threads_it_is_given(bundle):
    before = torch.get_num_threads()
    try:
        load_engine(bundle, "torch", Options(threads=3))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_a_folder_of_the_same_name_does_not_hide_a_bundled_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "realtime").mkdir()
    assert model_path("realtime").is_file()
