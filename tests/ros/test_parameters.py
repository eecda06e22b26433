from pathlib import Path

import pytest
import yaml

from pstmo_ros.core.layouts import LAYOUTS
from pstmo_ros.engines import CHOICES, Options
from pstmo_ros.ros import player
from pstmo_ros.ros.node_config import ABOUT, NodeConfig
from pstmo_ros.ros.parameters import flatten, unflatten
from pstmo_ros.ros.player import PlayerConfig

YAML = Path(__file__).parents[2] / "config" / "lifter.yaml"


def _flat(tree, prefix=""):
    out = {}
    for name, value in tree.items():
        out |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return out


def test_the_manual_holds_every_parameter_at_its_default():
    assert _flat(yaml.safe_load(YAML.read_text())["/**"]["ros__parameters"]) == flatten(NodeConfig())


def test_the_manual_names_every_choice():
    text = YAML.read_text()
    assert not [name for name in (*CHOICES, *LAYOUTS) if name not in text]


@pytest.mark.parametrize(("config", "about"), [(NodeConfig(), ABOUT), (PlayerConfig(), player.ABOUT)])
def test_every_parameter_is_described(config, about):
    assert set(about) == set(flatten(config))


def test_parameters_reach_the_configuration():
    values = flatten(NodeConfig()) | {"image_size": [640, 480], "smoothing.beta": 1.5, "tracks.max_coast_s": 3.0}
    config = unflatten(NodeConfig(), values)
    assert config.image_size == (640, 480)
    assert config.lifter.smoothing.beta == 1.5
    assert config.lifter.tracks.max_coast_s == 3.0
    assert flatten(config) == values
    values |= {"precision": "fp32", "threads": 2, "people": 7}
    assert unflatten(NodeConfig(), values).options == Options(precision="fp32", threads=2, people=7)


@pytest.mark.parametrize("size", [(640,), (640, -1), (1, 2, 3)])
def test_a_bad_image_size_is_named(size):
    with pytest.raises(ValueError, match="image_size"):
        NodeConfig(image_size=size)
