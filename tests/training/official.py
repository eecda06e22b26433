"""Checkpoints as the authors publish them, with known weights, and what their model computes with those.

The files in tests/data hold the published model's output on random input for weights that follow from each
parameter's name and shape by the rule below, so that no weights need storing.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

_DATA = Path(__file__).parents[1] / "data"
_BATCH_NORMS = ("bn", "batch_norm", "fcn.0", "fcn_1.0", "fcn_dec.0")


def load(name: str) -> dict[str, Any]:
    """x, y, … and the manifest, a list of (name, shape), of one parity file: "stmo" or "mpm", both N = 27, depth 3."""
    with np.load(_DATA / f"{name}_n27_l3.npz", allow_pickle=False) as z:
        arrays = {k: z[k] for k in z.files}
    return arrays | {"manifest": [(n, tuple(s)) for n, s in json.loads(str(arrays["manifest"]))]}


def state_dict(manifest: list[tuple[str, tuple[int, ...]]], prefix: str = "") -> dict[str, Tensor]:
    """The checkpoint that the outputs were computed with."""
    return {prefix + name: torch.from_numpy(_value(name, shape)) for name, shape in manifest}


def _value(name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    value = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
    is_gain = name.endswith("a_2") or (name.endswith("weight") and any(k in name for k in _BATCH_NORMS))
    if name.endswith("running_var"):
        value = np.abs(value) + 0.5
    elif is_gain:
        value = 1 + 0.1 * value
    elif len(shape) == 1:
        value = 0.1 * value
    elif "pos_embedding" in name or "token" in name:
        value = 0.5 * value
    else:
        value = value / np.sqrt(np.prod(shape[1:]))
    return value.astype(np.float32)
