"""The model as torch runs it, operation by operation, on any device that torch knows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from pstmo_ros.core.bundle import Bundle
from pstmo_ros.core.types import Floats
from pstmo_ros.engines.deployed import deployed, exported
from pstmo_ros.engines.engine import Engine, Options, Recipe


class EagerEngine(Engine):
    """Eager torch. model: a module or an exported program's module, (B, N, 17, C) -> (B, 17, O)."""

    def __init__(self, model: torch.nn.Module, options: Options) -> None:
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model = model.to(self._device)
        if options.threads:
            torch.set_num_threads(options.threads)
        self.name = f"torch ({self._device.type})"

    @torch.inference_mode()
    def infer(self, windows: Floats) -> Floats:
        x = torch.from_numpy(np.ascontiguousarray(windows, np.float32)).to(self._device)
        return self._model(x).float().cpu().numpy()


def torch_engine(bundle: Bundle, options: Options) -> EagerEngine:
    """Nothing is compiled: the deployed graph as it is."""
    return EagerEngine(deployed(bundle, _precision(options)), options)


def torch_program(bundle: Bundle, options: Options) -> Recipe:
    """The deployed graph as a file that torch.export.load reads without this package."""

    def write(folder: Path) -> None:
        torch.export.save(exported(bundle, precision), folder / "model.pt2")

    def read(folder: Path) -> EagerEngine:
        return EagerEngine(torch.export.load(folder / "model.pt2").module(), options)

    precision = _precision(options)
    return Recipe(f"torch {torch.__version__}", bundle, ("torch", torch.__version__, precision), write, read)


def _precision(options: Options) -> str:
    if options.settled != "fp32" and not torch.cuda.is_available():
        raise ValueError(f"precision {options.precision!r}: engine torch runs in fp32 on a CPU; give auto or fp32")
    return options.settled
