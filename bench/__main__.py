"""How fast everything is on this machine, in one run: docs/bench.json and docs/bench.md.

make bench        or    python -m bench [--parts engines lifter node] [--frames 27 81 243] [--people 1 2 10 32]
                                        [--rounds 5] [--loads 1x50 1x200 10x50] [--turns 3] [--out docs/bench]
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import resource
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from bench import engines, lifter
from pstmo_ros.core.bundle import load as load_bundle
from pstmo_ros.core.model_config import ModelConfig
from pstmo_ros.engines import model_path
from training import arguments

PARTS = ("engines", "lifter", "node")
MODELS = ("small", "realtime", "accurate")
CROWDS = (1, 2, 5, 10, 30)
_UNITS = {"AVX-512": "avx512f", "VNNI": "_vnni", "AMX": "amx_bf16"}  # what there is in /proc/cpuinfo of those
LOADS = ((1, 50.0), (1, 200.0), (10, 50.0))  # people, and messages a second
_positive = arguments.number(float, 0.01)


def load(text: str) -> tuple[int, float]:
    """One of LOADS: "10x50" are ten people, 50 messages a second."""
    people, _, rate_hz = text.partition("x")
    return arguments.count(people), _positive(rate_hz)


def frames(text: str) -> int:
    """A window's length that there are models of."""
    with arguments.why_not():
        return ModelConfig(frames=int(text)).frames


def model(text: str) -> str:
    """A model's name or file, once it has been read."""
    with arguments.why_not():
        load_bundle(model_path(text))
    return text


def machine() -> str:
    """The machine in a line, without its name."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        text = info.read_text()
        cpu = next((t.partition(":")[2].strip() for t in text.splitlines() if "model name" in t), cpu)
        cpu += "".join(f" {name}" for name, flag in _UNITS.items() if f"{flag} " in text)
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
        | {n.removesuffix("_ms"): round(1e3 * most / row[n]) for n in row if n.endswith("_ms") and n != "floor_ms"}
        for row in rows
        if row["people"] == most
    ]


def with_ratios(row: dict[str, Any]) -> dict[str, Any]:
    """A row of engines' times, and what they are to the plain model's and to the floor."""
    out = dict(row)
    for name in [n.removesuffix("_ms") for n in row if n.endswith("_ms") and n not in ("plain_ms", "floor_ms")]:
        out[f"plain / {name}"] = row["plain_ms"] / row[f"{name}_ms"]
        out[f"{name} / floor"] = row[f"{name}_ms"] / row["floor_ms"]
    return out


_ENGINES = """Engines: P-STMO-S, d = 256, random weights. `plain` is an eager model written the way the published
one is, on the same device; `floor` is the model's matrix products at the rate of one large product in fp32. `bf16`,
`fp16` and `int8`, where the machine has units for them, are what these precisions give; `off` how far their poses,
whose joints are half a metre from the pelvis, are from fp32's in the mean."""
_NODE = """The node as a process of its own, over DDS, beside a bare relay of the same messages: latency from
sending the keypoints to receiving the skeletons, processor time per frame, and resident memory. Between messages that
come 20 ms apart, whatever else runs on the machine takes the caches; at 200 a second it has no time to."""


def page(data: Mapping[str, Any], command: str) -> str:
    """What was measured, as Markdown. data: as ``main`` writes it to the JSON file."""
    title = f"# How fast on {data['machine'].partition(';')[0]}"
    parts = [f"{title}\n\n`{command}` on {data['machine']}. Medians; peak memory of the run {data['peak_memory']}."]
    if "engines" in data:
        parts += [_ENGINES, table(data["engines"])]
        parts += ["The same as windows a second, of the largest batch:", table(throughput(data["engines"]))]
    if "lifter" in data:
        parts += ["`PoseLifter.step` with the bundled models, ms per frame:", table(data["lifter"])]
    if "node" in data:
        parts += [_NODE, table(data["node"])]
        messages = "From keypoints' message to what the lifter takes in, and from its poses to the skeletons' message:"
        parts += [messages, table(data["messages"])]
        starts = "From a process' start to an active node, beyond the time that importing torch takes:"
        parts += [starts, table([data["starts"]])]
    return "\n\n".join(parts) + "\n"


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="node needs ROS 2, the others do not")
    parser.add_argument("--frames", type=frames, nargs="+", default=[27, 81, 243])
    parser.add_argument("--people", type=arguments.count, nargs="+", default=[1, 2, 10, 32])
    parser.add_argument("--rounds", type=arguments.count, default=5)
    parser.add_argument("--models", type=model, nargs="+", default=MODELS, help="that lifter and node run with")
    parser.add_argument(
        "--steps", type=arguments.count, default=600, help="frames that the lifter is given for each number of people"
    )
    parser.add_argument("--loads", nargs="+", type=load, default=LOADS, metavar="PEOPLExHZ", help="of the node")
    parser.add_argument("--seconds", type=_positive, default=18.0, help="of messages in all, for each node")
    parser.add_argument(
        "--turns", type=arguments.count, default=3, help="that relay and nodes take, for as long in all"
    )
    parser.add_argument("--out", type=Path, default=Path("docs/bench"), help="without ending")
    given = parser.parse_args(args)
    try:  # now, not after minutes of measuring
        given.out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        parser.error(f"argument --out: {e}")
    if "node" in given.parts:
        from bench import node  # without ROS 2, it fails here
    logging.getLogger("pstmo_ros.engines").setLevel(logging.ERROR)  # what this machine lacks has no column
    data: dict[str, Any] = {"machine": machine()}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder  # random weights are not worth keeping; nodes have it, too
        if "engines" in given.parts:
            rows = engines.measure(tuple(given.frames), tuple(given.people), given.rounds, Path(folder))
            data["engines"] = [with_ratios(row) for row in rows]
        if "lifter" in given.parts:
            data["lifter"] = [row for m in given.models for row in lifter.measure(m, CROWDS, given.steps)]
        if "node" in given.parts:
            data["node"] = node.measure(tuple(given.models), tuple(given.loads), given.seconds, given.turns)
            data["messages"] = node.conversions(CROWDS)
            data["starts"] = node.starts()
    data["peak_memory"] = f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB"
    if torch.cuda.is_available():
        data["peak_memory"] += f", {torch.cuda.max_memory_reserved() / 2**20:.0f} MB on the GPU"
    Path(f"{given.out}.json").write_text(json.dumps(data, indent=1) + "\n")
    report = page(data, f"python -m bench {' '.join(sys.argv[1:] if args is None else args)}".strip())
    Path(f"{given.out}.md").write_text(report)
    print(report)


if __name__ == "__main__":
    main()
