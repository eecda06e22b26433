"""The model as torch runs it, operation by operation, on any device that torch knows."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from pstmo_ros.core.bundle import Bundle
from pstmo_ros.core.types import Floats
from pstmo_ros.engines.deployed import deployed, exported
from pstmo_ros.engines.engine import Engine, Options, Recipe

log = logging.getLogger(__name__)


class EagerEngine(Engine):
    """Eager torch. model: the bundle's as a module or an exported program's module, (B, N, 17, C) -> (B, 17, O)."""

    def __init__(self, model: torch.nn.Module, bundle: Bundle, options: Options, device: str) -> None:
        super().__init__(bundle.golden_x.shape[1:], bundle.golden_y.shape[1:])
        self._model, self._device = model.to(device), device
        if options.threads:
            torch.set_num_threads(options.threads)
        self.name = f"torch ({device}, {options.settled})"

    @torch.inference_mode()
    def _run(self, windows: Floats) -> Floats:
        return self._model(torch.from_numpy(windows).to(self._device)).float().cpu().numpy()


def torch_engine(bundle: Bundle, options: Options) -> EagerEngine:
    """Nothing is compiled: the deployed graph as it is."""
    device = _device()
    return EagerEngine(deployed(bundle, _precision(options, device)), bundle, options, device)


def torch_program(bundle: Bundle, options: Options) -> Recipe:
    """The deployed graph as a file that torch.export.load reads without this package, on a device as here."""

    def write(folder: Path) -> None:
        torch.export.save(exported(bundle, precision, device), folder / "model.pt2")

    def read(folder: Path) -> EagerEngine:
        return EagerEngine(torch.export.load(folder / "model.pt2").module(), bundle, options, device)

    device = _device()  # a program names its device, and checks it
    precision = _precision(options, device)
    return Recipe(f"torch {torch.__version__}", bundle, ("torch", torch.__version__, device, precision), write, read)


def _device() -> str:
    """A GPU, if it works: one that is full, or too old for this torch, is no reason to have no engine at all."""
    if not torch.cuda.is_available():
        return "cpu"
    try:
        torch.ones(1, device="cuda").sum().item()
    except Exception as e:  # torch's own errors are of several kinds
        log.warning("torch sees a GPU and cannot use it (%s): engine torch runs on the CPU", e)
        return "cpu"
    return "cuda"


def _precision(options: Options, device: str) -> str:
    if options.settled != "fp32" and device == "cpu":
        raise ValueError(f"precision {options.precision!r}: engine torch runs in fp32 on a CPU; give auto or fp32")
    return options.settled
