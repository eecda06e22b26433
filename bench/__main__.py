"""How fast everything is on this machine, in one run: docs/bench.json and docs/bench.md.

make bench        or    python -m bench [--frames 27 81 243] [--people 1 2 10 32] [--rounds 5] [--out docs/bench]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from bench import engines, lifter, node

MODELS = ("small", "realtime", "accurate")
LOADS = ((1, 50.0), (1, 200.0), (10, 50.0))  # people, and messages a second


def machine() -> str:
    """The machine in a line, without its name."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        cpu = next((t.partition(":")[2].strip() for t in info.read_text().splitlines() if "model name" in t), cpu)
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{cpu}, {os.cpu_count()} cores{gpu}; Python {platform.python_version()}, torch {torch.__version__}"


def table(rows: Sequence[dict]) -> str:
    """Rows as Markdown, with a dash where one lacks what another has."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [names, ["---:"] * len(names)]
    lines += [[f"{v:.2f}" if isinstance(v := r.get(n, "–"), float) else str(v) for n in names] for r in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def throughput(rows: Sequence[dict]) -> list[dict]:
    """Windows a second of each engine at each N, of the batch with the most people."""
    most = max(row["people"] for row in rows)
    return [
        {"frames": row["frames"], "people": most}
        | {k[:-3]: round(1e3 * most / v) for k, v in row.items() if k.endswith("_ms") and k != "floor_ms"}
        for row in rows
        if row["people"] == most
    ]


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[27, 81, 243])
    parser.add_argument("--people", type=int, nargs="+", default=[1, 2, 10, 32])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--models", nargs="+", default=MODELS, help="that lifter and node run with")
    parser.add_argument(
        "--steps", type=int, default=600, help="frames that the lifter is given for each number of people"
    )
    parser.add_argument("--seconds", type=float, default=15.0, help="of messages, for each node")
    parser.add_argument("--out", type=Path, default=Path("docs/bench"), help="without ending")
    given = parser.parse_args(args)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder  # random weights are not worth keeping
        models = engines.measure(tuple(given.frames), tuple(given.people), given.rounds, Path(folder))
        steps = [row for model in given.models for row in lifter.measure(model, (1, 2, 5, 10, 30), given.steps)]
    nodes, starts = node.measure(tuple(given.models), LOADS, given.seconds), node.starts()
    memory = f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB"
    if torch.cuda.is_available():
        memory += f", {torch.cuda.max_memory_reserved() / 2**20:.0f} MB on the GPU"
    for row in models:
        for name in [n for n in row if n.endswith("_ms") and n not in ("plain_ms", "floor_ms")]:
            row[f"plain / {name[:-3]}"] = row["plain_ms"] / row[name]  # type: ignore[operator]
            row[f"{name[:-3]} / floor"] = row[name] / row["floor_ms"]  # type: ignore[operator]
    report = f"""# How fast

`make bench` on {machine()}. Medians; peak memory of the run {memory}.

Engines: P-STMO-S, d = 256, random weights. `plain` is an eager model written the way the published one is, on the same
device; `floor` is the model's matrix products at the rate of one large product in fp32. `bf16` and `fp16`, where the
machine has units for them, are what these precisions give, which are `auto`'s choice there; `off` how far their poses
(of bodies of about a metre) are from fp32's in the mean.

{table(models)}

The same as windows a second, of the largest batch:

{table(throughput(models))}

`PoseLifter.step` with the bundled models, ms per frame:

{table(steps)}

The node as a process of its own, over DDS, beside a bare relay of the same messages: latency from the keypoints' stamp
to the skeletons' arrival, and processor time per frame. Between messages that come 20 ms apart, whatever else runs on
the machine takes the caches; of 200 a second that is no matter.

{table(nodes)}

From a process' start to an active node, beyond the time that importing torch takes:

{table([starts])}
"""
    given.out.parent.mkdir(parents=True, exist_ok=True)
    data = {
        "machine": machine(),
        "engines": models,
        "lifter": steps,
        "node": nodes,
        "starts": starts,
        "peak_memory": memory,
    }
    given.out.with_suffix(".json").write_text(json.dumps(data, indent=1) + "\n")
    given.out.with_suffix(".md").write_text(report)
    print(report)


if __name__ == "__main__":
    main()
