"""The GPU engines; where there is no GPU, which batches they run and what they ask TensorRT for."""

import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pstmo_ros.core.bundle import load
from pstmo_ros.engines import EngineError, Options, load_engine, model_path, tensorrt
from pstmo_ros.engines.cuda_graphs import BUCKETS, batches
from pstmo_ros.engines.deployed import exported
from pstmo_ros.engines.self_test import TOLERANCE_MM

V2_8 = ("device", "disable_tf32", "enabled_precisions", "min_block_size", "use_explicit_typing", "timing_cache_path",
        "cache_built_engines", "reuse_cached_engines", "immutable_weights", "kwargs")  # fmt: skip
MAIN = (*(n for n in V2_8 if n not in ("enabled_precisions", "use_explicit_typing")), "attn_bias_is_causal")


@pytest.mark.parametrize(
    ("people", "expected"),
    [(1, [1]), (2, [2]), (3, [4]), (5, [8]), (17, [32]), (32, [32]), (70, [64, 8]), (134, [64, 64, 8])],
)
def test_buckets(people, expected):
    parts = list(batches(people))
    assert [bucket for bucket, _ in parts] == expected
    taken = [i for _, part in parts for i in range(people)[part]]
    assert taken == list(range(people))
    assert all(len(range(people)[part]) <= bucket for bucket, part in parts)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need an NVIDIA GPU")
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_graphs_answer_alike_whatever_else_takes_the_gpus_memory(precision):
    engine = load_engine("realtime", "cuda_graphs", Options(precision=precision))
    bundle = load(model_path("realtime"))
    others = [torch.randn(2**k, device="cuda") for k in range(8, 24) for _ in range(4)]  # in what was freed, too
    for people in (1, 3, 70, 200):
        poses = engine(np.resize(bundle.golden_x, (people, *bundle.golden_x.shape[1:])))
        expected = np.resize(bundle.golden_y, (people, *bundle.golden_y.shape[1:]))[..., :3]
        np.testing.assert_allclose(poses, expected, atol=1e-3 * TOLERANCE_MM[precision][0])
    assert all(torch.isfinite(x).all() for x in others)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need an NVIDIA GPU")
def test_graphs_answer_each_of_several_threads():
    bundle = load(model_path("realtime"))
    engine = load_engine(bundle, "cuda_graphs", Options(precision="fp32"))
    which = [k % len(bundle.golden_x) for k in range(400)]
    with ThreadPoolExecutor(4) as callers:
        for k, pose in zip(which, callers.map(lambda k: engine.infer(bundle.golden_x[k : k + 1]), which), strict=True):
            np.testing.assert_allclose(pose[0], bundle.golden_y[k], atol=1e-3)


def test_nobody_in_view_runs_nothing():
    assert not list(batches(0))


@pytest.mark.parametrize("accepted", [V2_8, MAIN], ids=["2.8", "main"])
def test_types_stay_as_the_graph_has_them(accepted, tmp_path):
    arguments = tensorrt.compile_arguments(accepted, tmp_path / "timing.bin")
    assert set(arguments) <= set(accepted)
    assert "enabled_precisions" not in arguments  # would be weak typing
    assert arguments.get("use_explicit_typing", True)
    assert ("use_explicit_typing" in arguments) == ("use_explicit_typing" in accepted)
    assert arguments["timing_cache_path"] == str(tmp_path / "timing.bin")


def test_one_engine_serves_every_bucket():
    shapes = tensorrt.input_shapes((27, 17, 2), people=4)
    assert shapes == {"min_shape": (1, 27, 17, 2), "opt_shape": (4, 27, 17, 2), "max_shape": (BUCKETS[-1], 27, 17, 2)}


def test_an_engine_of_other_versions_options_or_gpus_is_another_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 7))
    keys = set()
    for gpu, version, options in (
        ("Orin", "2.8.0", Options("fp16")),
        ("H200", "2.8.0", Options("fp16")),
        ("Orin", "2.9.0", Options("fp16")),
        ("Orin", "2.8.0", Options("fp32")),
        ("Orin", "2.8.0", Options("fp16", people=8)),
    ):
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda gpu=gpu: gpu)
        keys.add(tensorrt.made_by(SimpleNamespace(__version__=version), options))
    assert len(keys) == 5


