"""The training loop's parts, on three weights: what each process draws, what a step changes, and by how much."""

import pytest
import torch
from torch import nn

from training.batches import Batch
from training.config import RunConfig
from training.finetune import FinetuneConfig
from training.loop import Objective, Optimisation, _step, optimise
from training.outputs import CHECKPOINT
from training.processes import Process
from training.provenance import provenance

_SLOPE = 1e3


class Tiny(Objective):
    """Three weights, each with the gradient _SLOPE; remembers what it was given."""

    figure = "error"

    def __init__(self):
        super().__init__()
        self.weights = nn.Parameter(torch.ones(3))
        self.seen = []

    def forward(self, joints, poses_m):
        self.seen.append(joints.clone())
        return _SLOPE * self.weights.sum(), self.weights.sum()


class Draws:
    generator = torch.Generator()

    def __len__(self):
        return 8

    def draw(self, batch):
        return Batch(torch.rand(batch, generator=self.generator), torch.zeros(batch))


def _config(**settings):
    return RunConfig(**({"batch": 4, "warmup": 0, "device": "cpu"} | settings))


def _descend(state, model):
    state.descend(model(torch.zeros(1), None)[0])


def _rates(**settings):
    """The learning rates of the first seven steps, three steps an epoch."""
    config, tiny = _config(**settings), Tiny()
    state, rates = Optimisation(config, tiny, per_epoch=3), []
    for _ in range(7):
        rates.append(state.optimizers[0].param_groups[0]["lr"])
        _descend(state, tiny)
    return rates


def test_every_process_draws_windows_of_its_own():
    config, tiny = _config(), Tiny()
    for rank in (0, 1):
        state = Optimisation(config, tiny, per_epoch=4)
        _step(config, Process(rank, 2, torch.device("cpu")), tiny, Draws(), state)
    first, second = tiny.seen
    assert len(first) == len(second) == 2  # the batch is over all processes
    assert not torch.equal(first, second)


@pytest.mark.parametrize(("clip_norm", "expected"), [(1.0, 1.0), (0.0, _SLOPE * 3**0.5)])
def test_gradients_are_clipped_where_asked(clip_norm, expected):
    config, tiny = _config(clip_norm=clip_norm), Tiny()
    _descend(Optimisation(config, tiny, per_epoch=4), tiny)
    assert tiny.weights.grad.norm().item() == pytest.approx(expected, rel=1e-4)


def test_rates_fall_once_an_epoch():
    rates = _rates(schedule="exponential", decay=0.5, learning_rate=1.0)
    assert rates == [1, 1, 1, 0.5, 0.5, 0.5, 0.25]


def test_rates_rise_to_full_in_the_warm_up():
    assert _rates(warmup=4, learning_rate=1.0, steps=100)[:4] == pytest.approx([0.25, 0.5, 0.75, 1])


def test_adam_is_amsgrad_and_adamw_decays():
    adam = Optimisation(_config(optimizer="adam"), Tiny(), 1).optimizers[0]
    adamw = Optimisation(_config(optimizer="adamw", weight_decay=0.3), Tiny(), 1).optimizers[0]
    assert adam.defaults["amsgrad"]
    assert adamw.param_groups[0]["weight_decay"] == 0.3


def test_without_git_a_model_file_names_no_commit(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance(FinetuneConfig(), "finetune")["commit"] == ""


@pytest.mark.parametrize(("minutes", "steps", "after"), [(0.0, 30, 4), (1e3, 30, 20), (1e3, 7, 7)])
def test_a_training_that_has_diverged_ends_and_leaves_the_last_good_checkpoint(tmp_path, minutes, steps, after):
    class Diverges(Tiny):
        def forward(self, joints, poses_m):
            loss, error = super().forward(joints, poses_m)
            return (loss if len(self.seen) < 4 else loss * torch.nan), error

    config = _config(run=str(tmp_path), steps=steps, checkpoint_minutes=minutes, learning_rate=0.5)
    with pytest.raises(ValueError, match=f"diverged by step {after}: .*lower learning_rate .0.5."):
        optimise(config, Process(0, 1, torch.device("cpu")), Diverges(), Draws(), dict)
    if not minutes:
        assert torch.load(tmp_path / CHECKPOINT)["step"] == 3
    else:
        assert not (tmp_path / CHECKPOINT).exists()


@pytest.mark.parametrize(
    ("precision", "units", "expected"),
    [
        ("auto", {"amx_bf16": True}, True),
        ("auto", {"avx512_bf16": True, "amx_bf16": False}, True),
        ("auto", {"avx512_bf16": False, "amx_bf16": False, "avx512_vnni": True}, False),
        ("auto", None, False),
        ("bf16", {}, True),
        ("fp32", {"amx_bf16": True}, False),
    ],
)
def test_auto_trains_in_bf16_where_the_cpu_has_units_for_it(monkeypatch, precision, units, expected):
    """Without them a step takes three times as long in bf16 as in fp32."""
    if units is None:  # an older torch
        monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    else:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: units, raising=False)
    modes = []

    class Notes(Tiny):
        def forward(self, joints, poses_m):
            modes.append(torch.is_autocast_enabled("cpu"))
            return super().forward(joints, poses_m)

    config, notes = _config(precision=precision), Notes()
    _step(config, Process(0, 1, torch.device("cpu")), notes, Draws(), Optimisation(config, notes, per_epoch=4))
    assert modes == [expected]
