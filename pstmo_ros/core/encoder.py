"""Transformer encoder layers, the strided one of the many-to-one aggregation among them (paper section 3.3).

B people, N frames, d channels.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """No autocast for what makes or reads coordinates: in bf16 they are off by as much as a detector's are."""
    device = x.device.type
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()


class Dropout(nn.Dropout):
    """Dropout that, training on a CPU, gets eight entries of its mask from each random number: drawing is its cost.

    The rate is rounded to 1/256 there.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or not self.training or self.p == 0:
            return super().forward(x)
        drawn = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(2**63), None).view(torch.uint8)
        dropped = round(256 * self.p)
        # One pass for the mask, one for the product, one for the gradient: as fast as memory, in x's own precision.
        kept = torch.ge(drawn[: x.numel()].view(x.shape), dropped, out=torch.empty_like(x, requires_grad=False))
        return torch.addcmul(x.new_zeros(()), x, kept, value=256 / (256 - dropped))


class Attention(nn.Module):
    """Multi-head self-attention, (B, N, d) -> (B, N, d), with one fused projection for query, key and value."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.drop = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        q, k, v = (
            self.qkv(x).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        )  # (B, heads, N, d/heads)
        if x.device.type != "cpu" or not self.training:
            y = F.scaled_dot_product_attention(q, k, v, dropout_p=self.drop.p if self.training else 0.0)
        elif self.drop.p > 0:  # torch would draw its masks the slow way
            shares = torch.softmax((q * (d // self.heads) ** -0.5) @ k.transpose(-2, -1), -1)
            y = self.drop(shares.to(v.dtype)) @ v
        else:  # torch's gradient of attention in bf16 is five times as slow as in fp32
            with full_precision(x):
                y = F.scaled_dot_product_attention(q.float(), k.float(), v.float())
        return self.out(y.transpose(1, 2).reshape(b, n, d))


class EncoderLayer(nn.Module):
    """Pre-norm Transformer encoder layer, (B, N, d) -> (B, N, d)."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm_1, self.attention = nn.LayerNorm(dim, eps=1e-6), Attention(dim, heads, dropout)
        self.norm_2 = nn.LayerNorm(dim, eps=1e-6)
        self.up, self.down = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)
        self.drop = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop(self.attention(self.norm_1(x)))
        return x + self.drop(self.feed_forward(self.norm_2(x)))

    def feed_forward(self, x: Tensor) -> Tensor:
        return self.down(self.drop(F.relu(self.up(x))))


class StridedLayer(EncoderLayer):
    """Encoder layer whose feed-forward strides by 3, (B, N, d) -> (B, N/3, d)."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__(dim, heads, dropout)
        # A 3-tap convolution with stride 3 and padding 1 is a linear map of three neighbours.
        self.down = nn.Linear(3 * 2 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop(self.attention(self.norm_1(x)))
        y = self.drop(F.relu(self.up(self.norm_2(x))))
        b, n, c = y.shape
        y = F.pad(y, (0, 0, 1, 0))[:, :n].reshape(b, n // 3, 3 * c)  # frames (-1, 0, 1), (2, 3, 4), …
        return x[:, ::3] + self.drop(self.down(y))
