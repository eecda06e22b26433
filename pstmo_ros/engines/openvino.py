"""The model compiled by OpenVINO for CPUs: the embedded default where there is no NVIDIA GPU."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from pstmo_ros.core.bundle import Bundle
from pstmo_ros.core.types import Floats
from pstmo_ros.engines.deployed import exported
from pstmo_ros.engines.engine import Engine, Options, Recipe, on_cpu

_SMALL = 40e6  # multiply-adds of one window: a few ms on one core


class OpenVinoEngine(Engine):
    """OpenVINO on the CPU in fp32, any batch size. path: of an OpenVINO model."""

    name = "openvino (cpu)"

    def __init__(self, path: Path, threads: int = 0) -> None:
        import openvino as ov

        # Threads are not bound to cores: a robot's other processes need them too.
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "ENABLE_CPU_PINNING": False,
        } | ({"INFERENCE_NUM_THREADS": threads} if threads else {})
        self._request = ov.Core().compile_model(path, "CPU", settings).create_infer_request()

    def infer(self, windows: Floats) -> Floats:
        return self._request.infer([np.ascontiguousarray(windows, np.float32)], share_inputs=True)[0].copy()


def openvino_engine(bundle: Bundle, options: Options) -> Recipe:
    """One graph for every batch size: static shapes measured no faster."""
    on_cpu(options.precision, "openvino")
    try:
        import openvino as ov
    except ImportError as e:
        raise ImportError("openvino is not installed: pip install openvino") from e

    def write(folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch's, about itself
            model = ov.convert_model(exported(bundle))
        ov.save_model(model, folder / "model.xml", compress_to_fp16=False)

    return Recipe(
        f"OpenVINO {ov.__version__}",
        bundle,
        ("openvino", ov.__version__, "fp32"),
        write,
        lambda folder: OpenVinoEngine(folder / "model.xml", options.threads or _threads(bundle)),
    )


def _threads(bundle: Bundle) -> int:
    """One for a model so small that threads would wait longer for each other than they work; else 0, for all cores."""
    weights = sum(p.numel() for p in bundle.model.parameters())
    return 1 if weights * bundle.config.frames < _SMALL else 0
