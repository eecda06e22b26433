"""Turn an authors' P-STMO checkpoint into a model file, or a Stage I one into a Stage I checkpoint.

    python -m training.import_official CKPT.pth OUT.safetensors --frames 243 --stride 2 --depth 4 [--refine REFINE.pth]
    python -m training.import_official CKPT.pth OUT.safetensors --frames 243 --stride 2 --depth 4 --stage-one

A checkpoint is a torch state dict, with or without a ``module.`` prefix; it is read without executing pickled code.
The refining module corrects poses in the image of Human3.6M's cameras, whose calibration it is given here.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from pstmo_ros.core.bundle import Bundle, save_bundle, sha256
from pstmo_ros.core.model import STMO
from pstmo_ros.core.model_config import ModelConfig
from training.datasets.h36m import load_views
from training.mpm import MaskedPoseModel, save_stage_one
from training.outputs import check_file

_Module = TypeVar("_Module", bound=nn.Module)

# our module -> the authors' name for it
_ENCODER_LAYER = {
    "norm_1": "sublayer.0.norm",
    "norm_2": "sublayer.1.norm",
    "attention.out": "self_attn.linears.3",
    "up": "feed_forward.w_1",
    "down": "feed_forward.w_2",
}
_SEM = {
    "fc_1": "fc_1",
    "norm_1": "bn_1",
    "block_1": "layers.0.w1",
    "block_norm_1": "layers.0.batch_norm1",
    "block_2": "layers.0.w2",
    "block_norm_2": "layers.0.batch_norm2",
    "fc_2": "fc_2",
}
# In the checkpoints but applied nowhere.
_UNUSED = ("Transformer.model.norm.", "Transformer_reduce.model.norm.", "Transformer_dec.model.norm.")
_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64)
_LICENCE = "as the checkpoint's; Human3.6M and MPI-INF-3DHP weights are for research use"


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """A state dict from a .pth file: name -> tensor, prefix removed. ValueError if it holds anything else."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ValueError(f"checkpoint {str(path)!r} does not exist; download one from the authors' page") from None
    except Exception as e:  # what torch raises on bytes that are no pickle is anybody's guess
        # Of torch's pages, which advise to let the file run code, only what it stumbled over.
        reason = (
            str(e).rpartition("WeightsUnpickler error: ")[2].strip().partition("\n")[0].partition(" Please ")[0]
            or type(e).__name__
        )
        raise ValueError(
            f"checkpoint {str(path)!r} is not a plain state dict of tensors and was not loaded ({reason}); give the "
            "file as published, or what torch.save makes of a model's state_dict()"
        ) from None
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"checkpoint {str(path)!r} holds {type(state).__name__}, not a state dict of tensors")
    for name, tensor in state.items():
        _check_numbers(f"checkpoint {str(path)!r}: tensor {name!r}", tensor)
    return {str(k).removeprefix("module."): v for k, v in state.items()}


def _check_numbers(where: str, tensor: Tensor) -> None:
    """ValueError unless it is a plain tensor of finite numbers."""
    plain = tensor.layout is torch.strided and tensor.device.type == "cpu" and not tensor.is_nested
    if not plain or tensor.dtype not in _DTYPES or tensor.numel() == 0:
        kind = f"{tensor.dtype}, {tensor.layout}, of the shape {tuple(tensor.shape)}"
        raise ValueError(f"{where} is {kind}; give a dense one of plain numbers")
    if not tensor.float().isfinite().all() or (where.endswith("running_var'") and (tensor < 0).any()):
        raise ValueError(
            f"{where} holds what no training leaves behind, NaN, infinity or a variance below 0; get the file anew"
        )


