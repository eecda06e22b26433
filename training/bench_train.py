"""Training throughput of Stage II beside a plain loop, at the paper's width (d = 256, 8 heads) and batch.

    make bench-train            or    python -m training.bench_train [--frames 27 81 243] [--precisions fp32]

Both train P-STMO-S with Adam on the same synthetic clips, turn about, in one run. The plain loop is written the way
the published training is: a Dataset that cuts one window at a time out of its copied clip, worker processes, eager
fp32, 1x1 convolutions with their permutations, layer norms and attention spelled out, an optimiser that loops over
the parameters. Each figure is the best of the rounds, so that other work on the machine counts less. bf16 pays where
the machine has units for it (NVIDIA GPUs, CPUs with AMX).
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from pstmo_ros.core import skeleton
from pstmo_ros.core.model import STMO
from pstmo_ros.core.model_config import ModelConfig
from training import arguments
from training.config import RunConfig
from training.datasets.clips import Clip
from training.finetune import StageTwo
from training.loop import Optimisation
from training.parameters import flops
from training.processes import usable_device
from training.recorded import RecordedWindows

_CLIPS, _CLIP_FRAMES, _SIZE = 60, 2000, (1000, 1000)  # clips as long as Human3.6M's


class PlainWindows(Dataset[tuple[Tensor, Tensor]]):
    """One window at a time, in numpy."""

    def __init__(self, clips: list[Clip], frames: int) -> None:
        self.clips = [(c.model_input("screen").numpy(), c.root_relative_m().numpy()) for c in clips]
        self.pad = frames // 2
        self.at = [(i, t, flip) for i, c in enumerate(clips) for t in range(len(c.poses_m)) for flip in (False, True)]

    def __len__(self) -> int:
        return len(self.at)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        clip, t, flip = self.at[index]
        out = []
        for values in self.clips[clip]:
            sequence = values.copy()
            low, high = t - self.pad, t + self.pad + 1
            left, right = max(0, -low), max(0, high - len(sequence))
            window = sequence[max(low, 0) : high]
            window = np.concatenate([sequence[:1].repeat(left, 0), window, sequence[-1:].repeat(right, 0)])
            if flip:
                window[..., 0] *= -1
                window = window[:, list(skeleton.MIRROR)]
            out.append(torch.from_numpy(window.copy()))
        return out[0], out[1]


class PlainNorm(nn.Module):
    """Layer norm of separate operations."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gain, self.offset = nn.Parameter(torch.ones(dim)), nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-6) + self.offset


