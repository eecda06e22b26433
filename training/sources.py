"""Training and validation windows of the open mocap set, Human3.6M and MPI-INF-3DHP, behind one function."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Protocol

import torch

from pstmo_ros.core.window import WindowSpec
from training.batches import Batch, WindowSampler
from training.bodies import BodyConfig
from training.config import RunConfig
from training.datasets.clips import Clip
from training.datasets.dhp import load_dhp
from training.datasets.h36m import load_h36m
from training.mocap import CMU_CREDIT, load_mocap
from training.recorded import RecordedWindows

DATASETS = {
    "mocap": f"CMU mocap: free for all uses, not to be resold as data. {CMU_CREDIT}",
    "h36m": "Human3.6M: research use only, under its own licence",
    "3dhp": "MPI-INF-3DHP: research use only, under its own licence",
}
_VALIDATION_BATCH = 256
_AS_RECORDED = BodyConfig(False, scale=(1.0, 1.0), bone=0.0, hips=(1.0, 1.0), shoulders=(1.0, 1.0), speed=(1.0, 1.0))


class Source(Protocol):
    """Windows to train on. ``generator`` is what ``draw`` draws from; the length counts windows without mirroring."""

    generator: torch.Generator | None

    def __len__(self) -> int: ...
    def draw(self, batch: int) -> Batch: ...


@dataclass(frozen=True)
class Data:
    """train: random windows. validation: fixed batches of windows of other people, by protocol."""

    train: Source
    validation: dict[str, list[Batch]]


def open_data(config: RunConfig, spec: WindowSpec, device: torch.device) -> Data:
    """Load a run's data into the device's memory. ValueError for a file that is not there."""
    return _mocap(config, spec, device) if config.dataset == "mocap" else _recorded(config, spec, device)


def _mocap(config: RunConfig, spec: WindowSpec, device: torch.device) -> Data:
    train, val = (load_mocap(config.data, s, config.min_quality).to(device) for s in ("train", "val"))
    # Validation: the bodies as recorded, the same cameras and detector.
    protocols = {"zero_look_ahead": 1.0, "any_look_ahead": 0.0} if config.batches.held else {"whole_windows": 0.0}

    def batches(zero_look_ahead: float) -> list[Batch]:
        fixed = dataclasses.replace(config.batches, body=_AS_RECORDED, balanced=0, zero_look_ahead=zero_look_ahead)
        sampler = WindowSampler(val, spec, fixed, torch.Generator(device).manual_seed(0))
        each = min(_VALIDATION_BATCH, config.validation_windows)
        return [sampler.draw(each) for _ in range(config.validation_windows // each)]

    sampler = WindowSampler(train, spec, config.batches, torch.Generator(device))
    return Data(sampler, {name: batches(share) for name, share in protocols.items()})


def _recorded(config: RunConfig, spec: WindowSpec, device: torch.device) -> Data:
    def windows(split: str, mirror: bool) -> RecordedWindows:
        return RecordedWindows(
            _clips(config, split),
            spec,
            config.normalization,
            mirror=mirror,
            device=device,
            generator=torch.Generator(device),
        )

    test = windows(config.test_split, False)
    count = min(config.validation_windows, len(test))
    targets = torch.linspace(0, len(test) - 1, count, device=device).long()
    validation = [test.windows(t) for t in targets.split(_VALIDATION_BATCH)]
    return Data(windows(config.train_split, True), {config.test_split: validation})


def _clips(config: RunConfig, split: str) -> list[Clip]:
    if config.dataset == "3dhp":
        return load_dhp(config.data, split)
    return load_h36m(config.data, split, config.keypoints)


def steps_per_epoch(source: Source, batch: int) -> int:
    """Steps after which as many windows were drawn as there are, each counted with its mirror image."""
    return -(-2 * len(source) // batch)
