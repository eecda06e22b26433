"""Who trains, and on what: one process or, started by torchrun, one for each device."""

from __future__ import annotations

import atexit
import os
from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.distributed.nn  # its functions keep the group that is there as they are imported, which DDP does, for good

from training.config import RunConfig
from training.outputs import check_file, check_run

_BF16_UNITS = ("amx_bf16", "avx512_bf16", "bf16")  # x86 (two kinds) and ARM


class Process(NamedTuple):
    """This process among those of the run: its number, how many there are, its device."""

    rank: int
    processes: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process reports, validates and writes for all."""
        return self.rank == 0


def join(config: RunConfig, resume: bool) -> Process:
    """Take part in the run that torchrun started, or be the only process.

    ValueError where this machine lacks the device, or what the run makes cannot be written or would take an earlier
    run's place.
    """
    check_run(config.run, resume)
    check_file("out", config.out)
    if "LOCAL_RANK" not in os.environ:
        return Process(0, 1, usable_device(config.device))
    on_gpu = config.device.startswith("cuda")
    device = usable_device(f"cuda:{os.environ['LOCAL_RANK']}" if on_gpu else config.device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if on_gpu else "gloo")
        atexit.register(dist.destroy_process_group)  # gloo's threads, alive in the interpreter's end, may abort it
    process = Process(dist.get_rank(), dist.get_world_size(), device)
    if config.batch % process.processes or config.batch < 2 * process.processes:
        raise ValueError(f"batch is {config.batch}; give each of the {process.processes} processes as many, 2 or more")
    return process


def usable_device(name: str) -> torch.device:
    """The device of that name; ValueError where torch cannot compute on it."""
    try:
        torch.ones(1, device=name).item()
    except (RuntimeError, AssertionError, ImportError) as e:
        raise ValueError(f"device is {name!r}, which does not work here: {str(e).partition(chr(10))[0]}") from None
    return torch.device(name)


def has_bf16(device: torch.device) -> bool:
    """Whether a device has units for bf16; false where torch does not know a CPU's, as older ones do not."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    ask = getattr(torch.cpu, "get_capabilities", None) if device.type == "cpu" else None
    return ask is not None and any(ask().get(name, False) for name in _BF16_UNITS)
