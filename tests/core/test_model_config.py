"""What a model's settings may be, and which look-aheads they answer for."""

import pytest

from pstmo_ros.core.model_config import ModelConfig


@pytest.mark.parametrize("settings", [{"rate_hz": 0.0}, {"rate_hz": float("nan")}, {"stride": 0}])
def test_a_grid_without_steps_is_refused(settings):
    with pytest.raises(ValueError, match="give positive numbers"):
        ModelConfig(**settings)


def test_a_look_ahead_of_whole_frames_is_not_rounded_down():
    config = ModelConfig(81, 1, 50.0, mofa=False, dial=True)
    assert [config.at(frames * 0.02).look_ahead_frames for frames in range(41)] == list(range(41))
    assert config.at(0.58).look_ahead_frames == 29  # 0.58 / 0.02 < 29


def test_a_model_without_the_dial_stays_as_it_is(bundle):
    assert bundle.at(0.3) is bundle
