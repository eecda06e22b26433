"""STMO (paper section 3.3): spatial encoding, temporal encoding and many-to-one aggregation, of encoder.py's layers.

B people, N frames, J = 17 joints, C = 2 coordinates, d channels.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pstmo_ros.core import gravity, skeleton
from pstmo_ros.core.centring import Centring
from pstmo_ros.core.encoder import Dropout, EncoderLayer, StridedLayer, full_precision
from pstmo_ros.core.model_config import SEM_KINDS, ModelConfig
from pstmo_ros.core.refine import Refine


def flipped(points: Tensor, mirrored: Sequence[int] | Tensor) -> Tensor:
    """Left and right swapped: (…, J, C) with x first, and for each joint the one on its other side -> (…, J, C)."""
    points = points.index_select(-2, torch.as_tensor(mirrored, device=points.device))  # torch_tensorrt converts this
    return torch.cat([-points[..., :1], points[..., 1:]], -1)


class SEM(nn.Module):
    """Spatial encoding: an MLP block over what one frame shows, (B, N, features) -> (B, N, d)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        hidden = 2 * config.dim
        self.fc_1, self.norm_1 = nn.Linear(config.features, hidden), nn.BatchNorm1d(hidden)
        # Numbered on through the residual sub-blocks, two layers each.
        self.block_layers = range(1, 2 * config.sem_blocks + 1)
        for k in self.block_layers:
            self.add_module(f"block_{k}", nn.Linear(hidden, hidden))
            self.add_module(f"block_norm_{k}", nn.BatchNorm1d(hidden))
        self.fc_2 = nn.Linear(hidden, config.dim)
        self.drop = Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        b, n = x.shape[:2]
        x = self._activate(self.norm_1(self.fc_1(x.reshape(b * n, -1))))
        for k in self.block_layers[::2]:
            x = x + self._block_layer(k + 1, self._block_layer(k, x))
        return self.fc_2(x).view(b, n, -1)

    def _block_layer(self, k: int, x: Tensor) -> Tensor:
        linear, norm = self.get_submodule(f"block_{k}"), self.get_submodule(f"block_norm_{k}")
        return self._activate(norm(linear(x)))

    def _activate(self, x: Tensor) -> Tensor:
        return self.drop(F.leaky_relu(x, 0.2))


class SEMLinear(nn.Module):
    """Table 4's "fc": one linear layer over what one frame shows, (B, N, features) -> (B, N, d)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.fc = nn.Linear(config.features, config.dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


class SEMTransformer(nn.Module):
    """Table 4's "Transformer": a frame's joints are tokens of d / 17 channels, as in PoseFormer (Zheng et al. 2021).

    (B, N, 17 * 2) -> (B, N, d). The paper's figures for it are those of d = 544.
    """

    DEPTH = 3  # gives the paper's parameters and FLOPs

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.dim // skeleton.J
        self.fc = nn.Linear(2, width)
        self.position = nn.Parameter(0.02 * torch.randn(1, skeleton.J, width))
        self.layers = nn.ModuleList(EncoderLayer(width, config.heads, config.dropout) for _ in range(self.DEPTH))

    def forward(self, x: Tensor) -> Tensor:
        b, n = x.shape[:2]
        x = self.fc(x.view(b * n, skeleton.J, 2)) + self.position
        for layer in self.layers:
            x = layer(x)
        return x.reshape(b, n, -1)


SEMS: dict[str, type[nn.Module]] = dict(zip(SEM_KINDS, (SEM, SEMLinear, SEMTransformer), strict=True))


class PoseHead(nn.Module):
    """Linear read-out of poses, (B, N, d) -> (B, N, 17, C)."""

    def __init__(self, dim: int, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.norm, self.fc = nn.BatchNorm1d(dim), nn.Linear(dim, skeleton.J * channels)

    def forward(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        with full_precision(x):
            return self.fc(self.norm(x.reshape(b * n, d).float())).view(b, n, skeleton.J, self.channels)


class TEM(nn.Module):
    """Temporal encoding: a Transformer over the frames, (B, N, d) -> (B, N, d)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.position = nn.Parameter(0.02 * torch.randn(1, config.frames, config.dim))
        self.drop = Dropout(config.dropout)
        self.layers = nn.ModuleList(EncoderLayer(config.dim, config.heads, config.dropout) for _ in range(config.depth))

    def forward(self, x: Tensor, frames: Tensor | None = None) -> Tensor:
        """frames: which frames of the window the tokens are, (B, N) or (N,), where some are left out; None for all."""
        x = self.drop(x + (self.position if frames is None else self.position[0, frames]))
        for layer in self.layers:
            x = layer(x)
        return x


