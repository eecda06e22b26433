"""The training loop of both stages: one process or, started by torchrun, one per device.

Every step's random numbers follow from (seed, process, step) alone. A run that was killed and resumed is therefore
the run that was not, bit for bit on a CPU, with no generator's state in its checkpoints.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from training.config import RunConfig
from training.optimizers import optimizers
from training.outputs import CHECKPOINT
from training.processes import Process, has_bf16
from training.sources import Source, steps_per_epoch

_SHOW_EVERY = 20  # steps


class Objective(nn.Module):
    """What a stage minimises: a module around the model, so that one call is what is compiled or made parallel."""

    figure: str


class Optimisation:
    """A model being optimised: what a checkpoint has to hold."""

    def __init__(self, config: RunConfig, model: nn.Module, per_epoch: int) -> None:
        c = self.config = config
        self.model, self.step = model, 0
        device = next(model.parameters()).device
        self.bf16 = c.precision == "bf16" or (c.precision == "auto" and has_bf16(device))
        self.steps = math.ceil(c.epochs * per_epoch) if c.epochs > 0 else c.steps
        self.optimizers = optimizers(c.optimizer, model, c.learning_rate, c.weight_decay)
        self.schedules = [
            torch.optim.lr_scheduler.LambdaLR(o, lambda step: self._rate(step, per_epoch)) for o in self.optimizers
        ]

    def descend(self, loss: Tensor) -> None:
        """One step along the gradient of ``loss``."""
        self.model.zero_grad(set_to_none=True)
        loss.backward()
        if self.config.clip_norm > 0:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        for optimizer, schedule in zip(self.optimizers, self.schedules, strict=True):
            optimizer.step()
            schedule.step()
        self.step += 1

    def check(self) -> None:
        """ValueError once weights are not finite: they stay so, and every later checkpoint would be as useless."""
        if not all(p.isfinite().all() for p in self.model.parameters()):
            c = self.config
            raise ValueError(
                f"training has diverged by step {self.step}: weights are NaN or infinite; lower learning_rate "
                f"({c.learning_rate:g}), raise warmup ({c.warmup}) or let clip_norm ({c.clip_norm:g}) be about 1"
            )

    def save(self, path: Path) -> None:
        """Write a checkpoint so that a kill at any moment leaves the old one or the new one, whole."""
        self.check()
        state = {
            "step": self.step,
            "config": self._settings(),
            "model": self.model.state_dict(),
            "optimizers": [o.state_dict() for o in self.optimizers],
            "schedules": [s.state_dict() for s in self.schedules],
        }
        part = path.with_suffix(".part")
        torch.save(state, part)
        os.replace(part, path)

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint; ValueError if there is none or it was made with other settings."""
        if not path.is_file():
            raise ValueError(f"--resume: there is no checkpoint {str(path)!r}; start without --resume or give its run=")
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as e:  # what torch raises on broken bytes is anybody's guess
            raise ValueError(
                f"--resume: {str(path)!r} is no whole checkpoint ({type(e).__name__}); delete it and start without "
                "--resume"
            ) from None
        if (before := state["config"]) != (now := self._settings()):
            then, new = _flat(json.loads(before)), _flat(json.loads(now))
            changed = [f"{k} was {then.get(k)}, is {new.get(k)}" for k in {**then, **new} if then.get(k) != new.get(k)]
            raise ValueError(
                f"--resume: the checkpoint was made with other settings: {'; '.join(changed)}; "
                "give the same, or another run= without --resume"
            )
        self.model.load_state_dict(state["model"])
        for optimizer, was in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(was)
        for schedule, was in zip(self.schedules, state["schedules"], strict=True):
            schedule.load_state_dict(was)
        self.step = int(state["step"])

    def _settings(self) -> str:
        """What must not change within a run; where it runs and what it is called may."""
        settings = dataclasses.asdict(self.config)
        return json.dumps(
            {k: v for k, v in settings.items() if k not in ("out", "run", "device", "checkpoint_minutes")}
        )

    def _rate(self, step: int, per_epoch: int) -> float:
        if step < self.config.warmup:
            return (step + 1) / self.config.warmup
        if self.config.schedule == "exponential":
            return self.config.decay ** (step // per_epoch)
        share = (step - self.config.warmup) / max(self.steps - self.config.warmup, 1)
        return 0.5 * (1 + math.cos(math.pi * share))


def optimise(
    config: RunConfig,
    process: Process,
    objective: Objective,
    source: Source,
    validate: Callable[[], dict[str, float]],
    resume: bool = False,
) -> dict[str, float]:
    """Train to the end and return the last validation's figures (empty but in the first process).

    objective: (joints (B, N, 17, 2), poses (B, N, 17, 3)) -> loss and the error to show, two scalars; ``figure`` is
    that error's name, and the name of what ``validate`` gives, by protocol.
    """
    run = Path(config.run)
    state = Optimisation(config, objective, steps_per_epoch(source, config.batch))
    if resume:
        state.restore(run / CHECKPOINT)
    trained = _wrapped(config, process, objective)
    figures: dict[str, float] = {}
    saved = time.monotonic()
    with _Report(run, state, process, objective.figure) as report:
        while state.step < state.steps:
            loss, error = _step(config, process, trained, source, state)
            report.step(loss, error)
            if state.step % _SHOW_EVERY == 0:
                state.check()
            last = state.step == state.steps
            if process.first and (state.step % config.validate_every == 0 or last):
                figures = validate()
                report.validation(figures)
            if process.first and (last or time.monotonic() - saved > config.checkpoint_minutes * 60):
                state.save(run / CHECKPOINT)
                saved = time.monotonic()
    if not figures and process.first:  # resumed when there was nothing left to do
        figures = validate()
    return figures


def _step(
    config: RunConfig, process: Process, trained: nn.Module, source: Source, state: Optimisation
) -> tuple[Tensor, Tensor]:
    trained.train()
    _seed(source, config.seed, process.rank, state.step)
    batch = source.draw(config.batch // process.processes)
    with torch.autocast(process.device.type, torch.bfloat16) if state.bf16 else nullcontext():
        loss, error = trained(batch.joints, batch.poses_m)
    state.descend(loss)
    return loss.detach(), error.detach()


def _seed(source: Source, *entropy: int) -> None:
    """Two independent streams for this step: the data's, and the one that dropout and masks draw from."""
    data, layers = np.random.SeedSequence(entropy).generate_state(2).tolist()
    if source.generator is not None:
        source.generator.manual_seed(data)
    torch.manual_seed(layers)


def _wrapped(config: RunConfig, process: Process, objective: nn.Module) -> nn.Module:
    trained: Any = torch.compile(objective) if config.compile else objective
    if process.processes == 1:
        return trained
    return nn.parallel.DistributedDataParallel(
        trained, device_ids=[process.device.index] if process.device.type == "cuda" else None
    )


class _Report:
    """Progress bar and TensorBoard, in the first process only."""

    def __init__(self, run: Path, state: Optimisation, process: Process, figure: str) -> None:
        self.state, self.figure = state, figure
        batch = self.batch = state.config.batch
        self.bar = tqdm(
            total=state.steps * batch,
            initial=state.step * batch,
            unit="sample",
            unit_scale=True,
            dynamic_ncols=True,
            mininterval=5,
            disable=not process.first,
        )
        self.writer = SummaryWriter(str(run)) if process.first else None

    def __enter__(self) -> _Report:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()
        if self.writer is not None:
            self.writer.close()

    def step(self, loss: Tensor, error: Tensor) -> None:
        """One step done; reading the figures waits for the device, so it is done rarely."""
        self.bar.update(self.batch)
        if self.writer is not None and self.state.step % _SHOW_EVERY == 0:
            figures = {"loss": loss.item(), self.figure: error.item()}
            self.bar.set_postfix({k: f"{v:.4g}" for k, v in figures.items()}, refresh=False)
            for name, value in figures.items():
                self.writer.add_scalar(f"train/{name}", value, self.state.step)

    def validation(self, figures: dict[str, float]) -> None:
        if self.writer is None:
            return
        for name, figure in figures.items():
            self.writer.add_scalar(f"val/{self.figure}/{name}", figure, self.state.step)
        shown = ", ".join(f"{k} {v:.1f}" for k, v in figures.items())
        self.bar.write(f"step {self.state.step}: val {self.figure} {shown}")


def _flat(settings: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Nested settings by their names with dots."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{above}{key}.") if isinstance(value, dict) else {f"{above}{key}": value}
    return flat
