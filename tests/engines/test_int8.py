"""Products of whole numbers of eight bits, for CPUs with VNNI. OpenVINO computes the same without, only slower."""

import dataclasses

import numpy as np
import pytest
import torch

from pstmo_ros.core.bundle import save_bundle
from pstmo_ros.core.model import STMO
from pstmo_ros.engines import EngineError, Options, load_engine
from pstmo_ros.engines.deployed import exported
from pstmo_ros.engines.openvino import _round_weights, has_vnni, openvino

FP32, INT8 = Options(precision="fp32"), Options(precision="int8")


@pytest.fixture(scope="module")
def wide(bundle, tmp_path_factory):
    """A model whose products are wide enough to be rounded."""
    torch.manual_seed(0)
    model = STMO(dataclasses.replace(bundle.config, dim=64))
    with torch.no_grad():  # poses that the input changes by decimetres, as a person's
        model.head.fc.weight.mul_(0.2)
    path = tmp_path_factory.mktemp("wide") / "wide.safetensors"
    return save_bundle(path, model, "rays", {"data": "none"}, bundle.golden_x)


@pytest.fixture
def vnni(monkeypatch):
    monkeypatch.setattr("pstmo_ros.engines.openvino.has_vnni", lambda: True)


def _off_mm(engine, bundle):
    return np.linalg.norm(engine(bundle.golden_x) - bundle.golden_y[..., :3], axis=-1).max() * 1000


def test_poses_are_nearly_the_same_and_nobody_is_rounded_by_who_else_is_there(wide, vnni):
    engine = load_engine(wide, "openvino", INT8)
    assert engine.name == "openvino (cpu, int8)"
    assert 0.1 < _off_mm(engine, wide) < 20
    np.testing.assert_allclose(engine(wide.golden_x[:2])[0], engine(wide.golden_x[:1])[0], atol=1e-4)


def test_the_cache_keeps_precisions_apart(wide, vnni):
    for options in (FP32, INT8, FP32):
        assert (_off_mm(load_engine(wide, "openvino", options), wide) < 0.1) == (options == FP32)


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch's, about itself
def test_weights_are_rounded_to_the_nearest_step_and_what_reads_and_gives_coordinates_not_at_all(wide):
    model = openvino().convert_model(exported(wide))
    exact = {p.get_friendly_name(): p.input_value(1).get_node().data.copy() for p in _products(model)}
    _round_weights(model)
    left = {name: weights for name, weights in exact.items() if 2 * 17 in weights.shape or 3 * 17 in weights.shape}
    assert len(left) == 2
    for product in _products(model):
        weights, given = exact[product.get_friendly_name()], product.input_value(1).get_node()
        if product.get_friendly_name() in left:
            np.testing.assert_array_equal(given.data, weights)
            continue
        whole, scale = (v.get_source_output().get_node() for v in given.input_value(0).get_node().inputs())
        whole = whole.input_value(0).get_node().data
        assert whole.dtype == np.int8
        off = abs(whole * scale.data - weights.reshape(whole.shape))
        assert (off <= 0.501 * scale.data).all()
        assert abs(whole).max(-1).min() == 127, "no step is wider than its group needs"


def _products(model):
    """The matrix products with weights."""
    products = [op for op in model.get_ordered_ops() if op.get_type_name() == "MatMul"]
    return [p for p in products if p.input_value(1).get_node().get_type_name() in ("Constant", "Reshape")]


def test_a_cpu_without_is_named(bundle, monkeypatch):
    monkeypatch.setattr("pstmo_ros.engines.openvino.has_vnni", lambda: False)
    with pytest.raises(EngineError, match="this CPU has no VNNI, which int8 needs; give precision auto or fp32"):
        load_engine(bundle, "openvino", INT8)


@pytest.mark.parametrize(
    ("flags", "has"),
    [("avx2 avx_vnni", True), ("avx512f avx512_vnni amx", True), ("avx2 avx512f", False), ("avx512_vnni2", False)],
)
def test_what_a_cpu_has(monkeypatch, tmp_path, flags, has):
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: fpu {flags} sse\n")
    monkeypatch.setattr("pstmo_ros.engines.openvino._CPU", tmp_path / "cpuinfo")
    assert has_vnni() is has
    monkeypatch.setattr("pstmo_ros.engines.openvino._CPU", tmp_path / "none")
    assert has_vnni() is False
