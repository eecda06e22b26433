"""Compile a model ahead of its first start, so that the node need not: `ros2 run pstmo_ros compile`.

    ros2 run pstmo_ros compile MODEL --engine tensorrt|openvino|torch [--precision fp32|fp16|bf16|int8] [-o FILE]
    python -m training.export MODEL ...        the same from the source tree

Run it on the machine that the node runs on: what is compiled goes into the cache that the node looks into. -o writes
the compiled files elsewhere as well, for other programs; the node does not need them.
"""

from __future__ import annotations

import argparse
import functools
import logging
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pstmo_ros.core import bundle as bundles
from pstmo_ros.core.bundle import Bundle
from pstmo_ros.engines import ENGINES, EngineError, Unavailable, cache, in_precisions, model_path
from pstmo_ros.engines.eager import torch_program
from pstmo_ros.engines.engine import PRECISIONS, Options, Recipe
from pstmo_ros.engines.self_test import self_test

COMPILED: dict[str, Callable[[Bundle, Options], Any]] = {
    "tensorrt": ENGINES["tensorrt"],
    "openvino": ENGINES["openvino"],
    "torch": torch_program,
}


def compile_engine(
    model: str | Path, engine: str, options: Options, out: Path | None = None, look_ahead_s: float = 0.0
) -> str:
    """Compile anew, prove, and store in the cache; returns the engine's name and the cache's folder.

    engine: one of COMPILED. out: also write the compiled file there (OpenVINO's weights go beside it, as .bin).
    look_ahead_s: as the node's; each has a compiled model of its own. ValueError when the model has no such one.
    EngineError when no precision asked for passes; BundleError for a bad model file; Unavailable without the device.
    """
    bundle = bundles.load(model_path(model)).at(look_ahead_s)
    failures = []
    also = None if out is None else functools.partial(_copy, out=out)
    for tried in in_precisions(engine, options):
        recipe: Recipe = COMPILED[engine](bundle, tried)
        try:
            built = cache.build(recipe, functools.partial(self_test, bundle=bundle, options=tried), also)
        except Exception as e:  # a compiler may fail in any way
            failures.append(f"{tried.precision}: {type(e).__name__}: {e}")
            continue
        return f"{built.name}, cached in {cache.entry(recipe)}"
    raise EngineError(f"{engine} cannot compile {model}; {'; '.join(failures)}")


def _copy(made: Path, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    for path in made.glob("model.*"):
        shutil.copyfile(path, out.with_suffix(path.suffix) if path.suffix == ".bin" else out)


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a bundled model's name, or a model file")
    parser.add_argument("--engine", choices=tuple(COMPILED), required=True)
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="auto",
        help="auto: the fastest that the machine has and the self-test allows",
    )
    parser.add_argument("--people", type=int, default=Options.people, help="the node's people")
    parser.add_argument("--look-ahead", type=float, default=0.0, metavar="SECONDS", help="the node's look_ahead_s")
    parser.add_argument("-o", dest="out", type=Path, metavar="FILE", help="write the compiled model there too")
    given = parser.parse_args(args)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        options = Options(precision=given.precision, people=given.people)
        print(compile_engine(given.model, given.engine, options, given.out, given.look_ahead))
    except (ValueError, EngineError, ImportError, Unavailable) as e:
        sys.exit(f"compile: {e}")


if __name__ == "__main__":
    main()
