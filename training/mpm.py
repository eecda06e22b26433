"""Stage I, masked pose modeling (paper section 3.2): hide most of a 2D window, encode what is left, recover all of it.

B windows, N frames, V of them visible, J = 17 joints, d channels. Frames keep their order everywhere.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from pstmo_ros.core import skeleton
from pstmo_ros.core.centring import Centring
from pstmo_ros.core.encoder import EncoderLayer
from pstmo_ros.core.model import SEMS, STMO, TEM, PoseHead
from pstmo_ros.core.model_config import ModelConfig
from pstmo_ros.core.ranges import Range, Settings

FORMAT_VERSION = 1
_KEY = "pstmo_stage_one"
# What Stage II takes over from Stage I.
ENCODER = ("sem.", "tem.", "missing_joint")
ENCODER_SETTINGS = ("frames", "dim", "depth", "heads", "centred", "sem", "sem_blocks", "tem")


@dataclass(frozen=True)
class MaskingConfig(Settings):
    """What is hidden (paper eqs. 2, 4, 5): a share of the frames (q_T), and joints of each frame left (m_S).

    temporal alone, spatial alone and both are the paper's three strategies; the defaults are the best of Fig. 5.
    """

    temporal: Annotated[float, Range(0, 0.99)] = 0.8
    spatial: Annotated[int, Range(0, skeleton.J - 1)] = 2


class Masks(NamedTuple):
    """visible: (B, V) frames that the encoder sees, ascending. hidden: (B, V, 17), True for joints hidden in them."""

    visible: Tensor
    hidden: Tensor


def draw_masks(
    batch: int, frames: int, config: MaskingConfig, generator: torch.Generator | None, device: torch.device | str
) -> Masks:
    """Masks drawn anew for every window and, joints, for every frame of it."""
    count = frames - int(frames * config.temporal)
    order = torch.rand(batch, frames, generator=generator, device=device).argsort(1)
    visible = order[:, :count].sort(1).values
    ranks = torch.rand(batch, count, skeleton.J, generator=generator, device=device).argsort(2).argsort(2)
    return Masks(visible, ranks < config.spatial)


class MaskedPoseModel(nn.Module):
    """STMO's encoder and, for this stage only, a decoder half as wide."""

    def __init__(self, config: ModelConfig, decoder_depth: int = 0) -> None:
        """decoder_depth: its Transformer layers; 0 for one less than the encoder's, as in the paper (A.2)."""
        super().__init__()
        if not config.tem:
            raise ValueError("model.tem is false; Stage I trains TEM to fill in frames, so leave it in")
        if config.gravity:
            raise ValueError(
                "model.gravity is true; Stage I recovers joints alone: set model.gravity=false and "
                "batches.gravity_known=0 here, and leave it to Stage II"
            )
        if config.dim % (2 * config.heads):
            need = 2 * config.heads
            raise ValueError(f"model.dim is {config.dim}; Stage I's decoder has half, so give a multiple of {need}")
        self.config, self.decoder_depth = config, decoder_depth or max(config.depth - 1, 1)
        width = config.dim // 2
        self.missing_joint = nn.Parameter(torch.zeros(2))  # e_S
        self.centring = Centring(config.frames, config.centre) if config.centred else None
        self.sem = SEMS[config.sem](config)
        self.tem = TEM(config)
        self.encoder_norm = nn.LayerNorm(config.dim, eps=1e-6)
        self.to_decoder = nn.Linear(config.dim, width, bias=False)
        self.missing_frame = nn.Parameter(0.02 * torch.randn(1, 1, width))  # e_T
        self.position = nn.Parameter(0.02 * torch.randn(1, config.frames, width))
        self.decoder = nn.ModuleList(
            EncoderLayer(width, config.heads, config.dropout) for _ in range(self.decoder_depth)
        )
        self.head = PoseHead(width, 2)

    def forward(self, joints: Tensor, masks: Masks) -> Tensor:
        """(B, N, 17, 2) as ``target`` gives them, NaN where a joint is missing -> every frame recovered, same shape."""
        return self.decode(self.encode(joints, masks), masks.visible)

    def target(self, joints: Tensor) -> Tensor:
        """What is to be recovered: the window's joints as the encoder takes them, (B, N, 17, 2)."""
        return joints if self.centring is None else self.centring(joints)[0]

    def encode(self, joints: Tensor, masks: Masks) -> Tensor:
        """The visible frames only, hidden and missing joints replaced by e_S -> (B, V, d)."""
        at = masks.visible[..., None, None].expand(-1, -1, *joints.shape[2:])
        seen = joints.gather(1, at)
        given = torch.where(masks.hidden[..., None] | torch.isnan(seen), self.missing_joint, seen)
        return self.tem(self.sem(given.flatten(2)), masks.visible)

    def decode(self, tokens: Tensor, visible: Tensor) -> Tensor:
        """Encoded visible frames (B, V, d), e_T in the place of the others -> (B, N, 17, 2)."""
        tokens = self.to_decoder(self.encoder_norm(tokens))
        frames = self.missing_frame.to(tokens.dtype).expand(len(tokens), self.config.frames, -1)
        x = frames.scatter(1, visible[..., None].expand_as(tokens), tokens) + self.position
        for layer in self.decoder:
            x = layer(x)
        return self.head(x)


