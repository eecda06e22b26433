"""Compile a model ahead of its first start, so that the node need not: `ros2 run pstmo_ros compile`.

    ros2 run pstmo_ros compile MODEL --engine tensorrt|openvino|torch [--precision fp32|fp16|bf16|int8] [-o FILE]
    python -m training.export MODEL ...        the same from the source tree

Run it on the machine that the node runs on: what is compiled goes into the cache that the node looks into. -o writes
the compiled files elsewhere as well, for other programs; the node does not need them. Those of torch are for such
programs alone: the node's engine torch compiles nothing.
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

log = logging.getLogger(__name__)

COMPILED: dict[str, Callable[[Bundle, Options], Any]] = {
    "tensorrt": ENGINES["tensorrt"],
    "openvino": ENGINES["openvino"],
    "torch": torch_program,
}


def compile_engine(
    model: str | Path, engine: str, options: Options, out: Path | None = None, look_ahead_s: float = 0.0
) -> str:
    """Compile anew, prove, and store in the cache; returns the engine's name and where it is.

    engine: one of COMPILED. out: also write the compiled file there (OpenVINO's weights go beside it, as .bin).
    look_ahead_s: as the node's; each has a compiled model of its own. ValueError when the model has no such one.
    EngineError when no precision asked for passes, or the result is kept nowhere; BundleError for a bad model file;
    Unavailable without the device; ValueError and OSError for an out that cannot be written.
    """
    bundle = bundles.load(model_path(model)).at(look_ahead_s)
    if out is not None:
        _may_write(out, engine, bundle)
    failures = []
    also = None if out is None else functools.partial(_copy, out=out)
    for tried in in_precisions(engine, options):
        recipe: Recipe = COMPILED[engine](bundle, tried)
        try:
            built = cache.build(recipe, functools.partial(self_test, bundle=bundle, options=tried), also)
        except OSError:  # no other precision would mend that
            raise
        except Exception as e:  # a compiler may fail in any way
            failures.append(f"{tried.precision}: {type(e).__name__}: {e}")
            log.warning("%s cannot compile this model in %s", engine, failures[-1])
            continue
        kept = [f"cached in {cache.entry(recipe)}"] if cache.holds(recipe) else []
        if not kept and out is None:
            raise EngineError(
                f"{built.name} was compiled, but cannot be kept in {cache.entry(recipe)}, where the node looks for it; "
                "make room there, or set XDG_CACHE_HOME, here and for the node, to a folder that can be written"
            )
        return ", ".join([built.name, *kept, *([] if out is None else [f"written to {out}"])])
    raise EngineError(f"{engine} cannot compile {model}; {'; '.join(failures)}")


def _may_write(out: Path, engine: str, bundle: Bundle) -> None:
    """Make its folder, before minutes of compiling; ValueError where ``_copy`` would write over what it should not."""
    if out.is_dir():
        raise ValueError(f"-o {out} is a folder; give a file's name in it")
    if engine == "openvino" and out.suffix == ".bin":
        raise ValueError(f"-o {out}: OpenVINO's weights go there; give the model's name, {out.with_suffix('.xml')}")
    if bundle.path and out.exists() and out.samefile(bundle.path):
        raise ValueError(f"-o {out} is the model file; give another name")
    out.parent.mkdir(parents=True, exist_ok=True)


def _copy(made: Path, out: Path) -> None:
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
    except (ValueError, EngineError, ImportError, OSError, Unavailable) as e:
        sys.exit(f"compile: {e}")


if __name__ == "__main__":
    main()
