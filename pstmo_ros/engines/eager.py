"""The model as torch runs it, on the GPU where there is one; the reference every other engine is held to."""

from __future__ import annotations

import numpy as np
import torch

from pstmo_ros.core.bundle import Bundle
from pstmo_ros.core.types import Floats


class EagerEngine:
    """Eager torch in fp32."""

    def __init__(self, bundle: Bundle) -> None:
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model = bundle.model.to(self._device)
        self.name = f"torch ({self._device.type})"

    @torch.inference_mode()
    def __call__(self, windows: Floats) -> Floats:
        """(B, N, 17, C) -> (B, 17, 3) metres."""
        x = torch.from_numpy(np.ascontiguousarray(windows, np.float32)).to(self._device)
        return self._model(x).cpu().numpy()
