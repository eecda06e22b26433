import numpy as np
import pytest
import torch

from pstmo_ros.core.bundle import Bundle, save_bundle
from pstmo_ros.core.model import STMO
from pstmo_ros.core.model_config import ModelConfig


@pytest.fixture(scope="session")
def least(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The least model there can be, for what is asked of any: OpenVINO has it in a fifth of the time."""
    torch.manual_seed(0)
    config = ModelConfig(frames=3, stride=1, dim=32, heads=4, depth=1, sem="fc", tem=False, mofa=False)
    windows = np.random.default_rng(0).standard_normal((4, 3, 17, 2)).astype(np.float32)
    return save_bundle(tmp_path_factory.mktemp("model") / "least.safetensors", STMO(config), "rays", {}, windows)
