"""One engine in one precision on this machine: does it prove itself? What `make verify-gpu` runs for each.

python -m bench.verify MODEL ENGINE PRECISION
"""

from __future__ import annotations

import argparse
import logging
import sys

from pstmo_ros.engines import ENGINES, EngineError, Options, load_engine
from pstmo_ros.engines.engine import PRECISIONS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL", help="a bundled model's name, or a model file")
    parser.add_argument("engine", metavar="ENGINE", choices=tuple(ENGINES), help=", ".join(ENGINES))
    parser.add_argument("precision", metavar="PRECISION", choices=PRECISIONS, help=", ".join(PRECISIONS))
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        print(f"PASSED {load_engine(args.model, args.engine, Options(precision=args.precision)).name}")
    except (ValueError, EngineError) as e:
        sys.exit(f"FAILED {args.engine} in {args.precision}: {e}")


if __name__ == "__main__":
    main()
