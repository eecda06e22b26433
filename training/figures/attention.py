"""Attention maps of TEM, the Stage I decoder and MOFA (paper Figs. 7-10).

N frames, V of them visible, B windows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from pstmo_ros.core.encoder import Attention, EncoderLayer
from pstmo_ros.core.model import STMO
from training.mpm import MaskedPoseModel, Masks

HEADS = 8  # shown at most


def attention_weights(attention: Attention, x: Tensor) -> Tensor:
    """How much each query frame attends to each key frame: the layer's input (B, N, d) -> (B, heads, N, N)."""
    b, n, d = x.shape
    q, k, _ = attention.qkv(x).view(b, n, 3, attention.heads, d // attention.heads).permute(2, 0, 3, 1, 4)
    return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)


@contextmanager
def recorded(layers: nn.ModuleList) -> Iterator[list[Tensor]]:
    """The attention maps of every layer that runs inside the ``with``, in the order they run."""
    maps: list[Tensor] = []

    def record(attention: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(attention, Attention)
        maps.append(attention_weights(attention, inputs[0]))

    blocks = [layer for layer in layers if isinstance(layer, EncoderLayer)]
    hooks = [block.attention.register_forward_pre_hook(record) for block in blocks]
    try:
        yield maps
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def stage_two_maps(model: STMO, windows: Tensor) -> dict[str, list[Tensor]]:
    """Windows (B, N, 17, 2) -> for "TEM" and "MOFA", where the model has them, each layer's (heads, n, n) map."""
    parts = {"TEM": model.tem, "MOFA": model.mofa}
    out = {}
    for name, part in parts.items():
        if part is not None:
            with recorded(part.layers) as maps:
                model(windows)
            out[name] = [m.mean(0) for m in maps]
    return out


@torch.no_grad()
def stage_one_maps(model: MaskedPoseModel, windows: Tensor, masks: Masks) -> dict[str, list[Tensor]]:
    """As ``stage_two_maps``, of the encoder and the decoder, under masks.

    The decoder's frames are put as the paper shows them: the V visible ones first, then the masked.
    """
    target = model.target(windows)
    with recorded(model.tem.layers) as tem, recorded(model.decoder) as decoder:
        model(target, masks)
    masked = torch.ones(target.shape[:2]).scatter(1, masks.visible, 0.0)
    order = masked.argsort(dim=1, stable=True)[:, None]
    rows = order[..., None].expand_as(decoder[0])
    sorted_maps = [m.gather(2, rows).gather(3, rows.mT) for m in decoder]
    return {"TEM": [m.mean(0) for m in tem], "decoder": [m.mean(0) for m in sorted_maps]}


def draw_maps(maps: Sequence[Tensor], heads: int = HEADS, marked: int | None = None) -> Figure:
    """One row per layer, one column per head; key frames across, query frames down.

    marked: a frame before which lines are drawn, as between visible and masked.
    """
    columns = min(heads, len(maps[0]))
    figure = Figure(figsize=(1.45 * columns + 0.9, 1.6 * len(maps) + 0.5), layout="constrained")
    for row, layer in enumerate(maps):
        for head in range(columns):
            axes = figure.add_subplot(len(maps), columns, row * columns + head + 1)
            # Each map has its own scale: a layer of 9 frames and one of 243 share no range of weights.
            axes.imshow(layer[head].numpy(), cmap="viridis", interpolation="nearest", vmin=0)
            last = layer.shape[-1] - 1
            axes.set_xticks([0, last])
            axes.set_yticks([0, last] if head == 0 else [])
            axes.tick_params(labelsize=6, length=2)
            if marked is not None:
                axes.axhline(marked - 0.5, color="w", linewidth=0.6)
                axes.axvline(marked - 0.5, color="w", linewidth=0.6)
            if row == 0:
                axes.set_title(f"head {head}", fontsize=8)
            if head == 0:
                axes.set_ylabel(f"layer {row}\nquery frame", fontsize=8)
            if row == len(maps) - 1:
                axes.set_xlabel("key frame", fontsize=8)
    return figure
