"""Supervised training of STMO (paper section 3.3, Stage II) on the open mocap set through virtual cameras.

    python -m training.finetune config/training/realtime.yaml [key=value ...] [--resume]

Writes checkpoints and TensorBoard logs to ``run`` and, at the end, the model file to ``out``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from pstmo_ros.core.bundle import save_bundle
from pstmo_ros.core.model import STMO, ModelConfig
from training.batches import Batch, BatchConfig, WindowSampler
from training.config import load_config
from training.metrics import joint_errors_mm, mpjpe_mm
from training.mocap import CMU, CMU_CREDIT, load_mocap


@dataclass(frozen=True)
class FinetuneConfig:
    """One training run. lambda_frames weighs the multi-frame loss (paper eq. 9)."""

    out: str = "runs/model.safetensors"
    run: str = "runs/finetune"
    data: str = str(CMU.relative_to(CMU.parents[2]))
    min_quality: int = 1
    model: ModelConfig = field(default_factory=ModelConfig)
    batches: BatchConfig = field(default_factory=BatchConfig)
    batch: int = 128
    steps: int = 7000
    learning_rate: float = 1e-3
    warmup: int = 200
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    lambda_frames: float = 1.0
    seed: int = 1
    validate_every: int = 500
    validation_windows: int = 2048
    checkpoint_minutes: float = 3.0
    device: str = "cuda" if torch.cuda.is_available() else "cpu"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", nargs="?", help="YAML file, see config/training/")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in the run folder")
    args = parser.parse_args()
    if args.config and "=" in args.config:
        args.config, args.overrides = None, [args.config, *args.overrides]
    try:
        train(load_config(FinetuneConfig, args.config, args.overrides), args.resume)
    except ValueError as e:
        raise SystemExit(f"finetune: {e}") from None


def train(config: FinetuneConfig, resume: bool = False) -> None:
    """Run a training to its end and write the model file."""
    device = torch.device(config.device)
    torch.manual_seed(config.seed)
    run = Path(config.run)
    run.mkdir(parents=True, exist_ok=True)
    splits = {s: load_mocap(config.data, s, config.min_quality).to(device) for s in ("train", "val")}
    draws = torch.Generator(device).manual_seed(config.seed)
    sampler = WindowSampler(splits["train"], config.model.window, config.batches, draws)
    validation = {
        name: _validation(splits["val"], config, share)
        for name, share in (("zero_look_ahead", 1.0), ("any_look_ahead", 0.0))
    }

    model = STMO(config.model).to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(), config.learning_rate, (0.9, 0.98), weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _learning_rate(step, config))
    checkpoint = run / "checkpoint.pt"
    step = _restore(checkpoint, config, model, optimizer, schedule, draws) if resume else 0

    writer = SummaryWriter(str(run))
    saved, progress = (
        time.monotonic(),
        tqdm(total=config.steps, initial=step, unit="step", dynamic_ncols=True, mininterval=5),
    )
    while step < config.steps:
        model.train()
        batch = sampler.draw(config.batch)
        loss, errors = _loss(model, batch, config)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
        optimizer.step()
        schedule.step()
        step += 1
        progress.update()
        if step % 20 == 0:
            error = errors.mean().item()
            progress.set_postfix(loss=f"{loss.item():.4f}", mpjpe_mm=f"{error:.1f}", refresh=False)
            writer.add_scalar("train/mpjpe_mm", error, step)
        if step % config.validate_every == 0 or step == config.steps:
            figures = {name: validate(model, batches) for name, batches in validation.items()}
            for name, figure in figures.items():
                writer.add_scalar(f"val/mpjpe_mm/{name}", figure, step)
            progress.write(f"step {step}: val MPJPE " + ", ".join(f"{k} {v:.1f} mm" for k, v in figures.items()))
        if time.monotonic() - saved > config.checkpoint_minutes * 60 or step == config.steps:
            _save(checkpoint, step, config, model, optimizer, schedule, draws)
            saved = time.monotonic()
    progress.close()
    writer.close()

    training = provenance(config) | {"validation_mpjpe_mm": {k: round(v, 2) for k, v in figures.items()}}
    golden = validation["any_look_ahead"][0].joints[:4].cpu().numpy()
    bundle = save_bundle(config.out, model.cpu(), "rays", training, golden)
    print(f"{config.out}: sha256 {bundle.sha256}")


@torch.no_grad()
def validate(model: STMO, batches: list[Batch]) -> float:
    """MPJPE in mm of the target frames of fixed batches."""
    model.eval()
    target = model.config.window.target
    poses = torch.cat([model(b.joints) for b in batches])
    return mpjpe_mm(poses, torch.cat([b.poses_m[:, target] for b in batches]))


def provenance(config: FinetuneConfig) -> dict[str, Any]:
    """What goes into the model file about where its weights come from."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    return {
        "data": Path(config.data).name,
        "licence": f"CMU mocap: free for all uses, not to be resold as data. {CMU_CREDIT}",
        "command": "python -m training.finetune " + " ".join(sys.argv[1:]),
        "commit": commit,
        "config": dataclasses.asdict(config),
    }


