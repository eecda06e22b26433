"""Which optimizer updates which parameters."""

import pytest
import torch

from pstmo_ros.core.model import STMO
from pstmo_ros.core.model_config import ModelConfig
from training.optimizers import optimizers


def _parameters(optimizer):
    return {p for group in optimizer.param_groups for p in group["params"]}


def test_muon_has_the_hidden_layers_and_adamw_all_else():
    model = STMO(ModelConfig(dim=64, heads=4, depth=1))
    muon, adamw = map(_parameters, optimizers("muon", model, 1e-3, 0.0))
    assert muon.isdisjoint(adamw)
    assert muon | adamw == set(model.parameters())
    assert {model.sem.block_1.weight, model.tem.layers[0].attention.qkv.weight} <= muon
    assert {model.sem.fc_1.weight, model.head.fc.weight, model.tem.position, model.sem.fc_2.bias} <= adamw


@pytest.mark.parametrize("name", ["adam", "adamw", "muon"])
def test_every_optimizer_trains_what_is_not_frozen(name):
    model = STMO(ModelConfig(dim=64, heads=4, depth=1))
    model.sem.requires_grad_(False)
    before = {n: p.clone() for n, p in model.named_parameters()}
    x = torch.randn(4, 27, 17, 2)
    x[:, :, 5] = torch.nan
    pose, frames = model.forward_all(x)
    (pose.norm() + frames.norm()).backward()
    for optimizer in optimizers(name, model, 1e-2, 0.0):
        optimizer.step()
    for n, p in model.named_parameters():
        assert torch.equal(p, before[n]) == (n.startswith("sem.") or p.grad is None), n


def test_a_torch_without_muon_is_named(monkeypatch):
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(ValueError, match=r"optimizer is 'muon', which torch .* lacks; install 2\.9"):
        optimizers("muon", STMO(ModelConfig(dim=64, heads=4, depth=1)), 1e-3, 0.0)