def test_tensorrt_gets_the_graph_in_the_precision_asked_for_and_stores_it_as_it_is(bundle, tmp_path, monkeypatch):
    got = {}
    trt = SimpleNamespace(
        __version__="2.8.0",
        Input=lambda **shapes: shapes,
        dynamo=SimpleNamespace(compile=None),
        save=lambda compiled, path, **how: got.update(saved=how),
    )

    def compile(program, arg_inputs, *, use_explicit_typing=False, disable_tf32=False, min_block_size=5,
                timing_cache_path="", cache_built_engines=True, reuse_cached_engines=True, **kwargs):  # fmt: skip
        got.update(arguments=locals())

    trt.dynamo.compile = compile
    monkeypatch.setitem(sys.modules, "torch_tensorrt", trt)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Orin (nvgpu)/integrated")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 7))
    monkeypatch.setattr(tensorrt, "exported", lambda bundle, *how: got.update(exported=how))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    tensorrt.tensorrt_engine(bundle, Options(precision="fp16")).write(tmp_path / "engine")
    assert got["exported"] == ("fp16", "cuda", 4, 64)
    assert got["saved"] == {"retrace": False}
    assert got["arguments"]["use_explicit_typing"]
    assert got["arguments"]["disable_tf32"]
    assert got["arguments"]["min_block_size"] == 1
    assert not got["arguments"]["cache_built_engines"]
    assert not got["arguments"]["reuse_cached_engines"]
    assert not got["arguments"]["kwargs"]
    # Not in the cache: torch_tensorrt writes over it in place. Each GPU's own: TensorRT refuses another's.
    name = "tensorrt_timing_2.8.0_Orin_nvgpu_integrated.bin"
    assert got["arguments"]["timing_cache_path"] == str(tmp_path / name)


def test_what_tensorrt_lacks_is_said_with_what_to_install(bundle, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "__version__", "2.13.0+cu130")
    monkeypatch.setitem(sys.modules, "torch_tensorrt", None)
    with pytest.raises(EngineError, match=r"pip install torch_tensorrt==2\.13\.\*"):
        load_engine(bundle, "tensorrt", Options(precision="fp16"))


def test_verify_gpu_installs_the_torch_tensorrt_of_the_pinned_torch():
    requirements = Path(__file__).parents[2] / "requirements"
    torchs, trts = ((requirements / name).read_text() for name in ("run.txt", "gpu.txt"))
    release = re.search(r"^torch==(\d+\.\d+)\.", torchs, re.M)
    assert release
    assert f"torch_tensorrt=={release[1]}." in trts


def test_an_engine_of_another_torch_cuda_or_chip_is_another_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "GPU")
    keys = set()
    for capability, cuda, version in (((8, 7), "12.6", "2.8"), ((9, 0), "12.6", "2.8"), ((8, 7), "13.0", "2.8"),
                                      ((8, 7), "12.6", "2.9")):  # fmt: skip
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda c=capability: c)
        monkeypatch.setattr(torch.version, "cuda", cuda)
        monkeypatch.setattr(torch, "__version__", version)
        keys.add(tensorrt.made_by(SimpleNamespace(__version__="2.8.0"), Options("fp16")))
    assert len(keys) == 4


def test_tensorrt_is_told_the_people_by_the_graphs_own_example(bundle):
    """torch_tensorrt takes its optimization profile from the exported batch, not from the Input it is given."""
    program = exported(bundle, people=7, most=BUCKETS[-1])
    (placeholder,) = [n for n in program.module().graph.nodes if n.op == "placeholder"]
    batch = placeholder.meta["val"].shape[0].node
    assert batch.hint == 7
    allowed = batch.shape_env.var_to_range[batch.expr]
    assert (max(allowed.lower, 1), allowed.upper) == (1, 64) or (allowed.lower, allowed.upper) == (2, 64)
