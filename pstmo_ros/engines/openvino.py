"""The model compiled by OpenVINO for CPUs: the embedded default where there is no NVIDIA GPU."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pstmo_ros.core.bundle import Bundle
from pstmo_ros.core.types import Floats
from pstmo_ros.engines import cache
from pstmo_ros.engines.self_test import self_test

log = logging.getLogger(__name__)

_SETTINGS = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}


class OpenVinoEngine:
    """OpenVINO on the CPU in fp32, any batch size. ``model``: an OpenVINO model or the path of one."""

    name = "openvino (cpu)"

    def __init__(self, model: Any) -> None:
        import openvino as ov

        self._request = ov.Core().compile_model(model, "CPU", _SETTINGS).create_infer_request()

    def __call__(self, windows: Floats) -> Floats:
        """(B, N, 17, C) -> (B, 17, 3) metres."""
        return self._request.infer([np.ascontiguousarray(windows, np.float32)], share_inputs=True)[0].copy()


def openvino_engine(bundle: Bundle) -> OpenVinoEngine:
    """The cached compilation if it proves itself, else a new one, which is cached."""
    try:
        import openvino as ov
    except ImportError as e:
        raise ImportError("openvino is not installed: pip install openvino") from e
    entry = cache.entry(bundle.sha256, "openvino", ov.__version__)
    if (cached := _cached(entry / "model.xml", bundle)) is not None:
        return cached
    log.info("compiling the model with OpenVINO %s (once; later starts use %s)", ov.__version__, entry)
    model = _convert(bundle)
    cache.store(entry, lambda folder: ov.save_model(model, folder / "model.xml", compress_to_fp16=False))
    return OpenVinoEngine(model)


def _cached(path: Path, bundle: Bundle) -> OpenVinoEngine | None:
    if not path.is_file():
        return None
    try:
        engine = OpenVinoEngine(path)
        self_test(engine, bundle)
    except Exception as e:  # whatever is wrong with a cache, compiling anew is right
        log.warning("cached model %s is not usable (%s); compiling again", path, e)
        return None
    return engine


def _convert(bundle: Bundle) -> Any:
    import openvino as ov

    # Two examples: a batch of one would be baked into the graph as a constant.
    example = torch.from_numpy(bundle.golden_x[:2])
    batch = torch.export.Dim("batch", min=1, max=1024)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's, about itself
        program = torch.export.export(bundle.model, (example,), dynamic_shapes=({0: batch},), strict=False)
        return ov.convert_model(program)
