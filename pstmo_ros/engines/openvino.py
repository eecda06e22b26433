"""The model compiled by OpenVINO for CPUs: the embedded default where there is no NVIDIA GPU."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from pstmo_ros.core.bundle import Bundle
from pstmo_ros.core.types import Floats
from pstmo_ros.engines.deployed import exported
from pstmo_ros.engines.engine import Engine, Options, Recipe, Unavailable

_HINTS = {"fp32": "f32", "bf16": "bf16"}
_SMALL = 40e6  # multiply-adds of one window: a few ms on one core


class OpenVinoEngine(Engine):
    """OpenVINO on the CPU, any batch size. path: of an OpenVINO model. precision: fp32 or bf16."""

    def __init__(self, path: Path, precision: str, threads: int = 0) -> None:
        import openvino as ov

        # Threads are not bound to cores: a robot's other processes need them too.
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "ENABLE_CPU_PINNING": False,
        } | ({"INFERENCE_NUM_THREADS": threads} if threads else {})
        self.name = f"openvino (cpu, {precision})"
        self._request = ov.Core().compile_model(path, "CPU", settings).create_infer_request()

    def infer(self, windows: Floats) -> Floats:
        return self._request.infer([np.ascontiguousarray(windows, np.float32)], share_inputs=True)[0].copy()


def openvino_engine(bundle: Bundle, options: Options) -> Recipe:
    """One graph for every batch size: static shapes measured no faster."""
    precision = options.settled
    if precision not in _HINTS:
        raise ValueError(f"precision {precision!r}: engine openvino runs in {' or '.join(_HINTS)} on a CPU")
    try:
        import openvino as ov
    except ImportError as e:
        raise ImportError("openvino is not installed: pip install openvino") from e

    if precision == "bf16" and "BF16" not in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise Unavailable("this CPU has no bf16 units; give precision auto or fp32")

    def write(folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch's, about itself
            model = ov.convert_model(exported(bundle))
        ov.save_model(model, folder / "model.xml", compress_to_fp16=False)

    return Recipe(
        f"OpenVINO {ov.__version__}",
        bundle,
        ("openvino", ov.__version__),
        write,
        lambda folder: OpenVinoEngine(folder / "model.xml", precision, options.threads or _threads(bundle)),
    )


def _threads(bundle: Bundle) -> int:
    """One for a model so small that threads would wait longer for each other than they work; else 0, for all cores."""
    weights = sum(p.numel() for p in bundle.model.parameters())
    return 1 if weights * bundle.config.frames < _SMALL else 0
