"""The graph that every engine runs: the bundle's model with everything constant worked out beforehand."""

from __future__ import annotations

import copy
import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_linear_bn_eval

from pstmo_ros.core.bundle import Bundle
from pstmo_ros.core.encoder import Attention, EncoderLayer, StridedLayer
from pstmo_ros.core.model import SEM, STMO, PoseHead

MAX_BATCH = 1024
EVERY = slice(None)
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def deployed(bundle: Bundle, precision: str = "fp32") -> STMO:
    """A bundle's model as engines run it: (B, N, 17, C) model coordinates, NaN where missing -> (B, 17, O) metres.

    The same poses as ``bundle.model`` to rounding: batch norms and the gains of layer norms are folded into the
    linears beside them, dropout and the training's head are gone, and rows that reach no output are not computed.
    precision: of the encoders, whose norms take their means in fp32 all the same; centring and heads stay fp32.
    """
    if precision not in DTYPES:
        raise ValueError(f"precision {precision!r}: this engine runs in {', '.join(DTYPES)}; give one of them or auto")
    model = copy.deepcopy(bundle.model).eval().requires_grad_(False)
    model.head_frames = None
    if isinstance(model.sem, SEM):
        _fold_sem(model.sem)
    for head in (model.head, model.head_std):
        if head is not None:
            _fold_head(head)
    for layers in [m for m in model.modules() if isinstance(m, nn.ModuleList)]:
        for k, layer in enumerate(layers):
            if isinstance(layer, EncoderLayer):
                layers[k] = LeanStridedLayer(layer) if isinstance(layer, StridedLayer) else LeanLayer(layer)
    if model.mofa is None and model.tem is not None:
        last = model.tem.layers[-1]
        assert isinstance(last, LeanLayer)
        last.rows = slice(model.target_token, model.target_token + 1)  # the only one that is read
        model.target_token = 0
    if precision != "fp32":
        model.sem = InPrecision(model.sem, DTYPES[precision])  # and what follows takes what it gives
        for encoder in (model.tem, model.mofa):
            if encoder is not None:
                encoder.to(DTYPES[precision])
    return model


def exported(
    bundle: Bundle, precision: str = "fp32", device: str = "cpu", people: int = 2, most: int = MAX_BATCH
) -> torch.export.ExportedProgram:
    """``deployed`` as a program for batches of 1 to ``most``. people: in the example, which TensorRT tunes for."""
    # At least two: a batch of one would be baked into the graph as a constant.
    example = torch.from_numpy(bundle.golden_x[:1]).to(device).repeat(max(people, 2), 1, 1, 1)
    batch = torch.export.Dim("batch", min=1, max=most)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's, about itself
        model = deployed(bundle, precision).to(device)
        return torch.export.export(model, (example,), dynamic_shapes=({0: batch},), strict=False)


class InPrecision(nn.Module):
    """A module that works in another precision than what it is given, and answers in it."""

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.module, self.dtype = module.to(dtype), dtype

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x.to(self.dtype))


class LeanAttention(nn.Module):
    """``Attention`` for inference, (B, N, d) -> (B, rows, d)."""

    def __init__(self, trained: Attention) -> None:
        super().__init__()
        self.heads, self.qkv, self.out = trained.heads, trained.qkv, trained.out

    def forward(self, x: Tensor, rows: slice) -> Tensor:
        """rows: the frames to answer for."""
        q, k, v = self.qkv(x).chunk(3, -1)
        if rows != EVERY:
            q = q[:, rows]  # before the heads part: after it, OpenVINO 2026.4 gets fixed shapes wrong, by millimetres
        q, k, v = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in (q, k, v))
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class LeanLayer(nn.Module):
    """``EncoderLayer`` for inference, (B, N, d) -> (B, rows, d); of other frames only key and value are read."""

    def __init__(self, trained: EncoderLayer) -> None:
        super().__init__()
        self.rows = EVERY
        self.norm_1, self.attention = trained.norm_1, LeanAttention(trained.attention)
        self.norm_2, self.up, self.down = trained.norm_2, trained.up, trained.down
        _fold_gain(self.norm_1, self.attention.qkv)
        _fold_gain(self.norm_2, self.up)

    def forward(self, x: Tensor) -> Tensor:
        kept = x if self.rows == EVERY else x[:, self.rows]
        x = kept + self.attention(self.norm_1(x), self.rows)
        return x + self.down(F.relu(self.up(self.norm_2(x))))


class LeanStridedLayer(LeanLayer):
    """``StridedLayer`` for inference, (B, N, d) -> (B, N/3, d); of its last frame only key and value are read."""

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        x = x[:, : n - 1] + self.attention(self.norm_1(x), slice(n - 1))
        y = F.pad(F.relu(self.up(self.norm_2(x))), (0, 0, 1, 0))  # frames -1, 0, …, n - 2
        return x[:, ::3] + self.down(y.view(b, n // 3, -1))


def _fold_sem(sem: SEM) -> None:
    for linear, norm in [("fc_1", "norm_1"), *((f"block_{k}", f"block_norm_{k}") for k in sem.block_layers)]:
        setattr(sem, linear, fuse_linear_bn_eval(getattr(sem, linear), getattr(sem, norm)))
        setattr(sem, norm, nn.Identity())


def _fold_head(head: PoseHead) -> None:
    """A batch norm in front of a linear: its scale goes into the columns, what it adds into the bias."""
    norm, fc = head.norm, head.fc
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = norm.weight * (norm.running_var + norm.eps).rsqrt()
    fc.bias.copy_(fc.bias + fc.weight @ (norm.bias - norm.running_mean * gain))
    fc.weight.mul_(gain)
    head.norm = nn.Identity()  # type: ignore[assignment]


def _fold_gain(norm: nn.LayerNorm, linear: nn.Linear) -> None:
    linear.bias.copy_(linear.bias + linear.weight @ norm.bias)
    linear.weight.mul_(norm.weight)
    norm.weight, norm.bias = None, None  # type: ignore[assignment]
