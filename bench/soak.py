"""Ten minutes of the node as a robot has it: memory flat, nothing lost, latency bounded.

    python -m bench.soak [--minutes 10] [--people 3] [--rate 50] [--model realtime]

Exits with 1 where memory grows by 5 MB or more after the first minute, a frame is lost, or p99 exceeds two intervals.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

from bench.traffic import Traffic, crowd, lifter, send
from pstmo_ros.ros.graph import own_graph

SETTLE_S, GROWTH_MB = 60.0, 5.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rate", type=float, default=50)
    parser.add_argument("--people", type=int, default=3)
    parser.add_argument("--model", default="realtime")
    parser.add_argument("--engine", default="auto")
    args = parser.parse_args()
    own_graph()
    with lifter({"model": args.model, "engine": args.engine, "tracks.max_people": args.people}) as process:
        traffic = send(crowd(args.people), process.pid, args.rate, args.minutes * 60)
    return report(args, traffic)


def report(args: argparse.Namespace, traffic: Traffic) -> int:
    """Print the figures; -> 0 when all are as they should be."""
    memory = traffic.memory_mb
    settled = [mb for at, mb in memory if at >= min(SETTLE_S, memory[-1][0] / 2)]
    growth, lost = settled[-1] - settled[0], traffic.sent - len(traffic.latency_ms)
    p50, p99, worst = np.percentile(traffic.latency_ms, (50, 99, 100))
    limit = 2000 / args.rate
    print(f"| {args.minutes:g} min, {args.rate:g} Hz, {args.people} people | measured | wanted |\n|---|---|---|")
    print(f"| frames sent / lost | {traffic.sent} / {lost} | 0 lost |")
    print(
        f"| memory after the first minute / growth since | {settled[0]:.0f} / {growth:+.1f} MB | < {GROWTH_MB:g} MB |"
    )
    print(f"| latency p50 / p99 / worst | {p50:.1f} / {p99:.1f} / {worst:.1f} ms | p99 < {limit:.0f} ms |")
    return int(lost > 0 or growth > GROWTH_MB or p99 > limit)


if __name__ == "__main__":
    sys.exit(main())
