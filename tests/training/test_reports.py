"""What an evaluation's plots show."""

import pytest

from tests.training.test_scores import result
from training import reports


def test_a_clip_without_a_pose_takes_nothing_from_the_pck_curve(monkeypatch, tmp_path):
    drawn = {}
    monkeypatch.setattr(reports, "_finish", lambda path, figure, axes, *_: drawn.update({path.stem: axes.lines[0]}))
    reports._plot_pck(tmp_path / "pck.png", [result([0.07, 0.17]), result([float("nan")] * 3)])
    shares = dict(drawn["pck"].get_xydata().tolist())
    assert shares[100.0] == pytest.approx(100 * 27 / 28)  # one of two frames' fourteen joints is off by more
    assert shares[150.0] == pytest.approx(100 * 27 / 28)
    assert shares[50.0] == pytest.approx(100 * 26 / 28)