class PlainAttention(nn.Module):
    """Multi-head attention of separate projections, products and softmax, (B, N, d) -> (B, N, d)."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.width = heads, dim // heads
        self.projections = nn.ModuleList(nn.Linear(dim, dim) for _ in range(4))
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        b = len(x)
        q, k, v = (p(x).view(b, -1, self.heads, self.width).transpose(1, 2) for p in list(self.projections)[:3])
        share = self.drop(torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(self.width), -1))
        return self.projections[3]((share @ v).transpose(1, 2).contiguous().view(b, -1, self.heads * self.width))


class PlainLayer(nn.Module):
    """Encoder layer; strided ones end in a convolution over three frames and skip by max pooling."""

    def __init__(self, c: ModelConfig, strided: bool) -> None:
        super().__init__()
        self.norms = nn.ModuleList(PlainNorm(c.dim) for _ in range(2))
        self.attention, self.drop = PlainAttention(c.dim, c.heads, c.dropout), nn.Dropout(c.dropout)
        self.up: nn.Module
        self.down: nn.Module
        if strided:
            self.up = nn.Conv1d(c.dim, 2 * c.dim, 1)
            self.down = nn.Conv1d(2 * c.dim, c.dim, 3, stride=3, padding=1)
            self.pool = nn.MaxPool1d(1, stride=3)
        else:
            self.up, self.down = nn.Linear(c.dim, 2 * c.dim), nn.Linear(2 * c.dim, c.dim)
        self.strided = strided

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop(self.attention(self.norms[0](x)))
        y = self.norms[1](x)
        if not self.strided:
            return x + self.drop(self.down(self.drop(F.relu(self.up(y)))))
        y = self.down(self.drop(F.relu(self.up(y.permute(0, 2, 1))))).permute(0, 2, 1)
        return self.pool(x.permute(0, 2, 1)).permute(0, 2, 1) + self.drop(y)


class PlainModel(nn.Module):
    """P-STMO-S of 1x1 convolutions: (B, N, 17, 2) -> poses (B, 17, 3) and (B, N, 17, 3)."""

    def __init__(self, c: ModelConfig) -> None:
        super().__init__()
        h = 2 * c.dim
        self.c, self.fc_1, self.fc_2 = c, nn.Conv1d(2 * skeleton.J, h, 1), nn.Conv1d(h, c.dim, 1)
        self.block = nn.ModuleList(nn.Conv1d(h, h, 1) for _ in range(2))
        self.norms = nn.ModuleList(nn.BatchNorm1d(h) for _ in range(3))
        self.drop = nn.Dropout(c.dropout)
        self.position = nn.Parameter(torch.randn(1, c.frames, c.dim))
        self.positions = nn.ParameterList(torch.randn(1, c.frames, c.dim) for _ in range(3))
        self.tem = nn.ModuleList(PlainLayer(c, False) for _ in range(c.depth))
        self.mofa = nn.ModuleList(PlainLayer(c, True) for _ in range(c.mofa_levels))
        self.heads = nn.ModuleList(
            nn.Sequential(nn.BatchNorm1d(c.dim), nn.Conv1d(c.dim, 3 * skeleton.J, 1)) for _ in range(2)
        )

    def forward(self, joints: Tensor) -> tuple[Tensor, Tensor]:
        x = self._activate(0, self.fc_1(joints.flatten(2).permute(0, 2, 1).contiguous()))
        y = self._activate(1, self.block[0](x))
        x = self.fc_2(x + self._activate(2, self.block[1](y))).permute(0, 2, 1).contiguous() + self.position
        for layer in self.tem:
            x = layer(x)
        frames = self._poses(1, x)
        for k, layer in enumerate(self.mofa):
            x = layer(x + self.positions[k][:, : x.shape[1]] if k < len(self.positions) else x)
        return self._poses(0, x)[:, 0], frames

    def _activate(self, k: int, x: Tensor) -> Tensor:
        return self.drop(F.leaky_relu(self.norms[k](x), 0.2))

    def _poses(self, head: int, x: Tensor) -> Tensor:
        y = self.heads[head](x.permute(0, 2, 1).contiguous()).permute(0, 2, 1)
        return y.contiguous().view(len(x), -1, skeleton.J, 3)


def plain_steps(clips: list[Clip], config: RunConfig, device: torch.device) -> Iterator[None]:
    """Train the plain way, one step per item."""
    model = PlainModel(config.model).to(device)
    adam = torch.optim.Adam(model.parameters(), config.learning_rate, amsgrad=True, foreach=False)
    workers = min(8, os.cpu_count() or 1)
    windows = PlainWindows(clips, config.model.frames)
    while True:
        for joints, poses in DataLoader(windows, config.batch, shuffle=True, num_workers=workers, drop_last=True):
            x, target = joints.to(device), poses.to(device)
            pose, frames = model(x)
            single = torch.norm(pose - target[:, config.model.frames // 2], dim=-1).mean()
            loss = single + torch.norm(frames - target, dim=-1).mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
            loss.item()
            yield


def our_steps(clips: list[Clip], config: RunConfig, device: torch.device) -> Iterator[None]:
    """Train as training.finetune does, one step per item."""
    source = RecordedWindows(clips, config.model.window, "screen", device=device)
    state = Optimisation(config, StageTwo(STMO(config.model).to(device), 1.0), 1000)
    trained = torch.compile(state.model) if config.compile else state.model
    while True:
        batch = source.draw(config.batch)
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            loss, _ = trained(batch.joints, batch.poses_m)
        state.descend(loss)
        yield


def samples_per_s(steps: Iterator[None], batch: int, seconds: float, synchronize: Callable[[], None]) -> float:
    """Throughput over at least ``seconds`` and two steps, after one to warm up."""
    next(steps)
    synchronize()
    started, done = time.perf_counter(), 0
    while done < 2 or time.perf_counter() - started < seconds:
        next(steps)
        done += 1
    synchronize()
    return done * batch / (time.perf_counter() - started)


def products_alone(config: RunConfig, device: torch.device, synchronize: Callable[[], None]) -> float:
    """Samples/s of a step that were nothing but its matrix products (one forward, two back) at the rate of large ones.

    No fp32 training of this model on this machine can be faster.
    """
    a, b = torch.randn(4096, 1024, device=device), torch.randn(1024, 1024, device=device)
    seconds = []
    for _ in range(20):
        synchronize()
        started = time.perf_counter()
        a @ b
        synchronize()
        seconds.append(time.perf_counter() - started)
    rate = 2 * a.numel() * b.shape[1] / min(seconds)
    return rate / (3 * flops(config.model))


def synthetic_clips() -> list[Clip]:
    """Clips of the size of Human3.6M's; what they show does not matter here."""
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 1000, (_CLIP_FRAMES, skeleton.J, 2)).astype(np.float32)
    poses = rng.uniform(-1, 1, (_CLIP_FRAMES, skeleton.J, 3)).astype(np.float32)
    return [Clip(points, poses, _SIZE, "h36m_17", None, "S", "A", str(i), 50.0) for i in range(_CLIPS)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[27, 81, 243])
    parser.add_argument(
        "--seconds", type=arguments.number(float, 0), default=10.0, help="for each of the two, each round"
    )
    parser.add_argument("--rounds", type=arguments.count, default=2)
    parser.add_argument("--batch", type=arguments.number(int, 2), default=160)
    parser.add_argument(
        "--precisions",
        nargs="+",
        default=["fp32", "bf16"],
        choices=("fp32", "bf16"),
        help="ours; the plain loop is fp32",
    )
    parser.add_argument("--compile", action="store_true", help="ours through torch.compile")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    try:
        device = usable_device(args.device)
        models = [ModelConfig(frames=frames, stride=1) for frames in args.frames]
    except ValueError as e:
        raise SystemExit(f"bench_train: {e}") from None
    clips = synthetic_clips()
    synchronize = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    print(f"{device.type}, {torch.get_num_threads()} threads, torch {torch.__version__}, batch {args.batch}")
    print(
        "| N | plain, samples/s |"
        + "".join(f" ours in {p} | ratio |" for p in args.precisions)
        + " fp32 products alone |"
    )
    print("| ---: |" + " ---: |" * (2 + 2 * len(args.precisions)))
    for model in models:
        plain = RunConfig(model=model, batch=args.batch, optimizer="adam")
        ours = [dataclasses.replace(plain, precision=p, compile=args.compile) for p in args.precisions]
        best = [0.0] * (1 + len(ours))
        for _ in range(args.rounds):
            turns = [plain_steps(clips, plain, device), *(our_steps(clips, c, device) for c in ours)]
            for k, steps in enumerate(turns):
                best[k] = max(best[k], samples_per_s(steps, args.batch, args.seconds, synchronize))
        figures = [f"{best[0]:.1f}"]
        for rate in best[1:]:
            figures += [f"{rate:.1f}", f"{rate / best[0]:.2f}"]
        figures.append(f"{products_alone(plain, device, synchronize):.1f}")
        print(f"| {model.frames} | {' | '.join(figures)} |", flush=True)


if __name__ == "__main__":
    main()
