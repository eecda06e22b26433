"""The model beside baselines trained on the same data in the same budget: docs/baselines.md is made by this.

    python -m training.baselines [key=value ...] [--rows ROW ...] [--every 4] [--out docs/baselines.md]

A network for single frames, a causal dilated temporal convolution network and P-STMO as published (whole windows, their
centre as target; at zero look-ahead the future is the newest frame held), each with the optimizer that it was published
with, and with ours; P-STMO as it is trained for other look-aheads too, and for none alone; and the model that answers
for every frame. All but P-STMO as published have the camera turned to the person. What was interrupted goes on.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pstmo_ros.core import skeleton
from pstmo_ros.core.bundle import Bundle, load
from pstmo_ros.core.centring import Centring
from pstmo_ros.core.model_config import ModelConfig
from pstmo_ros.core.pipeline import PoseLifter
from pstmo_ros.core.types import Floats
from training import arguments, finetune
from training.accuracy import Lifters, figures, markdown, of_bundle, runs, unfiltered
from training.conditions import Condition
from training.config import load_config
from training.finetune import FinetuneConfig
from training.loop import Objective, optimise
from training.metrics import joint_errors_mm, mpjpe_mm
from training.mocap import CMU, load_mocap
from training.outputs import begun, check_file
from training.processes import join
from training.sources import open_data

BUDGET = Path(__file__).parents[1] / "config" / "training" / "baselines.yaml"


class Block(nn.Sequential):
    """Linear, batch norm, ReLU, (B, d) -> (B, out)."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__(nn.Linear(width, out), nn.BatchNorm1d(out), nn.ReLU())


