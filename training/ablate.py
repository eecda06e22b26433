"""The paper's ablations, row by row, on the open mocap set or on Human3.6M.

    python -m training.ablate components --seeds 1 2           Table 3, at a size for two CPU cores
    python -m training.ablate tds --rows 1 2 3                 Table 5, its first three rows
    python -m training.ablate sem --budget config/training/pstmo_s_243.yaml data=FOLDER    Table 4 as in the paper
    python -m training.ablate components steps=20              any setting can be changed, for every row

A budget is a configuration file of both stages; each row changes a setting or two of it. Rows and pre-trainings are
kept in --out by their settings: what is there is not run again, what was interrupted goes on, and tables share rows.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import TypeVar

from pstmo_ros.core import skeleton
from training import arguments, finetune, pretrain
from training.config import RunConfig, load_config
from training.finetune import FinetuneConfig
from training.outputs import begun, check_folder
from training.parameters import counted, flops
from training.pretrain import PretrainConfig

C = TypeVar("C", bound=RunConfig)
BUDGET = Path(__file__).parents[1] / "config" / "training" / "ablation.yaml"


@dataclass(frozen=True)
class Row:
    """cells: the row's first columns. changes: settings of both stages. stage_one: Stage I's own; None without MPM."""

    cells: tuple[str, ...]
    changes: tuple[str, ...]
    paper_mm: float | None
    stage_one: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Table:
    """One of the paper's tables: its title, the heads of its first columns, its rows."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[Row, ...]


_NO_TDS, _NO_MOFA = "model.stride=1", "model.mofa=false"
_COMPONENTS = ("SEM", "TEM", "MOFA", "MPM", "TDS")


def _component_row(used: str, changes: Sequence[str], paper_mm: float) -> Row:
    names = used.split()
    cells = tuple("x" if name in names else "" for name in _COMPONENTS)
    tds = () if "TDS" in names else (_NO_TDS,)
    return Row(cells, (*changes, *tds), paper_mm, () if "MPM" in names else None)


def _wider_for_transformer(budget: FinetuneConfig) -> str:
    """The paper's Transformer SEM has d = 544 where the others have 256; the same ratio, in whole joints' channels."""
    step = skeleton.J * budget.model.heads
    return f"model.dim={-(-2 * budget.model.dim // step) * step}"


def tables(budget: FinetuneConfig) -> dict[str, Table]:
    """The tables by name. Where a row has no TDS its stride is 1, else the budget's."""
    sem = (_NO_MOFA, _NO_TDS)
    mlp = [Row((f"MLP (L = {n})",), (f"model.sem_blocks={n}", *sem), mm) for n, mm in ((1, 46.0), (2, 45.9), (3, 46.1))]
    tds = [(27, 1, 48.2), (27, 3, 46.8), (27, 9, 46.1), (81, 1, 45.6), (81, 3, 44.1), (243, 1, 43.2), (243, 2, 43.0)]
    sizes = [(4, 2, 256, 43.0), (4, 3, 256, 42.8), (4, 4, 256, 42.9), (4, 5, 256, 43.3), (2, 3, 256, 44.4)]
    sizes += [(3, 3, 256, 43.1), (5, 3, 256, 43.4), (4, 3, 64, 44.9), (4, 3, 128, 43.7), (4, 3, 512, 45.5)]
    return {
        "components": Table(
            "Table 3: the effectiveness of different components",
            _COMPONENTS,
            (
                _component_row("SEM", ("model.tem=false", _NO_MOFA), 51.0),
                _component_row("TEM", ("model.sem=fc", _NO_MOFA), 49.6),
                _component_row("SEM TEM", (_NO_MOFA,), 46.0),
                _component_row("SEM TEM MOFA", (), 44.2),
                _component_row("SEM TEM MOFA MPM", (), 43.2),
                _component_row("SEM TEM MOFA MPM TDS", (), 43.0),
            ),
        ),
        "sem": Table(
            "Table 4: designs of SEM",
            ("Backbone",),
            (
                Row(("fc",), ("model.sem=fc", *sem), 49.6),
                Row(("Transformer",), ("model.sem=transformer", _wider_for_transformer(budget), *sem), 48.8),
                *mlp,
            ),
        ),
        "tds": Table(
            "Table 5: temporal downsampling rate s",
            ("N", "s", "RF"),
            tuple(
                Row((str(n), str(s), str(n * s)), (f"model.frames={n}", f"model.stride={s}"), mm, ())
                for n, s, mm in tds
            ),
        ),
        "sizes": Table(
            "Table 7: depth of TEM, depth of Stage I's decoder, width",
            ("L1", "LD", "d"),
            tuple(
                Row((str(a), str(b), str(d)), (f"model.depth={a}", f"model.dim={d}"), mm, (f"decoder_depth={b}",))
                for a, b, d, mm in sizes
            ),
        ),
        "pretraining": Table(
            "Stage II alone and after Stage I",
            ("Pre-training",),
            (Row(("none",), (), None), Row(("MPM",), (), None, ())),
        ),
        "masking": Table(
            "Fig. 5: masking ratios",
            ("q_T", "m_S"),
            tuple(
                Row((str(q), str(m)), (), None, (f"masking.temporal={q}", f"masking.spatial={m}"))
                for q, m in ((0.5, 0), (0.7, 0), (0.9, 0), (0, 2), (0, 7), (0, 12), (0.6, 2), (0.8, 2), (0.8, 5))
            ),
        ),
    }


