"""The model compiled by TensorRT (torch_tensorrt.dynamo) for NVIDIA GPUs, desktop and Jetson."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import torch

from pstmo_ros.core.bundle import Bundle
from pstmo_ros.core.types import Floats
from pstmo_ros.engines import cache
from pstmo_ros.engines.cuda_graphs import BUCKETS, need_gpu
from pstmo_ros.engines.deployed import exported
from pstmo_ros.engines.engine import Engine, Options, Recipe

_FILE = "model.ep"


class TensorRtEngine(Engine):
    """A compiled program, any batch up to the largest bucket at once; larger ones run in several pieces."""

    def __init__(self, module: Callable[[torch.Tensor], Any], bundle: Bundle, precision: str) -> None:
        super().__init__(bundle.golden_x.shape[1:], bundle.golden_y.shape[1:])
        self._module = module
        self.name = f"tensorrt ({torch.cuda.get_device_name()}, {precision})"

    @torch.inference_mode()
    def _run(self, windows: Floats) -> Floats:
        x = torch.from_numpy(windows).pin_memory().cuda(non_blocking=True)
        return torch.cat([self._poses(part) for part in x.split(BUCKETS[-1])]).float().cpu().numpy()

    def _poses(self, x: torch.Tensor) -> torch.Tensor:
        y = self._module(x)
        return y[0] if isinstance(y, (tuple, list)) else y  # a loaded program may give a tuple of one


def tensorrt_engine(bundle: Bundle, options: Options) -> Recipe:
    """Compiled where it runs: an engine of another GPU or TensorRT version is of no use here."""
    need_gpu()
    try:
        trt = importlib.import_module("torch_tensorrt")
    except Exception as e:  # a library that it does not find is an OSError
        release = ".".join(torch.__version__.split(".")[:2])
        raise ImportError(
            f"torch_tensorrt is missing, or not made for this torch ({e}): pip install torch_tensorrt=={release}.*; "
            "on a Jetson, NVIDIA's for your JetPack"
        ) from e
    shape = bundle.golden_x.shape[1:]

    def write(folder: Path) -> None:
        program = exported(bundle, options.precision, "cuda", options.people, BUCKETS[-1])
        accepted = inspect.signature(trt.dynamo.compile).parameters
        gpu = re.sub(r"\W+", "_", torch.cuda.get_device_name())  # TensorRT refuses timings of another
        with cache.shared(f"tensorrt_timing_{trt.__version__}_{gpu}.bin", folder.parent) as timings:
            compiled = trt.dynamo.compile(
                program,
                arg_inputs=[trt.Input(**input_shapes(shape, options.people), dtype=torch.float32)],
                **compile_arguments(accepted, timings),
            )
        # As it is: versions after 2.8 would trace it again, and it would take the example's number of people alone.
        trt.save(compiled, str(folder / _FILE), retrace=False)

    def read(folder: Path) -> TensorRtEngine:
        return TensorRtEngine(trt.load(str(folder / _FILE)).module(), bundle, options.precision)

    return Recipe(f"TensorRT (torch_tensorrt {trt.__version__})", bundle, made_by(trt, options), write, read)


def made_by(trt: Any, options: Options) -> tuple[str, ...]:
    """What a compiled engine depends on: versions, the GPU, and the options that it was tuned for."""
    return (
        "tensorrt",
        trt.__version__,
        torch.__version__,
        str(torch.version.cuda),
        torch.cuda.get_device_name(),
        str(torch.cuda.get_device_capability()),
        options.precision,
        f"people {options.people}",
    )


def input_shapes(window: tuple[int, ...], people: int) -> dict[str, tuple[int, ...]]:
    """The range of batches that one engine serves, and the batch that it is tuned for. window: (N, 17, C)."""
    return {"min_shape": (1, *window), "opt_shape": (people, *window), "max_shape": (BUCKETS[-1], *window)}


def compile_arguments(accepted: Collection[str], timing_cache: Path) -> dict[str, Any]:
    """Settings of torch_tensorrt.dynamo.compile. accepted: the parameters that the installed version names.

    compile also takes any other keyword and ignores it, so what a version lacks must be known here: the types of the
    graph are kept as they are ("strong typing") by a switch in 2.8 (JetPack 6), and always in later ones.
    """
    wanted = {
        "use_explicit_typing": True,
        "disable_tf32": True,
        "min_block_size": 1,
        "timing_cache_path": str(timing_cache),
        "cache_built_engines": False,  # ours (engines.cache) keeps the whole program, and checks it
        "reuse_cached_engines": False,
    }
    return {name: value for name, value in wanted.items() if name in accepted}
