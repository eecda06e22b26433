"""Pickles inside npz files may build arrays and containers, and never run code."""

import os

import numpy as np
import pytest

from tests.training.dataset_files import FRAMES, RunsCode, dhp_arrays, write_h36m, write_pickle
from training.datasets import dhp, h36m
from training.datasets.clips import DataError
from training.datasets.pickled import load_dictionary


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_tries_to_run_code_is_refused_and_does_not_run(tmp_path, protocol):
    write_h36m(tmp_path)
    victim = tmp_path / "made_by_the_pickle"
    write_pickle(tmp_path / "data_3d_h36m.npz", "positions_3d", RunsCode(os.mkdir, str(victim)), protocol)
    with pytest.raises(DataError, match=r"asks for \w+.mkdir"):
        h36m.load_h36m(tmp_path, "test", "gt")
    assert not victim.exists()


def test_code_hidden_deep_in_good_data_is_refused_in_either_data_set(tmp_path):
    victim = tmp_path / "made_by_the_pickle"
    good = dhp_arrays() | {"valid": np.ones(FRAMES)}
    hidden = np.array({"TS1": good | {"notes": [1, {"x": RunsCode(os.mkdir, str(victim))}]}}, dtype=object)
    write_pickle(tmp_path / "data_test_3dhp.npz", "data", hidden, 4)
    with pytest.raises(DataError, match=r"data_test_3dhp.npz.*asks for \w+.mkdir.*do not trust this file"):
        dhp.load_dhp(tmp_path, "test")
    assert not victim.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_plain_data_of_every_pickle_protocol_is_read(tmp_path, protocol):
    data = {"a": {"b": [np.arange(6.0).reshape(2, 3), np.float32(2), (1, "x", True, None)]}, "e": np.array([b"s"])}
    write_pickle(tmp_path / "data.npz", "data", np.array(data, dtype=object), protocol)
    read = load_dictionary(tmp_path / "data.npz", "data")
    np.testing.assert_array_equal(read["a"]["b"][0], data["a"]["b"][0])
    assert read["a"]["b"][1:] == data["a"]["b"][1:]
    assert read["e"][0] == b"s"