class SingleFrame(nn.Module):
    """Martinez et al. 2017, "A simple yet effective baseline": the newest frame alone, (B, N, 34) -> (B, 51)."""

    def __init__(self, frames: int, width: int = 1024) -> None:
        super().__init__()
        self.first, self.last = Block(2 * skeleton.J, width), nn.Linear(width, 3 * skeleton.J)
        self.blocks = nn.ModuleList(nn.Sequential(Block(width, width), Block(width, width)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x[:, -1])
        for block in self.blocks:
            x = x + block(x)
        pose: Tensor = self.last(x)
        return pose


class Dilated(nn.Module):
    """Pavllo et al. 2019, VideoPose3D with filters 3, 3, ..., causal: (B, N, 34) -> (B, 51).

    For one answer a dilated network is the same as one that strides by 3, which three neighbours' linear map is.
    """

    def __init__(self, frames: int, width: int = 1024) -> None:
        super().__init__()
        self.first, self.last = Block(3 * 2 * skeleton.J, width), nn.Linear(width, 3 * skeleton.J)
        levels = range(round(np.log(frames) / np.log(3)) - 1)
        self.blocks = nn.ModuleList(nn.Sequential(Block(3 * width, width), Block(width, width)) for _ in levels)

    def forward(self, x: Tensor) -> Tensor:
        x = _by_frame(self.first, _threes(x))
        for block in self.blocks:
            x = x[:, 2::3] + _by_frame(block, _threes(x))  # the newest of each three goes past the block
        pose: Tensor = self.last(x[:, 0])
        return pose


def _threes(x: Tensor) -> Tensor:
    """(B, N, d) -> (B, N/3, 3 d)."""
    return x.reshape(len(x), x.shape[1] // 3, -1)


def _by_frame(block: nn.Module, x: Tensor) -> Tensor:
    """A block over every frame, (B, N, d) -> (B, N, out)."""
    return block(x.flatten(0, 1)).view(*x.shape[:2], -1)


class Baseline(nn.Module):
    """A network for the newest frame's pose behind STMO's own input: the camera turned, absent joints learned.

    (B, N, 17, 2) rays, NaN where a joint is missing -> (B, 17, 3) metres.
    """

    def __init__(self, config: ModelConfig, network: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.config, self.network = config, network(config.frames)
        self.missing_joint = nn.Parameter(torch.zeros(2))
        self.centring = Centring(config.frames, config.centre)

    def forward(self, x: Tensor) -> Tensor:
        x, axis = self.centring(x)
        x = torch.where(torch.isnan(x), self.missing_joint, x)
        return self.centring.restore(self.network(x.flatten(2)).view(-1, skeleton.J, 3), axis)


@dataclass(frozen=True)
class Row:
    """What is changed in the budget's configuration; ``network``: what is trained instead of P-STMO."""

    changes: tuple[str, ...] = ()
    network: Callable[[int], nn.Module] | None = None


# The optimizer of all three publications, each with the rate that was best on the validation split (docs/training.md).
_ADAM = "optimizer=adam"
_PUBLISHED = ("model.dial=false", "model.mofa=true", "model.uncertainty=false", "batches.held=false")
_HELD = (*_PUBLISHED[:-1], "batches.held=true")
ROWS = {
    "single frames (Martinez et al. 2017)": Row((_ADAM, "learning_rate=0.002"), SingleFrame),
    "causal dilated convolutions (Pavllo et al. 2019)": Row((_ADAM, "learning_rate=0.001"), Dilated),
    "P-STMO as published": Row((*_PUBLISHED, "model.centred=false", _ADAM, "learning_rate=0.002")),
    "single frames, with Muon": Row(network=SingleFrame),
    "causal dilated convolutions, with Muon": Row(network=Dilated),
    "P-STMO as published, with Muon": Row((*_PUBLISHED, "model.centred=false")),
    "P-STMO with Muon, camera turned to the person": Row(_PUBLISHED),
    "P-STMO with Muon, trained for any look-ahead, the rest held": Row(_HELD),
    "P-STMO with Muon, trained for zero look-ahead alone, the rest held": Row((*_HELD, "batches.zero_look_ahead=1")),
    "every frame answered for (ours)": Row(),
}


class Newest(Objective):
    """MPJPE of the newest frame in metres, and in mm."""

    figure = "mpjpe_mm"

    def __init__(self, model: Baseline) -> None:
        super().__init__()
        self.model = model

    def forward(self, joints: Tensor, poses_m: Tensor) -> tuple[Tensor, Tensor]:
        error = joint_errors_mm(self.model(joints), poses_m[:, -1]).mean()
        return error / 1000, error


def train(config: FinetuneConfig, network: Callable[[int], nn.Module]) -> Baseline:
    """Train a baseline to its end, or take it from where it was left."""
    resume = begun(config.run)
    process = join(config, resume)
    torch.manual_seed(config.seed)
    model = Baseline(config.model, network).to(process.device)
    data = open_data(config, config.model.window, process.device)
    (batches,) = data.validation.values()

    @torch.no_grad()
    def validation() -> dict[str, float]:
        model.eval()
        poses = torch.cat([model(b.joints) for b in batches])
        return {"newest": mpjpe_mm(poses, torch.cat([b.poses_m[:, -1] for b in batches]))}

    optimise(config, process, Newest(model), data.train, validation, resume)
    return model.cpu().eval()


def lifters(model: Baseline) -> Lifters:
    """Lifters of a baseline, which answers at zero look-ahead alone."""
    nothing = np.empty((0, model.config.frames, skeleton.J, 2), np.float32)
    as_bundle = Bundle(model, model.config, {"normalization": "rays"}, nothing, nothing)  # type: ignore[arg-type]

    @torch.inference_mode()
    def engine(windows: Floats) -> Floats:
        poses: Floats = model(torch.from_numpy(windows)).numpy()
        return poses

    return lambda look_ahead_s: PoseLifter(as_bundle, engine, unfiltered(look_ahead_s))


def row_lifters(row: Row, config: FinetuneConfig) -> Lifters:
    """A row's lifters, trained if they are not yet."""
    if row.network is not None:
        return lifters(train(config, row.network))
    done = Path(config.out).is_file()
    bundle = load(config.out) if done else finetune.train(config, begun(config.run))
    assert bundle is not None
    return of_bundle(bundle, engine="torch")  # in fp32 anywhere, and not worth compiling


def _config(args: argparse.Namespace, name: str) -> FinetuneConfig:
    """The budget with a row's changes, in a folder of its own."""
    config = load_config(FinetuneConfig, args.budget, [*args.overrides, *ROWS[name].changes])
    run = Path(config.run) / "-".join(re.findall(r"[a-z]+", name.lower()))
    return dataclasses.replace(config, run=str(run), out=str(run / "model.safetensors"))


def main() -> None:
    args = _arguments()
    try:
        if args.out:
            check_file("--out", args.out)
        budget = load_config(FinetuneConfig, args.budget, args.overrides)
        if not budget.model.dial:
            raise ValueError("model.dial is false, and the last row is a model with the dial; set it to true")
        if bad := [i for i in args.rows or () if not 1 <= i <= len(ROWS)]:
            raise ValueError(f"--rows holds {bad[0]}; the rows are 1 to {len(ROWS)}")
        names = [n for i, n in enumerate(ROWS, 1) if not args.rows or i in (*args.rows, len(ROWS))]
        configs = {name: _config(args, name) for name in names}  # refused now, not hours later
        mocap = load_mocap(CMU, args.split)
        clips = range(0, len(mocap.names), args.every)
        rows = []
        for name, config in configs.items():
            results = list(runs(Condition(name), row_lifters(ROWS[name], config), mocap, clips, args.seed))
            rows.append((name, figures(results)))
        ours = rows[-1][1]["MPJPE"]
        for _, values in rows:
            values["ratio"] = values["MPJPE"] / ours
    except ValueError as e:
        raise SystemExit(f"baselines: {e}") from None
    page = (
        "# Baselines\n\n"
        f"`python -m training.baselines {' '.join(sys.argv[1:])}`: {budget.steps} steps of {budget.batch} windows each "
        f"of the same data, seed {budget.seed}; {int(mocap.length[list(clips)].sum())} frames of {len(clips)} clips, "
        f"split {args.split}. Errors in mm as in accuracy.md; the ratio is to the last row's.\n\n"
        f"{markdown('Zero look-ahead', rows)}"
    )
    print(page)
    if args.out:
        Path(args.out).write_text(page)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--budget", default=str(BUDGET), help="configuration file of training.finetune")
    parser.add_argument("--rows", type=int, nargs="+", metavar="ROW", help="only these, from 1, and the last one")
    parser.add_argument("--split", default="test", choices=("val", "test"))
    parser.add_argument("--every", type=arguments.count, default=1, metavar="K", help="only every K-th clip")
    parser.add_argument(
        "--seed", type=arguments.seed, default=1, help="of the cameras and the detector that are tested with"
    )
    parser.add_argument("--out", help="also write the page to this file")
    return parser.parse_intermixed_args()


if __name__ == "__main__":
    main()
