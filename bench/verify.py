"""One engine in one precision on this machine: does it prove itself? What `make verify-gpu` runs for each.

python -m bench.verify MODEL ENGINE PRECISION
"""

from __future__ import annotations

import logging
import sys

from pstmo_ros.engines import EngineError, Options, load_engine


def main(args: list[str]) -> None:
    model, engine, precision = args
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        print(f"PASSED {load_engine(model, engine, Options(precision=precision)).name}")
    except EngineError as e:
        sys.exit(f"FAILED {engine} in {precision}: {e}")


if __name__ == "__main__":
    main(sys.argv[1:])
