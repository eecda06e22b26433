"""The model on an NVIDIA GPU as captured CUDA graphs: one launch for everything, one graph per batch size."""

from __future__ import annotations

import bisect
from collections.abc import Iterator

import numpy as np
import torch

from pstmo_ros.core.bundle import Bundle
from pstmo_ros.core.types import Floats
from pstmo_ros.engines.deployed import deployed
from pstmo_ros.engines.engine import Engine, Options, Unavailable

BUCKETS = (1, 2, 4, 8, 16, 32)
_WARM_UPS = 3  # before a capture: libraries allocate and choose their kernels


class CudaGraphsEngine(Engine):
    """Batches run in the smallest bucket that holds them, larger ones in several pieces."""

    def __init__(self, bundle: Bundle, precision: str) -> None:
        model = deployed(bundle, precision).cuda()
        self._captured = {size: _Captured(model, bundle.golden_x[:1], size) for size in BUCKETS}
        self.name = f"cuda_graphs ({torch.cuda.get_device_name()}, {precision})"

    def infer(self, windows: Floats) -> Floats:
        pieces = [self._captured[bucket].run(windows[part]) for bucket, part in batches(len(windows))]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def cuda_graphs_engine(bundle: Bundle, options: Options) -> CudaGraphsEngine:
    """Captured at every start, which takes less time than reading a file."""
    need_gpu()
    return CudaGraphsEngine(bundle, options.precision)


def need_gpu() -> None:
    """Unavailable where torch sees no NVIDIA GPU."""
    if not torch.cuda.is_available():
        raise Unavailable("torch sees no NVIDIA GPU")


def batches(people: int) -> Iterator[tuple[int, slice]]:
    """The buckets that a batch runs in, and which of its windows each takes."""
    for start in range(0, people, BUCKETS[-1]):
        count = min(people - start, BUCKETS[-1])
        yield BUCKETS[bisect.bisect_left(BUCKETS, count)], slice(start, start + count)


class _Captured:
    """One bucket: its graph, and the buffers on either side that the graph reads and writes."""

    def __init__(self, model: torch.nn.Module, window: Floats, size: int) -> None:
        self._in_host = torch.from_numpy(window).repeat(size, 1, 1, 1).pin_memory()
        self._in = self._in_host.cuda()
        self._graph = torch.cuda.CUDAGraph()
        with torch.inference_mode():
            aside = torch.cuda.Stream()
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(_WARM_UPS):
                    model(self._in)
            torch.cuda.current_stream().wait_stream(aside)
            with torch.cuda.graph(self._graph):
                self._out = model(self._in)
        self._out_host = torch.empty(self._out.shape, pin_memory=True)

    @torch.inference_mode()
    def run(self, windows: Floats) -> Floats:
        """Rows beyond the windows given keep what was there: people do not see each other in the model."""
        count = len(windows)
        self._in_host.numpy()[:count] = windows
        self._in.copy_(self._in_host, non_blocking=True)
        self._graph.replay()
        self._out_host.copy_(self._out, non_blocking=True)
        torch.cuda.current_stream().synchronize()
        return self._out_host.numpy()[:count].copy()
