"""The model compiled by OpenVINO for CPUs: the embedded default where there is no NVIDIA GPU."""

from __future__ import annotations

import importlib
import logging
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pstmo_ros.core.bundle import Bundle
from pstmo_ros.core.types import Floats
from pstmo_ros.engines.deployed import exported
from pstmo_ros.engines.engine import Engine, Options, Recipe, Unavailable

log = logging.getLogger(__name__)

_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
_CPU = Path("/proc/cpuinfo")
_GROUP = 64  # so many weights, and so many of what they are multiplied with, share a scale in int8
# Multiply-adds of a batch that one core does in 2 ms. In a node, which rests between two frames, more cores are no
# sooner done with them: waking them takes as long as they save, and twice the processor time.
_SMALL = {"fp32": 80e6, "int8": 200e6, "bf16": 400e6}


def openvino() -> Any:
    """The module; ImportError where it is not installed.

    It reports each import to Google Analytics, and some fifty facts about each conversion, from as many forks of the
    process. A robot reports nothing, and a process that has threads does not fork: OpenVINO takes the reporter to be
    missing, and goes without.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return importlib.import_module("openvino")


class OpenVinoEngine(Engine):
    """OpenVINO on the CPU, any batch size. path: of an OpenVINO model. precision: fp32, bf16 or int8.

    threads: how many a batch of so many windows takes, 0 for one on each core.
    Batches of up to ``people`` windows have graphs of their own, whose shapes are fixed: working shapes out anew takes
    as long as a small model's products, and longer yet for a node whose caches are cold between two frames.
    """

    def __init__(self, path: Path, precision: str, threads: Callable[[int], int], people: int) -> None:
        self.name = f"openvino (cpu, {precision})"
        core = openvino().Core()
        model = core.read_model(path)

        def request(batch: int) -> Any:
            # Threads are not bound to cores: a robot's other processes need them too.
            settings = {
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_PRECISION_HINT": _HINTS[precision],
                "ENABLE_CPU_PINNING": False,
                "INFERENCE_NUM_THREADS": threads(batch),
            }
            if precision == "int8":
                settings["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = _GROUP
            return core.compile_model(model, "CPU", settings).create_infer_request()

        self._any, self._small = request(people + 1), {}
        _, *shape = model.input().partial_shape
        for batch in range(1, people + 1):
            model.reshape([batch, *shape])
            self._small[batch] = _Fixed(request(batch))
        super().__init__(tuple(d.get_length() for d in shape), tuple(model.output().shape)[1:])

    def _run(self, windows: Floats) -> Floats:
        if len(windows) in self._small:
            return self._small[len(windows)].infer(windows)
        return self._any.infer([windows], share_inputs=True)[0].copy()


class _Fixed:
    """A request whose input and output stay where they are."""

    def __init__(self, request: Any) -> None:
        self._request = request
        self._windows, self._poses = request.get_input_tensor().data, request.get_output_tensor().data

    def infer(self, windows: Floats) -> Floats:
        self._windows[:] = windows
        self._request.infer()
        return self._poses.copy()


def has_bf16() -> bool:
    """Whether OpenVINO is there and finds units for bf16 in this CPU, such as AMX."""
    try:
        return "BF16" in openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    except Exception as e:  # no installation, a broken one, or too old a one: loading the engine says so, and goes on
        log.debug("OpenVINO does not say what this CPU can do: %s", e)
        return False


def has_vnni() -> bool:
    """Whether this CPU multiplies numbers of eight bits four at a time, and OpenVINO uses that: x86, on Linux."""
    try:
        return re.search(r"\bavx(512)?_vnni\b", _CPU.read_text()) is not None
    except OSError:
        return False


def openvino_engine(bundle: Bundle, options: Options) -> Recipe:
    """As OpenVinoEngine; what is stored takes any batch size."""
    precision = options.settled
    if precision not in _HINTS:
        raise ValueError(f"precision {precision!r}: engine openvino runs in {', '.join(_HINTS)} on a CPU")
    try:
        ov = openvino()
        version = ov.__version__
    except Exception as e:  # a broken installation raises anything
        missing = isinstance(e, ModuleNotFoundError) and e.name == "openvino"
        why = "installed" if missing else f"made for this Python and NumPy, or is damaged ({type(e).__name__}: {e})"
        raise ImportError(f"openvino is not {why}: pip install openvino") from e

    if precision == "bf16" and not has_bf16():
        raise Unavailable("this CPU has no bf16 units; give precision auto or fp32")
    if precision == "int8" and not has_vnni():
        raise Unavailable("this CPU has no VNNI, which int8 needs; give precision auto or fp32")

    weights = "int8" if precision == "int8" else "fp32"  # bf16 is a matter of running them
    passes = 1 + bundle.config.mirrored
    per_window = passes * bundle.config.frames * sum(p.numel() for p in bundle.model.parameters())

    def threads(batch: int) -> int:
        """Those asked for; else one for little work, and 0, for all cores, for more."""
        return options.threads or int(batch * per_window < _SMALL[precision])

    def write(folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch's, about itself
            model = ov.convert_model(_spelled_out(exported(bundle)))
        model.reshape([-1, *bundle.golden_x.shape[1:]])
        if weights == "int8":
            _round_weights(model)
        ov.save_model(model, folder / "model.xml", compress_to_fp16=False)

    return Recipe(
        f"OpenVINO {version}",
        bundle,
        ("openvino", version, weights),
        write,
        lambda folder: OpenVinoEngine(folder / "model.xml", precision, threads, options.people),
    )


def _round_weights(model: Any) -> None:
    """Weights (outputs, inputs) of the encoders' products as whole numbers of eight bits, and their scales.

    OpenVINO then rounds what they are multiplied with as it comes. The first product and the heads' have other shapes,
    and stay in fp32: they read and give coordinates.
    """
    opset = importlib.import_module("openvino.opset13")
    for product in [op for op in model.get_ops() if op.get_type_name() == "MatMul"]:
        weights = product.input_value(1).get_node()
        if weights.get_type_name() != "Constant" or any(n % _GROUP for n in weights.shape):
            continue
        grouped = weights.data.reshape(len(weights.data), -1, _GROUP)
        scale = np.maximum(abs(grouped).max(-1, keepdims=True), 1e-12) / 127
        rounded = opset.convert(opset.constant(np.rint(grouped / scale).astype(np.int8)), "f32")
        scaled = opset.reshape(opset.multiply(rounded, opset.constant(scale)), weights.shape, special_zero=False)
        product.input(1).replace_source_output(scaled.output(0))


def _spelled_out(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Slices with a dimension, a start and an end: torch 2.8 leaves out the defaults, without which OpenVINO 2026.4
    cannot read them. (What is given is other than them, for conversion traces once more.)"""
    for node in program.graph.nodes:
        if node.target == torch.ops.aten.slice.Tensor:
            node.args = (*node.args, *(0, 0, sys.maxsize)[len(node.args) - 1 :])
    return program
