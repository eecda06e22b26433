"""The model on an NVIDIA GPU as captured CUDA graphs: one launch for everything, one graph per batch size."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from typing import Any

import torch

from pstmo_ros.core.bundle import Bundle
from pstmo_ros.core.types import Floats
from pstmo_ros.engines.deployed import deployed
from pstmo_ros.engines.engine import Engine, Options, Unavailable

BUCKETS = (1, 2, 4, 8, 16, 32, 64)
_WARM_UPS = 3  # before a capture: libraries allocate and choose their kernels


class CudaGraphsEngine(Engine):
    """Batches run in the smallest bucket that holds them, larger ones in several pieces."""

    def __init__(self, bundle: Bundle, precision: str) -> None:
        super().__init__(bundle.golden_x.shape[1:], bundle.golden_y.shape[1:])
        model = self._model = deployed(bundle, precision).cuda()  # kept: graphs hold addresses, not weights
        pool = torch.cuda.graph_pool_handle()  # graphs run one after the other: what one works in serves the next
        self._captured = {size: _Captured(model, bundle.golden_x[:1], size, pool) for size in reversed(BUCKETS)}
        self._make_room(BUCKETS[-1])
        self.name = f"cuda_graphs ({torch.cuda.get_device_name()}, {precision})"

    @torch.inference_mode()
    def _run(self, windows: Floats) -> Floats:
        people = len(windows)
        if people > len(self._in):
            self._make_room(people)
        for bucket, part in batches(people):
            self._in.numpy()[part] = windows[part]  # while the GPU works on the piece before
            self._captured[bucket].run(self._in[part], self._out[part])
        torch.cuda.current_stream().synchronize()
        return self._out.numpy()[:people].copy()

    def _make_room(self, people: int) -> None:
        """Memory on the host's side that the GPU copies from and to by itself."""
        self._in = torch.empty(people, *self._window, pin_memory=True)
        self._out = torch.empty(people, *self._pose, pin_memory=True)


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

    def __init__(self, model: torch.nn.Module, window: Floats, size: int, pool: Any) -> None:
        self._in = torch.from_numpy(window).cuda().repeat(size, 1, 1, 1)
        self._graph = torch.cuda.CUDAGraph()
        with torch.inference_mode():
            aside = torch.cuda.Stream()
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(_WARM_UPS):
                    model(self._in)
            torch.cuda.current_stream().wait_stream(aside)
            with torch.cuda.graph(self._graph, pool=pool):
                self._out = model(self._in)

    def run(self, windows: torch.Tensor, poses: torch.Tensor) -> None:
        """Have the GPU read pinned windows and write pinned poses; nothing is waited for.

        Rows beyond the windows given keep what was there: people do not see each other in the model.
        """
        count = len(windows)
        self._in[:count].copy_(windows, non_blocking=True)
        self._graph.replay()
        poses.copy_(self._out[:count], non_blocking=True)
