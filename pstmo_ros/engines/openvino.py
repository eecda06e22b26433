"""The model compiled by OpenVINO for CPUs: the embedded default where there is no NVIDIA GPU."""

from __future__ import annotations

import numpy as np
import torch

from pstmo_ros.core.bundle import Bundle
from pstmo_ros.core.types import Floats


class OpenVinoEngine:
    """OpenVINO on the CPU in fp32, any batch size."""

    def __init__(self, bundle: Bundle) -> None:
        try:
            import openvino as ov
        except ImportError as e:
            raise ImportError("openvino is not installed: pip install openvino") from e
        # Two examples: a batch of one would be baked into the graph as a constant.
        example = torch.from_numpy(bundle.golden_x[:2])
        batch = torch.export.Dim("batch", min=1, max=1024)
        program = torch.export.export(bundle.model, (example,), dynamic_shapes=({0: batch},), strict=False)
        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        compiled = ov.compile_model(ov.convert_model(program), "CPU", settings)  # type: ignore[attr-defined]
        self._request = compiled.create_infer_request()
        self.name = "openvino (cpu)"

    def __call__(self, windows: Floats) -> Floats:
        """(B, N, 17, C) -> (B, 17, 3) metres."""
        return self._request.infer([np.ascontiguousarray(windows, np.float32)], share_inputs=True)[0].copy()
