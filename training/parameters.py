"""Parameters and FLOPs beside the paper's (Tables 3 to 7).

    python -m training.parameters

The paper's counting rule, which this follows:
- Parameters: weights and biases of linear layers and convolutions. Position embeddings and the gains and offsets of
  all norms are left out, as is what Stage I alone uses.
- FLOPs, per pose: twice the multiply-adds of linear layers, and four multiply-adds per number through a batch norm.
  Products between queries, keys and values, softmax and layer norms are left out. The multi-frame head is counted
  where there is a MOFA, because the published model computes it then. (Table 7 prints multiply-adds, half of this.)
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pstmo_ros.core.model import MOFA, STMO
from pstmo_ros.core.model_config import ModelConfig

_BATCH_NORM_MULTIPLY_ADDS = 4


class Row(NamedTuple):
    """A model of the paper and what its tables print for it: millions of parameters, MFLOPs."""

    name: str
    config: ModelConfig
    paper_parameters: float
    paper_flops: float


_S_243 = ModelConfig(frames=243, stride=1)
_WITHOUT_MOFA = dataclasses.replace(_S_243, mofa=False)


ROWS = (
    Row("P-STMO-S, N = 27", ModelConfig(frames=27), 4.6, 163),
    Row("P-STMO-S, N = 81", ModelConfig(frames=81), 5.4, 493),
    Row("P-STMO-S, N = 243", _S_243, 6.2, 1482),
    Row("P-STMO, N = 243", dataclasses.replace(_S_243, depth=4), 6.7, 1737),
    Row("SEM fc, no MOFA", dataclasses.replace(_WITHOUT_MOFA, sem="fc"), 1.6, 769),
    Row("SEM MLP L = 1, no MOFA", _WITHOUT_MOFA, 2.3, 1094),
    Row("SEM MLP L = 2, no MOFA", dataclasses.replace(_WITHOUT_MOFA, sem_blocks=2), 2.8, 1350),
    Row("SEM MLP L = 3, no MOFA", dataclasses.replace(_WITHOUT_MOFA, sem_blocks=3), 3.3, 1608),
    Row(
        "SEM Transformer, no MOFA, N = 81",
        ModelConfig(frames=81, dim=544, sem="transformer", mofa=False),
        7.2,
        1218,
    ),
)


def main() -> None:
    print((__doc__ or "").partition("The paper's counting rule")[2].partition("\n")[2])
    print("| model | parameters (M) | paper | FLOPs (M) | paper | trainable, published |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for row in ROWS:
        million, mega = counted(row.config) / 1e6, flops(row.config) / 1e6
        total = f"{published_total(row.config):,}" if row.config.mofa else ""
        print(f"| {row.name} | {million:.1f} | {row.paper_parameters} | {mega:.0f} | {row.paper_flops:.0f} | {total} |")


def counted(config: ModelConfig) -> int:
    """Parameters as the paper counts them."""
    model = STMO(config)
    left_out = {id(p) for p in model.head_frames.parameters()} if model.head_frames and not config.mofa else set()
    layers = (m for m in model.modules() if isinstance(m, nn.Linear))
    return sum(p.numel() for m in layers for p in m.parameters() if id(p) not in left_out)


def published_total(config: ModelConfig) -> int:
    """Everything trainable in the authors' Stage II model of this configuration.

    Beside ours it has a norm after TEM and one after MOFA that are not applied, and three MOFA position tables of
    full length; it has no embedding for a missing joint.
    """
    ours = sum(p.numel() for p in STMO(config).parameters())
    tables = MOFA.POSITIONED_LAYERS * config.frames - sum(config.frames // 3**k for k in _positioned(config))
    return ours + tables * config.dim + 2 * 2 * config.dim - 2


def flops(config: ModelConfig) -> int:
    """FLOPs per pose as the paper counts them."""
    model = STMO(config).eval()
    total = 0

    def count(module: nn.Module, _: object, y: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Linear):
            total += 2 * y.numel() * module.in_features
        else:
            total += 2 * y.numel() * _BATCH_NORM_MULTIPLY_ADDS

    for module in model.modules():
        if isinstance(module, nn.Linear | nn.BatchNorm1d):
            module.register_forward_hook(count)
    x = torch.zeros(1, config.frames, config.points, 2)
    with torch.inference_mode():
        model.forward_all(x) if config.mofa else model(x)
    return total


def _positioned(config: ModelConfig) -> range:
    return range(min(config.mofa_levels, MOFA.POSITIONED_LAYERS))


if __name__ == "__main__":
    main()
