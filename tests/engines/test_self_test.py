"""What an engine must do before it is trusted."""

import dataclasses

import pytest

from pstmo_ros.engines import Options, load_engine
from pstmo_ros.engines.self_test import self_test

FP32 = Options(precision="fp32")


def _spoilt(bundle, spoil):
    """The torch engine, its answers changed by ``spoil``."""
    engine = load_engine(bundle, "torch")
    engine.infer = lambda windows, infer=engine.infer: spoil(infer(windows))
    return engine


@pytest.mark.parametrize(("precision", "allowed_mm"), [("fp32", 1.0), ("fp16", 2.5), ("bf16", 20.0)])
def test_one_joint_may_be_off_by_so_much_and_no_more(bundle, precision, allowed_mm):
    def spoil(poses, off_mm):
        poses = poses.copy()
        poses[:, 16, 0] += off_mm / 1000
        return poses

    options = Options(precision=precision)
    self_test(_spoilt(bundle, lambda poses: spoil(poses, 0.95 * allowed_mm)), bundle, options)
    with pytest.raises(ValueError, match=f"off the golden ones at most, not {allowed_mm}"):
        self_test(_spoilt(bundle, lambda poses: spoil(poses, 1.1 * allowed_mm)), bundle, options)


def test_an_engine_that_mixes_people_up_is_found_out(bundle):
    with pytest.raises(ValueError, match="self-test failed"):
        self_test(_spoilt(bundle, lambda poses: poses[::-1]), bundle, FP32)


def test_an_engine_that_fails_with_one_person_more_than_usual_is_found_out(bundle):
    with pytest.raises(ValueError, match="with 5 people"):
        self_test(_spoilt(bundle, lambda poses: poses + (len(poses) > FP32.people)), bundle, FP32)


def test_an_answer_for_one_person_is_none_for_two(bundle):
    alike = dataclasses.replace(bundle, golden_x=bundle.golden_x[:1], golden_y=bundle.golden_y[:1])
    with pytest.raises(ValueError, match=r"shape is \(1, 17, 3\), not \(2, 17, 3\)"):
        self_test(_spoilt(alike, lambda poses: poses[:1]), alike, FP32)