def convert(official: Mapping[str, Tensor], config: ModelConfig) -> STMO:
    """The authors' state dict -> STMO in eval mode. ValueError names what is missing, left over or of another shape.

    With ``config.refine``, the refining module's state dict is to be merged into it.
    """
    source = _Source(dict(official))
    ours = source.encoder(config)
    for k in range(config.mofa_levels):
        source.encoder_layer(ours, f"mofa.layers.{k}", f"Transformer_reduce.model.layers.{k}")
    for k in range(3):
        # Layer k sees only the first N / 3^k rows of its table.
        table = source.take(f"Transformer_reduce.model.pos_embedding_{k + 1}", rank=3)
        if k < config.mofa_levels:
            ours[f"mofa.positions.{k}"] = table[:, : config.frames // 3**k].clone()
    for name, theirs in (("head", "fcn"), ("head_frames", "fcn_1")):
        source.copy(ours, f"{name}.norm", f"{theirs}.0")
        source.copy(ours, f"{name}.fc", f"{theirs}.1")
    # Stage II has no embedding for a missing joint; the authors never meet one.
    ours["missing_joint"] = torch.zeros(2)
    if config.refine:
        source.copy(ours, "refine.fc_1", "post_refine.0")
        source.copy(ours, "refine.fc_2", "post_refine.3")
        ours["refine.pinhole"] = _pinhole_of_screen()
    return _filled(STMO(config), ours, source)


def convert_stage_one(official: Mapping[str, Tensor], config: ModelConfig) -> MaskedPoseModel:
    """The authors' Stage I state dict -> masked pose model in eval mode. ValueError as ``convert``."""
    source = _Source(dict(official))
    ours = source.encoder(config)
    token = source.take("spatial_mask_token")
    if token.numel() != 2:
        raise ValueError(
            f"the checkpoint's 'spatial_mask_token' has the shape {tuple(token.shape)}; expected two numbers"
        )
    ours["missing_joint"] = token.flatten()
    ours["missing_frame"] = source.take("mask_token")
    ours["position"] = source.take("dec_pos_embedding")
    for name, theirs in (("encoder_norm", "encoder_LN"), ("to_decoder", "encoder_to_decoder")):
        source.copy(ours, name, theirs)
    for k in range(config.depth - 1):
        source.encoder_layer(ours, f"decoder.{k}", f"Transformer_dec.model.layers.{k}")
    for name, theirs in (("head.norm", "fcn_dec.0"), ("head.fc", "fcn_dec.1")):
        source.copy(ours, name, theirs)
    return _filled(MaskedPoseModel(config), ours, source)


def _filled(model: _Module, ours: dict[str, Tensor], source: _Source) -> _Module:
    source.check_all_used()
    try:
        model.load_state_dict(ours)
    except RuntimeError as e:
        raise ValueError(f"the checkpoint does not fit --frames and --depth: {e}") from None
    return model.eval()


def _pinhole_of_screen() -> Tensor:
    """What turns screen coordinates into rays: (fx, fy, cx, cy), the mean of Human3.6M's four cameras."""
    cameras = [view.camera for view in next(iter(load_views().values()))]
    rows = [(c.fx, c.fy, c.cx - c.width / 2, c.cy - c.height / 2) for c in cameras]
    scale = torch.tensor([[2 / c.width] for c in cameras])
    return (torch.tensor(rows) * scale).mean(0)


class _Source:
    """The authors' tensors, each of which must be used exactly once."""

    def __init__(self, left: dict[str, Tensor]) -> None:
        self.left = left

    def take(self, name: str, rank: int | None = None) -> Tensor:
        """A tensor by its name, of ``rank`` dimensions where that is given."""
        if name not in self.left:
            raise ValueError(
                f"the checkpoint has no {name!r}; check --frames and --depth, and --stage-one for a Stage I checkpoint"
            )
        tensor = self.left.pop(name)
        if rank not in (None, tensor.ndim):
            raise ValueError(
                f"the checkpoint's {name!r} has the shape {tuple(tensor.shape)}; expected {rank} dimensions"
            )
        return tensor

    def copy(self, ours: dict[str, Tensor], name: str, theirs: str) -> None:
        """Copy every tensor of one module; 1x1 convolutions become linears, norms take torch's parametrisation."""
        for key in [k for k in self.left if k.startswith(theirs + ".")]:
            leaf = key.removeprefix(theirs + ".")
            value = self.take(key, rank=1 if leaf == "a_2" else None)
            if leaf == "a_2":
                # Their norm divides by the unbiased standard deviation, torch's by the biased one.
                value, leaf = value * math.sqrt((len(value) - 1) / len(value)), "weight"
            leaf = {"b_2": "bias"}.get(leaf, leaf)
            if value.ndim == 3:  # Conv1d (out, in, taps) -> Linear (out, taps * in)
                value = value.permute(0, 2, 1).reshape(len(value), -1)
            ours[f"{name}.{leaf}"] = value

    def encoder(self, config: ModelConfig) -> dict[str, Tensor]:
        """SEM and TEM, which both stages have."""
        ours: dict[str, Tensor] = {}
        for name, theirs in _SEM.items():
            self.copy(ours, f"sem.{name}", f"encoder.{theirs}")
        ours["tem.position"] = self.take("Transformer.pos_embedding")
        for k in range(config.depth):
            self.encoder_layer(ours, f"tem.layers.{k}", f"Transformer.model.layers.{k}")
        return ours

    def encoder_layer(self, ours: dict[str, Tensor], name: str, theirs: str) -> None:
        for leaf, rank in (("weight", 2), ("bias", 1)):
            parts = [self.take(f"{theirs}.self_attn.linears.{k}.{leaf}", rank) for k in range(3)]
            if len({p.shape for p in parts}) > 1:
                shapes = ", ".join(str(tuple(p.shape)) for p in parts)
                raise ValueError(
                    f"the checkpoint's '{theirs}.self_attn.linears.*.{leaf}' have the shapes {shapes}; "
                    "expected one for all three"
                )
            ours[f"{name}.attention.qkv.{leaf}"] = torch.cat(parts)
        for module, their_module in _ENCODER_LAYER.items():
            self.copy(ours, f"{name}.{module}", f"{theirs}.{their_module}")

    def check_all_used(self) -> None:
        left = [k for k in self.left if not k.startswith(_UNUSED)]
        if left:
            raise ValueError(
                f"the checkpoint has tensors this model has no place for: {', '.join(left[:5])}"
                f"{' …' if len(left) > 5 else ''}; check --frames and --depth"
            )


def import_checkpoint(
    checkpoint: str | Path, out: str | Path, config: ModelConfig, refine: str | Path | None = None
) -> Bundle:
    """Read, convert and write a model file; returns it as loaded back. refine: the refining module's checkpoint."""
    state = read_checkpoint(checkpoint)
    if refine is not None:
        state |= read_checkpoint(refine)
    model = convert(state, dataclasses.replace(config, refine=refine is not None))
    # No data of theirs travels with a checkpoint; the golden windows only have to exercise every layer.
    golden = np.random.default_rng(0).uniform(-0.5, 0.5, (4, config.frames, 17, 2)).astype(np.float32)
    return save_bundle(out, model, "screen", _training(checkpoint), golden)


def import_stage_one(checkpoint: str | Path, out: str | Path, config: ModelConfig) -> None:
    """Read, convert and write a Stage I checkpoint, for training.finetune's ``init``."""
    save_stage_one(out, convert_stage_one(read_checkpoint(checkpoint), config), "screen", _training(checkpoint))


def _training(checkpoint: str | Path) -> dict[str, str]:
    return {"source": "P-STMO authors' checkpoint", "file": Path(checkpoint).name, "licence": _LICENCE}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="the authors' .pth file")
    parser.add_argument("out", help="file to write (.safetensors)")
    parser.add_argument("--frames", type=int, required=True, help="N: 27, 81 or 243")
    parser.add_argument("--stride", type=int, required=True, help="temporal downsampling s (2 for N = 243, 3 for 81)")
    parser.add_argument("--depth", type=int, required=True, help="TEM layers: 3 for P-STMO-S, 4 for P-STMO")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--refine", help="the refining module's .pth file, to go with the checkpoint")
    kind.add_argument("--stage-one", action="store_true", help="the checkpoint is of Stage I")
    args = parser.parse_args()
    try:
        check_file("out", args.out)
        config = ModelConfig(args.frames, args.stride, depth=args.depth)
        if args.stage_one:
            import_stage_one(args.checkpoint, args.out, config)
        else:
            import_checkpoint(args.checkpoint, args.out, config, args.refine)
    except ValueError as e:
        raise SystemExit(f"import_official: {e}") from None
    print(f"{args.out}: N={args.frames} s={args.stride} depth={args.depth}, sha256 {sha256(args.out)[:16]}")


if __name__ == "__main__":
    main()
