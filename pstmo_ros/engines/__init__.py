"""How a model runs. ``load_engine`` picks one, proves it on the model file's golden tensors and falls back loudly.

An engine is a callable: (B, N, 17, C) float32 numpy, model coordinates -> (B, 17, 3) float32 numpy, metres.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from pstmo_ros.core import bundle as bundles
from pstmo_ros.core.bundle import Bundle
from pstmo_ros.core.layouts import nearest
from pstmo_ros.engines import cache
from pstmo_ros.engines.engine import Engine, Options, Recipe, Unavailable
from pstmo_ros.engines.self_test import self_test

log = logging.getLogger(__name__)

_MODELS = Path(__file__).parents[1] / "models"


class EngineError(RuntimeError):
    """No engine could run the model; the message lists each one tried and why it failed."""


def _tensorrt(bundle: Bundle, options: Options) -> Recipe:
    from pstmo_ros.engines.tensorrt import tensorrt_engine

    return tensorrt_engine(bundle, options)


def _cuda_graphs(bundle: Bundle, options: Options) -> Engine:
    from pstmo_ros.engines.cuda_graphs import cuda_graphs_engine

    return cuda_graphs_engine(bundle, options)


def _openvino(bundle: Bundle, options: Options) -> Recipe:
    from pstmo_ros.engines.openvino import openvino_engine

    return openvino_engine(bundle, options)


def _torch(bundle: Bundle, options: Options) -> Engine:
    from pstmo_ros.engines.eager import torch_engine

    return torch_engine(bundle, options)


# Fastest first: the order in which "auto" tries them. What they need is imported when it is needed.
ENGINES: dict[str, Callable[[Bundle, Options], Engine | Recipe]] = {
    "tensorrt": _tensorrt,
    "cuda_graphs": _cuda_graphs,
    "openvino": _openvino,
    "torch": _torch,
}
CHOICES = ("auto", *ENGINES)
_ON_GPUS = ("tensorrt", "cuda_graphs")


def load_engine(model: str | Path | Bundle, engine: str = "auto", options: Options | None = None) -> Engine:
    """An engine for a model file, self-tested.

    model: a Bundle, a path, or the name of a bundled model ("small", "realtime", "accurate").
    engine: "auto" takes the fastest that this machine can run and falls back to the next one, saying why in the log;
    a name takes that one or raises EngineError. ValueError for an unknown name, BundleError for a bad model file.
    """
    options = options or Options()
    if engine not in CHOICES:
        raise ValueError(f"engine {engine!r} is unknown; {nearest(engine, CHOICES)}")
    bundle = model if isinstance(model, Bundle) else bundles.load(model_path(model))
    failures = []
    for name in ENGINES if engine == "auto" else (engine,):
        for tried in in_precisions(name, options):
            try:
                return _proven(name, bundle, tried)
            except Unavailable as e:
                failures.append(f"{name}: {e}")
                log.info("engine %s is not for this machine: %s", name, e)
                break
            except Exception as e:  # a backend may fail in any way; the next one, or the error below, says so
                failures.append(f"{name}: in {tried.precision}: {type(e).__name__}: {e}")
                log.warning("engine %s cannot run this model: %s", name, failures[-1].partition(": ")[2])
                if isinstance(e, ImportError):
                    break
    raise EngineError(f"no engine can run the model; tried {'; '.join(failures)}")


def in_precisions(name: str, options: Options) -> Iterator[Options]:
    """The precisions to try an engine in: "auto" is the fastest that the machine has and the self-test allows."""
    asked = (options.precision,) if options.precision != "auto" else (*_faster(name), "fp32")
    for precision in asked:
        yield dataclasses.replace(options, precision=precision)


def _faster(name: str) -> tuple[str, ...]:
    """The precision that an engine gains from here, if there is one."""
    if name == "openvino":
        from pstmo_ros.engines.openvino import has_bf16, has_vnni

        return ("bf16",) if has_bf16() else ("int8",) if has_vnni() else ()
    return ("fp16",) if name in _ON_GPUS else ()


def _proven(name: str, bundle: Bundle, options: Options) -> Engine:
    prove = functools.partial(self_test, bundle=bundle, options=options)
    made = ENGINES[name](bundle, options)
    if isinstance(made, Recipe):
        return cache.compiled(made, prove)
    prove(made)
    return made


def model_path(model: str | Path) -> Path:
    """Path of a model file: a bundled model's name, or a path as given. BundleError names the bundled ones."""
    path = Path(model)
    if path.suffix or os.path.isfile(path):  # Path.is_file raises for a name that is too long
        return path
    bundled = _MODELS / f"{model}.safetensors"
    if not os.path.isfile(bundled):
        names = sorted(p.stem for p in _MODELS.glob("*.safetensors"))
        raise bundles.BundleError(
            f"model {str(model)!r} is neither a file nor a bundled model; {nearest(str(model), names)}"
        )
    return bundled
