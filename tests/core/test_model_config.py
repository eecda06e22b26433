"""What a model's settings may be, and which look-aheads they answer for."""

import pytest

from pstmo_ros.core.model_config import ModelConfig


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rate_hz": 0.0}, "rate_hz is 0.0; give 0.1 to 1000"),
        ({"rate_hz": float("nan")}, "rate_hz is nan"),
        ({"stride": 0}, "stride is 0; give 1 to 1000"),
        ({"depth": 0}, "depth is 0; give 1 to 100"),
        ({"dim": 0}, "dim is 0"),
        ({"dim": -256}, "dim is -256"),
        ({"heads": 0}, "heads is 0"),
        ({"heads": 3}, "dim is 256, not a multiple of heads, 3; change one"),
        ({"dropout": 1.0}, "dropout is 1.0; give 0 to 0.99"),
        ({"frames": 3**15}, "frames is 14348907; .*power of 3"),
    ],
)
def test_settings_that_no_model_can_have_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig(**settings)


def test_a_look_ahead_of_whole_frames_is_not_rounded_down():
    config = ModelConfig(81, 1, 50.0, mofa=False, dial=True)
    assert [config.at(frames * 0.02).look_ahead_frames for frames in range(41)] == list(range(41))
    assert config.at(0.58).look_ahead_frames == 29  # 0.58 / 0.02 < 29


def test_a_model_without_the_dial_stays_as_it_is(bundle):
    assert bundle.at(0.3) is bundle