def recovery_error(recovered: Tensor, target: Tensor) -> Tensor:
    """Mean distance between recovered and true joints, (B, N, 17, 2) each, over the joints that are known."""
    known = torch.isfinite(target).all(-1)
    return (recovered - torch.nan_to_num(target)).norm(dim=-1)[known].mean()


def save_stage_one(path: str | Path, model: MaskedPoseModel, normalization: str, training: dict[str, Any]) -> None:
    """Write a Stage I checkpoint: one safetensors file with its own settings, whole or not at all."""
    metadata = {
        "format_version": FORMAT_VERSION,
        "model": dataclasses.asdict(model.config),
        "decoder_depth": model.decoder_depth,
        "normalization": normalization,
        "training": training,
    }
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    part.write_bytes(save(tensors, {_KEY: json.dumps(metadata)}))
    part.replace(path)


def is_stage_one(path: str | Path) -> bool:
    """Whether a safetensors file is a Stage I checkpoint; False for one that cannot be read."""
    try:
        with safe_open(path, "pt") as file:
            return _KEY in (file.metadata() or {})
    except (OSError, SafetensorError):
        return False


def load_stage_one(path: str | Path) -> tuple[MaskedPoseModel, dict[str, Any]]:
    """A Stage I checkpoint's model, in eval mode, and its metadata. ValueError says what is wrong with the file."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"Stage I checkpoint {str(path)!r} does not exist; make one with training.pretrain")
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get(_KEY)
            tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118 (a file, not a dict)
    except SafetensorError as e:
        raise ValueError(f"Stage I checkpoint {str(path)!r} is not a readable safetensors file ({e})") from None
    if text is None:
        raise ValueError(f"{str(path)!r} is not a Stage I checkpoint; make one with training.pretrain")
    metadata = json.loads(text)
    if metadata["format_version"] != FORMAT_VERSION:
        version = metadata["format_version"]
        raise ValueError(f"Stage I checkpoint {str(path)!r} has format version {version}, not {FORMAT_VERSION}")
    model = MaskedPoseModel(ModelConfig.from_dict(metadata["model"]), metadata["decoder_depth"])
    model.load_state_dict(tensors)
    return model.eval(), metadata


def take_encoder(model: STMO, path: str | Path, normalization: str) -> None:
    """Give STMO the encoder of a Stage I checkpoint; ValueError where the two do not fit together.

    The temporal stride may differ: the position embeddings count frames, not seconds.
    """
    stage_one, metadata = load_stage_one(path)
    check_fit(path, stage_one.config, metadata["normalization"], model.config, normalization, ENCODER_SETTINGS)
    encoder = {k: v for k, v in stage_one.state_dict().items() if k.startswith(ENCODER)}
    if model.config.gravity:
        add_gravity(encoder, model.config)
    unexpected = model.load_state_dict(encoder, strict=False).unexpected_keys
    assert not unexpected, unexpected


def add_gravity(weights: dict[str, Tensor], config: ModelConfig) -> None:
    """Widen the first layer of a model that was not told where down is; what it makes of that is yet to be learnt."""
    if (first := next((n for n in ("sem.fc_1.weight", "sem.fc.weight") if n in weights), None)) is None:
        raise ValueError("init: SEM of this kind cannot learn later where down is; set model.gravity=false")
    weights[first] = F.pad(weights[first], (0, config.features - weights[first].shape[1]))


def check_fit(
    path: str | Path,
    theirs: ModelConfig,
    their_normalization: str,
    ours: ModelConfig,
    our_normalization: str,
    settings: Sequence[str],
) -> None:
    """ValueError naming the first difference that keeps a file's weights from being used in another model."""
    if their_normalization != our_normalization:
        raise ValueError(
            f"init: {str(path)!r} takes {their_normalization!r} coordinates, this run {our_normalization!r}"
        )
    for name in settings:
        if (a := getattr(theirs, name)) != (b := getattr(ours, name)):
            raise ValueError(f"init: {str(path)!r} has model.{name}={a}, this run {b}; make them the same")
