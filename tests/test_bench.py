"""`make bench` gives its two files; what they say is the machine's."""

import json
import subprocess
import sys


def test_bench_writes_its_report(tmp_path):
    command = [
        sys.executable,
        "-m",
        "bench",
        "--frames",
        "9",
        "--people",
        "1",
        "--rounds",
        "1",
        "--out",
        tmp_path / "b",
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    data = json.loads((tmp_path / "b.json").read_text())
    (row,) = data["engines"]
    assert {"plain_ms", "floor_ms", "torch_ms"} <= row.keys()
    assert row["plain / torch"] == row["plain_ms"] / row["torch_ms"]
    assert [r["people"] for r in data["lifter"]] == [1, 2, 5, 10, 30]
    assert all(abs(r["step_ms"] - sum(v for k, v in r.items() if k not in ("people", "step_ms"))) < 1e-6
               for r in data["lifter"])  # fmt: skip
    assert "| frames | people |" in (tmp_path / "b.md").read_text()
