"""The model as torch runs it, operation by operation, on any device that torch knows."""

from __future__ import annotations

from pathlib import Path

import torch

from pstmo_ros.core.bundle import Bundle
from pstmo_ros.core.types import Floats
from pstmo_ros.engines.deployed import deployed, exported
from pstmo_ros.engines.engine import Engine, Options, Recipe


class EagerEngine(Engine):
    """Eager torch. model: the bundle's as a module or an exported program's module, (B, N, 17, C) -> (B, 17, O)."""

    def __init__(self, model: torch.nn.Module, bundle: Bundle, options: Options) -> None:
        super().__init__(bundle.golden_x.shape[1:], bundle.golden_y.shape[1:])
        self._device = _device()
        self._model = model.to(self._device)
        if options.threads:
            torch.set_num_threads(options.threads)
        self.name = f"torch ({self._device})"

    @torch.inference_mode()
    def _run(self, windows: Floats) -> Floats:
        return self._model(torch.from_numpy(windows).to(self._device)).float().cpu().numpy()


def torch_engine(bundle: Bundle, options: Options) -> EagerEngine:
    """Nothing is compiled: the deployed graph as it is."""
    return EagerEngine(deployed(bundle, _precision(options)), bundle, options)


def torch_program(bundle: Bundle, options: Options) -> Recipe:
    """The deployed graph as a file that torch.export.load reads without this package, on a device as here."""

    def write(folder: Path) -> None:
        torch.export.save(exported(bundle, precision, device), folder / "model.pt2")

    def read(folder: Path) -> EagerEngine:
        return EagerEngine(torch.export.load(folder / "model.pt2").module(), bundle, options)

    precision, device = _precision(options), _device()  # a program names its device, and checks it
    return Recipe(f"torch {torch.__version__}", bundle, ("torch", torch.__version__, device, precision), write, read)


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _precision(options: Options) -> str:
    if options.settled != "fp32" and not torch.cuda.is_available():
        raise ValueError(f"precision {options.precision!r}: engine torch runs in fp32 on a CPU; give auto or fp32")
    return options.settled
