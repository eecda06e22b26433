"""`make bench` gives its two files; what they say is the machine's."""

import json
import logging
import os
import subprocess
import sys

import pytest

from bench import __main__ as bench
from bench import soak, traffic


@pytest.fixture(autouse=True)
def log_level():
    """What bench silences for its process is heard again after it."""
    log = logging.getLogger("pstmo_ros.engines")
    before = log.level
    yield
    log.setLevel(before)


def test_bench_writes_its_report(tmp_path):
    small = ["--frames", "9", "--people", "1", "--rounds", "1", "--steps", "10", "--models", "small",
             "--loads", "2x100", "--seconds", "3", "--turns", "1"]  # fmt: skip
    command = [sys.executable, "-m", "bench", *small, "--out", str(tmp_path / "b")]
    (tmp_path / "temporary").mkdir()
    environment = os.environ | {"TMPDIR": str(tmp_path / "temporary")}
    subprocess.run(command, check=True, capture_output=True, timeout=300, env=environment)
    assert not list(tmp_path.glob("temporary/*/pstmo_ros")), "compiled models are not left behind"
    data = json.loads((tmp_path / "b.json").read_text())
    (row,) = data["engines"]
    assert {"plain_ms", "floor_ms", "torch_ms"} <= row.keys()
    assert row["plain / torch"] == row["plain_ms"] / row["torch_ms"]
    assert [(r["model"], r["people"]) for r in data["lifter"]] == [("small", p) for p in (1, 2, 5, 10, 30)]
    assert [(r["people"], r["messages/s"]) for r in data["node"]] == [(2, 100.0)]
    assert data["node"][0]["node MB"] > 50
    assert [r["people"] for r in data["messages"]] == [1, 2, 5, 10, 30]
    assert {"first start s", "second start s"} <= data["starts"].keys()
    for row in data["lifter"]:
        stages = [v for k, v in row.items() if k not in ("model", "people", "step_ms")]
        assert row["step_ms"] == pytest.approx(sum(stages))
    assert "| frames | people |" in (tmp_path / "b.md").read_text()


def test_a_soak_lifts_everybody_that_it_is_asked_for_at_any_rate(monkeypatch):
    """The node follows ten people unless told otherwise, and a second may be shorter than from message to message."""
    asked, seen = [], []

    def lifter(parameters):
        asked.append(parameters)
        return traffic.running("bench.relay")

    def report(args, found):
        seen.append(found)
        return 0

    monkeypatch.setattr(soak, "lifter", lifter)
    monkeypatch.setattr(soak, "report", report)
    monkeypatch.setattr("sys.argv", ["soak", "--people", "12", "--rate", "0.4", "--minutes", "0.01"])
    assert soak.main() == 0
    assert asked[0]["tracks.max_people"] == 12
    assert seen[0].sent == 1


def test_a_point_in_the_reports_name_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # which bench sets for itself
    monkeypatch.setattr(bench.lifter, "measure", lambda *_: [{"model": "small", "people": 1, "step_ms": 1.0}])
    bench.main(["--parts", "lifter", "--models", "small", "--out", str(tmp_path / "torch2.13")])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["torch2.13.json", "torch2.13.md"]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("--frames 60", "give a power of 3"),
        ("--people 0", "give 1 or more"),
        ("--rounds 0", "give 1 or more"),
        ("--models small smal", "did you mean 'small'"),
        ("--steps -5", "give 1 or more"),
        ("--loads 0x50", "give 1 or more"),
        ("--loads 1x-5", "give 0.01 or more"),
        ("--loads 1,50", "invalid load value: '1,50'"),
        ("--seconds nan", "give 0.01 or more"),
        ("--turns 0", "give 1 or more"),
        ("--out /dev/null/bench", "argument --out: "),
    ],
)
def test_what_cannot_be_measured_or_written_is_said_before_anything_is(given, why, monkeypatch, capsys):
    monkeypatch.setattr(bench, "machine", lambda: pytest.fail("it has begun"))
    with pytest.raises(SystemExit):
        bench.main(given.split())
    assert why in capsys.readouterr().err


def test_without_ros_nothing_is_measured_for_nothing(monkeypatch):
    monkeypatch.setitem(sys.modules, "bench.node", None)
    monkeypatch.delattr("bench.node", raising=False)
    monkeypatch.setattr(bench, "machine", lambda: pytest.fail("it has begun"))
    with pytest.raises(ImportError):
        bench.main(["--parts", "engines", "node"])
