"""Baselines see what they are said to see, and the page names them all."""

import dataclasses
import sys

import pytest
import torch

from pstmo_ros.core.model_config import ModelConfig
from training import baselines
from training.baselines import ROWS, Baseline, Dilated, SingleFrame
from training.mocap import CMU, load_mocap

CONFIG = ModelConfig(9, 3, dim=32, heads=4, depth=1, mofa=False, centred=True, dial=True)


def frames_that_matter(network):
    """Which frames of a window the newest pose depends on."""
    torch.manual_seed(0)
    model = Baseline(CONFIG, network).eval()
    x = (0.1 * torch.randn(4, CONFIG.frames, 17, 2)).requires_grad_()
    model(x).square().sum().backward()
    assert x.grad is not None
    # Frames of the past count a little in centring wherever they are not all of one weight: a thousandth.
    size = x.grad.abs().amax((0, 2, 3))
    return (size > 0.02 * size.max()).tolist()


def test_a_single_frame_network_sees_the_newest_frame_alone():
    assert frames_that_matter(SingleFrame) == [False] * 8 + [True]


def test_dilated_convolutions_see_the_whole_window():
    assert frames_that_matter(Dilated) == [True] * 9


def test_an_absent_joint_changes_the_pose_and_breaks_nothing():
    model = Baseline(CONFIG, SingleFrame).eval()
    x = 0.1 * torch.randn(2, CONFIG.frames, 17, 2)
    hidden = x.clone()
    hidden[:, -1, 5] = torch.nan
    poses, others = model(x), model(hidden)
    assert others.isfinite().all()
    assert not torch.allclose(poses, others)


def test_every_row_is_trained_tested_and_kept(some_mocap, tmp_path, monkeypatch, capsys):
    small = ("model.frames=9", "model.dim=32", "model.depth=1", "batch=8", "steps=1", "validation_windows=16")
    page, mocap = tmp_path / "baselines.md", load_mocap(CMU, "val")
    beginnings = dataclasses.replace(mocap, length=mocap.length.clamp(max=30))
    monkeypatch.setattr(baselines, "load_mocap", lambda path, split: {(CMU, "val"): beginnings}[path, split])
    options = ("--split", "val", "--every", "1000", "--out", str(page))
    monkeypatch.setattr(sys, "argv", ["baselines", *small, f"data={some_mocap}", f"run={tmp_path / 'runs'}", *options])
    baselines.main()
    rows = page.read_text().splitlines()[-len(ROWS) :]
    assert [r.split(" | ")[0].removeprefix("| ") for r in rows] == [*ROWS]
    assert rows[-1].endswith("| 1.00 |")
    assert len(list(tmp_path.glob("runs/*/checkpoint.pt"))) == len(ROWS)
    baselines.main()  # trained already: the same figures again
    assert page.read_text().splitlines()[-len(ROWS) :] == rows
    sys.argv += ["--rows", "3"]
    baselines.main()
    assert page.read_text().splitlines()[-2:] == [rows[2], rows[-1]], "one row, and ours that it is measured by"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("step=2", "step is unknown"),
        ("batches.held=true", r"set batches\.held=false"),
        ("model.dial=false", r"model\.dial is false"),
    ],
)
def test_settings_that_no_row_can_be_trained_with_are_refused(override, message, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["baselines", override, "frames_seen=0"])
    with pytest.raises(SystemExit, match=f"^baselines: .*{message}"):
        baselines.main()
