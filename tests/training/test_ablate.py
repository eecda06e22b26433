"""Every row of every table is a training that runs; what has run is kept."""

import json
import sys

import pytest

from training import ablate
from training.config import load_config
from training.finetune import FinetuneConfig
from training.loop import Optimisation
from training.pretrain import PretrainConfig

TINY = ["model.dim=32", "model.heads=4", "batch=8", "steps=1", "validation_windows=8", "warmup=1"]


def _run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, *args: object) -> str:
    monkeypatch.setattr(sys, "argv", ["ablate", *map(str, args)])
    ablate.main()
    return capsys.readouterr().out


@pytest.fixture
def tiny(some_mocap):
    return [*TINY, f"data={some_mocap}"]


def _rows(printed: str) -> list[list[str]]:
    lines = [line for line in printed.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:] if "---" not in line]


def test_table_3_runs_prints_in_the_papers_shape_and_is_kept(tiny, monkeypatch, capsys, tmp_path):
    printed = _run(monkeypatch, capsys, "components", *tiny, "--out", tmp_path)
    rows = _rows(printed)
    assert [row[:5] for row in rows] == [
        ["x", "", "", "", ""],
        ["", "x", "", "", ""],
        ["x", "x", "", "", ""],
        ["x", "x", "x", "", ""],
        ["x", "x", "x", "x", ""],
        ["x", "x", "x", "x", "x"],
    ]
    assert [row[-1] for row in rows] == ["51.0", "49.6", "46.0", "44.2", "43.2", "43.0"]
    assert len(list(tmp_path.glob("pretrain-*/model.safetensors"))) == 2  # with and without TDS

    monkeypatch.setattr(Optimisation, "save", lambda *_: pytest.fail("a row that was kept ran again"))
    again = _run(monkeypatch, capsys, "components", *tiny, "--out", tmp_path)
    assert _rows(again) == rows


def test_a_tables_seeds_are_averaged(tiny, monkeypatch, capsys, tmp_path):
    printed = _run(monkeypatch, capsys, "pretraining", *tiny, "--rows", 1, "--seeds", 1, 2, "--out", tmp_path)
    figures = [json.loads(p.read_text())["mpjpe_mm"]["whole_windows"] for p in tmp_path.glob("finetune-*/result.json")]
    assert len(figures) == 2
    (row,) = _rows(printed)
    assert row[-2] == f"{sum(figures) / 2:.1f} ({min(figures):.1f} to {max(figures):.1f})"


def test_the_transformer_sem_trains(tiny, monkeypatch, capsys, tmp_path):
    (row,) = _rows(_run(monkeypatch, capsys, "sem", *tiny, "--rows", 2, "--out", tmp_path))
    assert row[0] == "Transformer"


@pytest.mark.parametrize("budget", [ablate.BUDGET, ablate.BUDGET.with_name("pstmo_s_243.yaml")])
def test_every_row_is_a_configuration(budget):
    base = load_config(FinetuneConfig, budget)
    for table in ablate.tables(base).values():
        for row in table.rows:
            assert load_config(FinetuneConfig, budget, row.changes) is not None
            assert len(row.cells) == len(table.heads)
            if row.stage_one is not None:
                load_config(PretrainConfig, budget, [*row.changes, *row.stage_one])
    if base.model.dim == 256:
        assert "model.dim=544" in ablate.tables(base)["sem"].rows[1].changes


def test_mistakes_are_named(monkeypatch, capsys, tmp_path):
    with pytest.raises(SystemExit, match="stpes is unknown"):
        _run(monkeypatch, capsys, "tds", "stpes=1", "--out", tmp_path)
    for row in (0, -1, 8):
        with pytest.raises(SystemExit, match=f"^ablate: --rows holds {row}; tds has the rows 1 to 7"):
            _run(monkeypatch, capsys, "tds", *TINY, "--rows", row, "--out", tmp_path)
