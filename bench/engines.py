"""Engines beside a plain eager model and beside what the machine's matrix products alone would take."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from pstmo_ros.core.bundle import save_bundle
from pstmo_ros.core.model import STMO
from pstmo_ros.core.model_config import ModelConfig
from pstmo_ros.engines import ENGINES, EngineError, Options, load_engine
from pstmo_ros.engines.engine import PRECISIONS
from training.bench_train import PlainModel
from training.parameters import flops

Times = dict[str, float]


def medians_ms(calls: dict[str, Callable[[], object]], rounds: int, turn_s: float = 0.1) -> Times:
    """Median time of each call in ms. They take turns, so that what else the machine does meets all of them."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            end = time.perf_counter() + turn_s
            while True:
                started = time.perf_counter()
                call()
                now = time.perf_counter()
                taken[name].append(now - started)
                if now > end:
                    break
    return {name: float(np.median(t)) * 1e3 for name, t in taken.items()}


def products(config: ModelConfig) -> float:
    """Floating-point operations of one window's matrix products, those of the attentions included."""
    tokens = [config.frames] * config.depth + [config.frames // 3**k for k in range(config.mofa_levels)]
    return flops(config) + sum(4 * n * n * config.dim for n in tokens)


def measure(frames: tuple[int, ...], people: tuple[int, ...], rounds: int, folder: Path) -> list[dict[str, object]]:
    """One row for each N and B: P-STMO-S at the paper's width with random weights. Times in ms, numpy to numpy."""
    rows: list[dict[str, object]] = []
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    large, small = torch.randn(4096, 1024, device=device), torch.randn(1024, 1024, device=device)
    for n in frames:
        torch.manual_seed(0)
        config = ModelConfig(frames=n, stride=1)
        golden = 0.3 * np.random.default_rng(0).standard_normal((4, n, 17, 2)).astype(np.float32)
        model = STMO(config)
        with torch.no_grad():
            model.head.fc.weight.mul_(0.5)  # joints half a metre from the pelvis, as bodies' are
        bundle = save_bundle(folder / f"{n}.safetensors", model, "rays", {"data": "none"}, golden)
        engines = {}
        for name, precision in itertools.product(ENGINES, PRECISIONS[1:]):
            try:
                engine = load_engine(bundle, name, Options(precision=precision))
            except EngineError:
                continue
            engines[name if precision == "fp32" else f"{name}_{precision}"] = engine
        plain = PlainModel(config).to(device).eval()
        for b in people:
            windows = np.resize(golden, (b, n, 17, 2))
            x = torch.from_numpy(windows)
            calls: dict[str, Callable[[], object]] = {
                "plain": lambda x=x, plain=plain: plain(x.to(device))[0].cpu()  # type: ignore[misc]
            }
            calls |= {name: lambda e=e, w=windows: e.infer(w) for name, e in engines.items()}  # type: ignore[misc]
            calls["large product"] = lambda: (large @ small)[:1].cpu()  # which waits for it
            with torch.inference_mode():
                times = medians_ms(calls, rounds)
            product_ms = times.pop("large product")
            floor = product_ms * b * products(config) / (2 * large.numel() * small.shape[1])
            off = {
                f"{name}_off_mm": float(np.linalg.norm(e(golden) - bundle.golden_y, axis=-1).mean() * 1000)
                for name, e in engines.items()
                if name not in ENGINES
            }
            rows.append(
                {"frames": n, "people": b, "floor_ms": floor, **{f"{k}_ms": v for k, v in times.items()}, **off}
            )
    return rows