def _loss(model: STMO, batch: Batch, config: FinetuneConfig) -> tuple[Tensor, Tensor]:
    pose, frames = model.forward_all(batch.joints)
    errors = joint_errors_mm(pose, batch.poses_m[:, config.model.window.target])
    multi = joint_errors_mm(frames, batch.poses_m).mean()
    return (errors.mean() + config.lambda_frames * multi) / 1000, errors.detach()


def _validation(mocap: Any, config: FinetuneConfig, zero_look_ahead: float) -> list[Batch]:
    """Fixed validation batches: other subjects, the bodies as recorded, the same cameras and detector."""
    body = dataclasses.replace(
        config.batches.body,
        mirror=False,
        scale=(1.0, 1.0),
        bone=0.0,
        hips=(1.0, 1.0),
        shoulders=(1.0, 1.0),
        speed=(1.0, 1.0),
    )
    fixed = dataclasses.replace(config.batches, body=body, zero_look_ahead=zero_look_ahead)
    sampler = WindowSampler(mocap, config.model.window, fixed, torch.Generator(config.device).manual_seed(0))
    return [sampler.draw(256) for _ in range(config.validation_windows // 256)]


def _learning_rate(step: int, config: FinetuneConfig) -> float:
    if step < config.warmup:
        return (step + 1) / config.warmup
    return 0.5 * (1 + math.cos(math.pi * (step - config.warmup) / max(config.steps - config.warmup, 1)))


def _save(
    path: Path, step: int, config: FinetuneConfig, model: Any, optimizer: Any, schedule: Any, draws: torch.Generator
) -> None:
    """Write a checkpoint so that a kill at any moment leaves the old one or the new one, whole."""
    state = {
        "step": step,
        "config": json.dumps(dataclasses.asdict(config)),
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "draws": draws.get_state(),
        "random": torch.get_rng_state(),
    }
    part = path.with_suffix(".part")
    torch.save(state, part)
    os.replace(part, path)


def _restore(
    path: Path, config: FinetuneConfig, model: Any, optimizer: Any, schedule: Any, draws: torch.Generator
) -> int:
    if not path.is_file():
        raise ValueError(f"--resume: there is no checkpoint {str(path)!r}; start without --resume, or give run=FOLDER")
    state = torch.load(path, map_location="cpu", weights_only=True)
    if (before := state["config"]) != (now := json.dumps(dataclasses.asdict(config))):
        raise ValueError(f"--resume: the checkpoint was made with other settings; then {before}; now {now}")
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    draws.set_state(state["draws"])
    torch.set_rng_state(state["random"])
    return int(state["step"])


if __name__ == "__main__":
    main()
