"""The optimizers of both stages, by RunConfig.optimizer's names."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

_HIDDEN = 64  # a matrix narrower than this reads keypoints or writes poses
_BETAS = (0.9, 0.98)


def optimizers(name: str, model: nn.Module, learning_rate: float, weight_decay: float) -> list[Optimizer]:
    """What updates the parameters of ``model`` that are trained; each of them belongs to one of the optimizers.

    adam: with amsgrad, the paper's. adamw. muon: Jordan et al. 2024 for the matrices between hidden layers, whose
    updates it makes orthogonal, with steps scaled as AdamW's are (Liu et al. 2025); AdamW for all else.
    ValueError where torch lacks it (it came with 2.9).
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    if name == "adam":
        return [torch.optim.Adam(trained, learning_rate, amsgrad=True, fused=True)]
    if name == "adamw":
        return [torch.optim.AdamW(trained, learning_rate, _BETAS, weight_decay=weight_decay, fused=True)]
    if not hasattr(torch.optim, "Muon"):
        raise ValueError(f"optimizer is 'muon', which torch {torch.__version__} lacks; install 2.9, or give adamw")
    hidden = [p for p in trained if _is_hidden(p)]
    rest = [p for p in trained if not _is_hidden(p)]
    adamw = torch.optim.AdamW(rest, learning_rate, _BETAS, weight_decay=weight_decay, fused=True)
    if not hidden:
        return [adamw]
    muon = torch.optim.Muon(hidden, learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
    return [muon, adamw]


def _is_hidden(parameter: Tensor) -> bool:
    return parameter.ndim == 2 and min(parameter.shape) >= _HIDDEN