def main() -> None:
    args = _arguments()
    try:
        table = tables(_config(FinetuneConfig, args, ()))[args.table]
        count = len(table.rows)
        if bad := [i for i in args.rows or () if not 1 <= i <= count]:
            raise ValueError(f"--rows holds {bad[0]}; {args.table} has the rows 1 to {count}")
        rows = [table.rows[i - 1] for i in args.rows or range(1, count + 1)]
        check_folder("--out", args.out)
        for row in rows:  # refused now, not after the hours that other rows take
            _config(FinetuneConfig, args, row.changes)
            if row.stage_one is not None:
                _config(PretrainConfig, args, [*row.changes, *row.stage_one])
        results = [[run_row(row, args, seed) for seed in args.seeds] for row in rows]
    except ValueError as e:
        raise SystemExit(f"ablate: {e}") from None
    print(report(table, rows, results, args))


def run_row(row: Row, args: argparse.Namespace, seed: int) -> float:
    """MPJPE in mm of a row with one seed, from its kept result or by training."""
    init = "" if row.stage_one is None else _pretrained(row, args, seed)
    config = _config(FinetuneConfig, args, [*row.changes, f"seed={seed}", f"init={init}"])
    run = Path(config.run)
    kept = run / "result.json"
    if not kept.is_file():
        print(f"{' '.join(row.cells)}, seed {seed}: {run}")
        started = time.monotonic()
        bundle = finetune.train(config, begun(config.run))
        assert bundle is not None
        figures = bundle.metadata["training"]["validation_mpjpe_mm"]
        result = {"mpjpe_mm": figures, "seconds": time.monotonic() - started, "config": dataclasses.asdict(config)}
        part = kept.with_suffix(".part")
        part.write_text(json.dumps(result, indent=1))
        part.replace(kept)
    return list(json.loads(kept.read_text())["mpjpe_mm"].values())[-1]


def report(table: Table, rows: Sequence[Row], results: Sequence[Sequence[float]], args: argparse.Namespace) -> str:
    """The table in the paper's shape: MPJPE as mean over seeds, with the range where there are several."""
    heads = [*table.heads, "Params (M)", "FLOPs (M)", "MPJPE (mm)", "paper (mm)"]
    lines = [f"{table.title}; seeds {', '.join(map(str, args.seeds))}", "", "| " + " | ".join(heads) + " |"]
    lines.append("|" + " --- |" * len(table.heads) + " ---: |" * 4)
    for row, figures in zip(rows, results, strict=True):
        model = _config(FinetuneConfig, args, row.changes).model
        spread = f" ({min(figures):.1f} to {max(figures):.1f})" if len(figures) > 1 else ""
        cells = [*row.cells, f"{counted(model) / 1e6:.2f}", f"{flops(model) / 1e6:.0f}"]
        cells += [f"{mean(figures):.1f}{spread}", "" if row.paper_mm is None else f"{row.paper_mm:.1f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _pretrained(row: Row, args: argparse.Namespace, seed: int) -> str:
    """The Stage I checkpoint of a row, trained unless it is there."""
    config = _config(PretrainConfig, args, [*row.changes, *(row.stage_one or ()), f"seed={seed}"])
    if not Path(config.out).is_file():
        print(f"Stage I for {' '.join(row.cells)}, seed {seed}: {config.run}")
        pretrain.train(config, begun(config.run))
    return config.out


def _config(cls: type[C], args: argparse.Namespace, changes: Sequence[str]) -> C:
    """The budget with a row's changes; its folder is named after all that can change its result."""
    own = [o for o in args.overrides if _concerns(cls, o)]
    config = dataclasses.replace(load_config(cls, args.budget, [*own, *changes]), run="", out="")
    settings = {k: v for k, v in dataclasses.asdict(config).items() if k not in ("device", "checkpoint_minutes")}
    name = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
    run = Path(args.out) / f"{cls.stage}-{name}"
    return dataclasses.replace(config, run=str(run), out=str(run / "model.safetensors"))


def _concerns(cls: type[RunConfig], override: str) -> bool:
    """Whether a setting given for all rows is one of this stage's; one of neither stage fails in ``load_config``."""
    key = override.partition("=")[0].partition(".")[0]
    other = PretrainConfig if cls is FinetuneConfig else FinetuneConfig
    names, others = ({f.name for f in dataclasses.fields(c)} for c in (cls, other))
    return key in names or key not in others


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=tuple(tables(FinetuneConfig())))
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--budget", default=str(BUDGET), help="configuration file of both stages")
    parser.add_argument("--seeds", type=arguments.seed, nargs="+", default=[1])
    parser.add_argument("--rows", type=int, nargs="+", metavar="ROW", help="only these, from 1; after key=value")
    parser.add_argument("--out", default="runs/ablation", help="folder of the rows' results")
    return parser.parse_intermixed_args()


if __name__ == "__main__":
    main()
