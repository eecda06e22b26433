import dataclasses
import logging

import numpy as np
import pytest

from pstmo_ros import engines
from pstmo_ros.core.bundle import BundleError
from pstmo_ros.engines import EngineError, load_engine


@pytest.fixture(scope="module", params=["torch", "openvino"])
def engine(request, bundle):
    return load_engine(bundle.path, request.param)


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
    def broken(_):
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


@pytest.mark.parametrize("damage", ["foreign", "corrupt"])
def test_a_bad_cache_entry_is_rebuilt_not_trusted(bundle, damage, caplog, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    load_engine(bundle, "openvino")
    (weights,) = tmp_path.rglob("model.bin")
    data = np.frombuffer(weights.read_bytes(), np.uint8)
    weights.write_bytes(data[::-1].tobytes() if damage == "foreign" else data[: len(data) // 2].tobytes())
    with caplog.at_level(logging.WARNING):
        engine = load_engine(bundle, "openvino")
    assert "compiling again" in caplog.text
    np.testing.assert_allclose(engine(bundle.golden_x), bundle.golden_y, atol=1e-4)
    assert weights.read_bytes() == data.tobytes()


def test_an_unwritable_cache_is_no_obstacle(bundle, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert load_engine(bundle, "openvino").name.startswith("openvino")
    assert "not cached" in caplog.text
