"""How a model runs. ``load_engine`` picks one, proves it on the model file's golden tensors and falls back loudly.

An engine is a callable: (B, N, 17, C) float32 numpy, model coordinates -> (B, 17, 3) float32 numpy, metres.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from pstmo_ros.core import bundle as bundles
from pstmo_ros.core.bundle import Bundle
from pstmo_ros.core.layouts import nearest
from pstmo_ros.core.types import Floats
from pstmo_ros.engines.self_test import self_test

log = logging.getLogger(__name__)

_MODELS = Path(__file__).parents[1] / "models"


class Engine(Protocol):
    """A model ready to run."""

    name: str

    def __call__(self, windows: Floats) -> Floats:
        """(B, N, 17, C) float32 model coordinates, NaN where a joint is missing -> (B, 17, 3) float32 metres."""
        ...


class EngineError(RuntimeError):
    """No engine could run the model; the message lists each one tried and why it failed."""


def _torch(bundle: Bundle) -> Engine:
    from pstmo_ros.engines.eager import EagerEngine

    return EagerEngine(bundle)


def _openvino(bundle: Bundle) -> Engine:
    from pstmo_ros.engines.openvino import openvino_engine

    return openvino_engine(bundle)


ENGINES: dict[str, Callable[[Bundle], Engine]] = {"openvino": _openvino, "torch": _torch}
CHOICES = ("auto", *ENGINES)


def load_engine(model: str | Path | Bundle, engine: str = "auto") -> Engine:
    """An engine for a model file, self-tested.

    model: a Bundle, a path, or the name of a bundled model ("realtime").
    engine: "auto" takes the fastest that this machine can run and falls back to the next one with a warning;
    a name takes that one or raises EngineError. ValueError for an unknown name, BundleError for a bad model file.
    """
    if engine not in CHOICES:
        raise ValueError(f"engine {engine!r} is unknown; {nearest(engine, CHOICES)}")
    bundle = model if isinstance(model, Bundle) else bundles.load(model_path(model))
    failures = []
    for name in _preferred() if engine == "auto" else (engine,):
        try:
            built = ENGINES[name](bundle)
            error_mm = self_test(built, bundle)
        except Exception as e:  # a backend may fail in any way; the next one, or the error below, says so
            failures.append(f"{name}: {type(e).__name__}: {e}")
            log.warning("engine %s cannot run this model (%s: %s)", name, type(e).__name__, e)
            continue
        log.info("engine %s reproduces the golden poses to %.4f mm", name, error_mm)
        return built
    raise EngineError(f"no engine can run the model; tried {'; '.join(failures)}")


def model_path(model: str | Path) -> Path:
    """Path of a model file: a bundled model's name, or a path as given. BundleError names the bundled ones."""
    path = Path(model)
    if path.suffix or path.exists():
        return path
    bundled = _MODELS / f"{model}.safetensors"
    if not bundled.is_file():
        names = sorted(p.stem for p in _MODELS.glob("*.safetensors"))
        raise bundles.BundleError(
            f"model {str(model)!r} is neither a file nor a bundled model; {nearest(str(model), names)}"
        )
    return bundled


def _preferred() -> tuple[str, ...]:
    import torch

    return ("torch", "openvino") if torch.cuda.is_available() else ("openvino", "torch")