class MOFA(nn.Module):
    """Many-to-one frame aggregation by strided layers, (B, N, d) -> (B, 1, d)."""

    POSITIONED_LAYERS = 3  # later layers get no position embedding, as in the authors' checkpoints

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        c = config
        self.positions = nn.ParameterList(
            nn.Parameter(0.02 * torch.randn(1, c.frames // 3**k, c.dim))
            for k in range(min(c.mofa_levels, self.POSITIONED_LAYERS))
        )
        self.layers = nn.ModuleList(StridedLayer(c.dim, c.heads, c.dropout) for _ in range(c.mofa_levels))

    def forward(self, x: Tensor) -> Tensor:
        for k, layer in enumerate(self.layers):
            if k < len(self.positions):
                x = x + self.positions[k]
            x = layer(x)
        return x


class STMO(nn.Module):
    """2D joints of a window -> 3D pose of its target frame, metres, camera axes, relative to the pelvis.

    P points a frame: 17 joints in model coordinates and, with ``config.gravity``, where down is (core.gravity).
    O = 3 coordinates, and with ``config.uncertainty`` a fourth number: the standard deviation of each of them.
    """

    mirror: Tensor
    TYPICAL_STD_M = 0.03  # what the head of standard deviations says before it has learnt anything

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.missing_joint = nn.Parameter(torch.zeros(2))  # e_S, the spatial padding embedding of Stage I
        self.centring = Centring(config.frames, config.centre) if config.centred else None
        self.sem = SEMS[config.sem](config)
        self.tem = TEM(config) if config.tem else None
        self.mofa = MOFA(config) if config.mofa else None
        self.head = PoseHead(config.dim, 3)
        self.head_frames = None if config.dial else PoseHead(config.dim, 3)  # multi-frame loss, training only
        self.head_std = PoseHead(config.dim, 1) if config.uncertainty else None
        self.refine = Refine() if config.refine else None
        # Where down is has no other side. A buffer, for CUDA graphs capture no copies from the host.
        self.register_buffer("mirror", torch.tensor([*skeleton.MIRROR, *range(skeleton.J, config.points)]), False)
        self.target_token = config.window.target  # which of TEM's tokens is the target's, where there is no MOFA

    def at(self, look_ahead_s: float) -> STMO:
        """The same weights, shared, asked for the pose at another look-ahead; ValueError as ``ModelConfig.at``."""
        other = copy.copy(self)
        other.config = self.config.at(look_ahead_s)
        other.target_token = other.config.window.target
        return other

    def encode(self, x: Tensor, frames: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """(B, N, P, 2), NaN where a point is missing -> TEM's output (B, N, d), and the turn to be undone.

        frames: which frames of the window ``x`` is, (N,); None for all.
        """
        joints = x[:, :, : skeleton.J]
        joints, axis = (joints, None) if self.centring is None else self.centring(joints, frames)
        features = torch.where(torch.isnan(joints), self.missing_joint, joints).flatten(2)
        if self.config.gravity:
            down = gravity.to_vector(x[:, :, skeleton.J])
            if self.centring is not None and axis is not None:
                down = self.centring.turn(down, axis)
            features = torch.cat([features, down], -1)
        tokens = self.sem(features)
        return (tokens if self.tem is None else self.tem(tokens, frames)), axis

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, P, 2), NaN where a point is missing -> (B, 17, O) metres."""
        return self.flip_averaged(x) if self.config.mirrored else self._target(x)

    def flip_averaged(self, x: Tensor) -> Tensor:
        """The mean of the pose and of the mirrored window's, mirrored back (paper section 4.2), as ``forward``."""
        plain, mirrored = self._target(torch.cat([x, flipped(x, self.mirror)])).unflatten(0, (2, -1))
        return (plain + flipped(mirrored, self.mirror[: skeleton.J])) / 2

    def forward_frames(self, x: Tensor, frames: Tensor | None = None) -> Tensor:
        """Poses (B, N, 17, O) of every frame in ``x``, a window (B, N, P, 2) or, with the dial, its ``frames`` (N,)."""
        tokens, axis = self.encode(x, frames)
        return self._restored(self._read(tokens, self.head), axis)

    def forward_all(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As ``forward`` and the multi-frame loss's poses: ((B, 17, O), (B, N, 17, O))."""
        if self.head_frames is None:
            poses = self.forward_frames(x)
            return poses[:, self.config.window.target], poses
        tokens, axis = self.encode(x)
        poses = torch.cat([self._target_pose(tokens, x), self._read(tokens, self.head_frames)], 1)
        poses = self._restored(poses, axis)
        return poses[:, 0], poses[:, 1:]

    def _target(self, x: Tensor) -> Tensor:
        tokens, axis = self.encode(x)
        return self._restored(self._target_pose(tokens, x), axis)[:, 0]

    def _target_pose(self, tokens: Tensor, x: Tensor) -> Tensor:
        """Tokens (B, N, d) and what they were made from -> the target frame's pose (B, 1, 17, O)."""
        at, target = self.target_token, self.config.window.target
        pose = self._read(tokens[:, at : at + 1] if self.mofa is None else self.mofa(tokens), self.head)
        return pose if self.refine is None else self.refine(pose[:, 0], x[:, target, : skeleton.J])[:, None]

    def _read(self, tokens: Tensor, head: PoseHead) -> Tensor:
        """Tokens (B, T, d) -> poses (B, T, 17, O)."""
        pose: Tensor = head(tokens)
        if self.head_std is None:
            return pose
        deviation = self.head_std(tokens.detach())  # it follows the poses: its loss must not pull at the tokens
        return torch.cat([pose, self.TYPICAL_STD_M * deviation.clamp(-5, 5).exp()], -1)

    def _restored(self, poses: Tensor, axis: Tensor | None) -> Tensor:
        if self.centring is None or axis is None:
            return poses
        return torch.cat([self.centring.restore(poses[..., :3], axis), poses[..., 3:]], -1)
