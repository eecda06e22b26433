"""``python -m training.evaluate`` on small files in the exact formats, with a small untrained model."""

import json
import sys

import numpy as np
import pytest
import torch

from pstmo_ros.core import skeleton
from pstmo_ros.core.bundle import save_bundle
from pstmo_ros.core.model import STMO
from pstmo_ros.core.model_config import ModelConfig
from tests.training.dataset_files import write_dhp, write_h36m
from training import evaluate
from training.datasets import h36m


@pytest.fixture(scope="module")
def screen_model(tmp_path_factory):
    """An untrained model in the paper's own coordinates."""
    torch.manual_seed(0)
    model = STMO(ModelConfig(frames=9, stride=1, dim=16, heads=2, depth=1, dropout=0.0))
    golden = np.random.default_rng(0).normal(size=(2, 9, 17, 2)).astype(np.float32)
    return save_bundle(tmp_path_factory.mktemp("model") / "screen.safetensors", model, "screen", {}, golden).path


@pytest.fixture(scope="module")
def mocap(tmp_path_factory):
    """Two short clips in the open set's format: someone standing, and sliding along x."""
    folder = tmp_path_factory.mktemp("mocap")
    pose = np.random.default_rng(1).uniform(-300, 300, (17, 3)) + np.array([0, 0, 900])
    positions = np.tile(pose, (50, 1, 1))
    positions[20:, :, 0] += 10 * np.arange(30)[:, None]
    path = folder / "tiny.npz"
    np.savez(
        path,
        positions=positions.astype(np.int16),
        clip_start=[0, 20],
        clip_len=[20, 30],
        clip_name=["a/1", "b/1"],
        subject=["a", "b"],
        split=["test", "test"],
        quality=[3, 3],
        action=["stand", "walk slowly"],
        joint_names=skeleton.JOINTS,
        fps=50,
    )
    return path


def run(monkeypatch, *arguments) -> None:
    monkeypatch.setattr(sys, "argv", ["evaluate", *map(str, arguments), "--engine", "torch"])
    evaluate.main()


def report_of(monkeypatch, tmp_path, *arguments):
    run(monkeypatch, *arguments, "--out", tmp_path / "out")
    return json.loads((tmp_path / "out" / "report.json").read_text())


def test_mocap_report(monkeypatch, tmp_path, bundle, mocap, capsys):
    options = ("--data", "mocap", "--folder", mocap, "--robustness", "--sweep", "0", "0.2")
    report = report_of(monkeypatch, tmp_path, bundle.path, *options)
    assert report["sha256"] == bundle.sha256
    assert {a: g["frames"] for a, g in report["groups"].items()} == {"other": 20, "walk": 30}
    assert report["look_ahead"]["0"] == report["overall"]
    assert report["look_ahead"]["0.2"] != report["overall"]
    rows = ["GT", *(f"GT + N(0, {s})" for s in (0.01, 0.03, 0.05)), "GT + random shuffle", "virtual detector"]
    assert list(report["robustness"]) == rows
    assert report["robustness"]["GT"] != report["robustness"]["GT + N(0, 0.05)"]
    text = (tmp_path / "out" / "report.md").read_text()
    assert capsys.readouterr().out.startswith(text)
    assert f"| walk | 30 | {report['groups']['walk']['coverage_percent']:.1f} |" in text
    for plot in ("groups", "joints", "pck", "look_ahead"):
        assert (tmp_path / "out" / f"{plot}.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_seed_gives_the_same_figures_and_another_seed_another_camera(monkeypatch, tmp_path, bundle, mocap):
    options = (bundle.path, "--data", "mocap", "--folder", mocap, "--fast", "--seed")
    one, same, other = (report_of(monkeypatch, tmp_path, *options, seed)["overall"] for seed in (3, 3, 4))
    assert one == same
    assert one["mpjpe_mm"] != other["mpjpe_mm"]


def test_fewer_clips_and_more_views(monkeypatch, tmp_path, bundle, mocap):
    options = (bundle.path, "--data", "mocap", "--folder", mocap, "--fast", "--clips", 1, "--views", 3)
    assert report_of(monkeypatch, tmp_path, *options)["overall"]["frames"] == 3 * 20


def test_h36m_is_table_1(monkeypatch, tmp_path, screen_model):
    write_h36m(tmp_path, subjects=h36m.TEST, actions=("Walking 1", "Walking 2", "Directions"))
    options = ("--data", "h36m", "--folder", tmp_path, "--keypoints", "gt")
    report = report_of(monkeypatch, tmp_path, screen_model, *options)
    walking, directions = (report["groups"][a] for a in ("Walking", "Directions"))
    assert (walking["frames"], directions["frames"]) == (2 * 2 * 4 * 12, 2 * 4 * 12)
    mean = (walking["mpjpe_mm"] + directions["mpjpe_mm"]) / 2
    assert report["overall"]["mpjpe_mm"] == pytest.approx(mean)
    rows = [
        [c.strip() for c in line.split("|")[1:-1]]
        for line in (tmp_path / "out" / "report.md").read_text().splitlines()
        if line.startswith("|")
    ]
    assert rows[0] == ["", *h36m.ACTIONS.values(), "Avg"]
    mpjpe = dict(zip(rows[0], rows[2], strict=True))
    assert (mpjpe[""], mpjpe["Walk"], mpjpe["Eat"]) == ("MPJPE mm", f"{walking['mpjpe_mm']:.1f}", "-")
    assert mpjpe["Avg"] == f"{mean:.1f}"


def test_flip_at_test_time_is_applied_and_said(monkeypatch, tmp_path, screen_model):
    write_h36m(tmp_path, subjects=h36m.TEST, actions=("Eating",))
    options = (screen_model, "--data", "h36m", "--folder", tmp_path, "--keypoints", "gt")
    plain, flipped = (report_of(monkeypatch, tmp_path, *options, *flip) for flip in ((), ("--flip",)))
    assert plain["overall"]["mpjpe_mm"] != flipped["overall"]["mpjpe_mm"]
    assert "test-time flip" in flipped["protocol"]


def test_coco_keypoints_as_detected_mirror_by_their_own_names(monkeypatch, tmp_path, screen_model):
    write_h36m(tmp_path, subjects=h36m.TEST, actions=("Eating",), keypoints="detectron_pt_coco")
    options = (screen_model, "--data", "h36m", "--folder", tmp_path, "--keypoints", "detectron_pt_coco", "--flip")
    ours, raw = (report_of(monkeypatch, tmp_path, *options, *how)["overall"] for how in ((), ("--as-detected",)))
    assert ours["mpjpe_mm"] != raw["mpjpe_mm"]


def moving(frames: int) -> dict[str, np.ndarray]:
    """A 3DHP sequence of someone of no particular shape: 2D in pixels, 3D in mm, near enough for some hits."""
    random = np.random.default_rng(frames)
    return {"data_2d": random.uniform(0, 1080, (frames, 17, 2)), "data_3d": random.normal(0, 150, (frames, 17, 3))}


def test_3dhp_is_table_2_by_sequence(monkeypatch, tmp_path, screen_model):
    valid = np.array([1, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1, 0], float)
    data = {"TS1": moving(12) | {"valid": valid}, "TS6": moving(4) | {"valid": np.ones(4)}}
    write_dhp(tmp_path, "test", data)
    report = report_of(
        monkeypatch,
        tmp_path,
        screen_model,
        "--data",
        "3dhp",
        "--folder",
        tmp_path,
        "--robustness",
        "--sweep",
        "0",
        "0.08",
    )
    assert report["robustness"]["GT"] == report["overall"]
    assert report["robustness"]["GT + random shuffle"] != report["overall"]
    assert report["look_ahead"]["0.08"] == report["overall"]  # four frames: all that the window spans
    assert report["look_ahead"]["0"] != report["overall"]
    first, last = report["groups"]["TS1"], report["groups"]["TS6"]
    assert (first["frames"], last["frames"]) == (9, 4)
    for figure in ("pck_percent", "auc_percent", "mpjpe_mm"):  # sequences weigh by their frames
        assert report["overall"][figure] == pytest.approx((9 * first[figure] + 4 * last[figure]) / 13, rel=1e-5)
    assert "| TS6 | 4 |" in (tmp_path / "out" / "report.md").read_text()


def test_robustness_is_at_the_look_ahead_asked_for(monkeypatch, tmp_path, screen_model):
    write_dhp(tmp_path, "test", {"TS1": moving(12) | {"valid": np.ones(12)}})
    options = (screen_model, "--data", "3dhp", "--folder", tmp_path, "--robustness", "--look-ahead")
    none, all_of_it = (report_of(monkeypatch, tmp_path, *options, seconds) for seconds in ("0", "0.08"))
    for report in (none, all_of_it):
        assert report["robustness"]["GT"] == report["overall"]
    assert none["robustness"]["GT + random shuffle"] != all_of_it["robustness"]["GT + random shuffle"]
    assert none["overall"] != all_of_it["overall"]


def test_batches_of_windows_are_for_models_of_the_clips_rate(monkeypatch, tmp_path, mocap):
    model = STMO(ModelConfig(frames=9, stride=1, dim=16, heads=2, depth=1, rate_hz=25.0))
    golden = np.random.default_rng(0).normal(size=(2, 9, 17, 2)).astype(np.float32)
    slow = save_bundle(tmp_path / "slow.safetensors", model.eval(), "rays", {}, golden).path
    write_h36m(tmp_path, subjects=h36m.TEST, actions=("Eating",))
    streamed = ("--data", "mocap", "--folder", mocap)
    for options, way in (
        ((*streamed, "--fast"), "leave out --fast and --robustness"),
        ((*streamed, "--robustness"), "leave out --fast and --robustness"),
        (("--data", "h36m", "--folder", tmp_path, "--keypoints", "gt"), "give a model of that rate"),
    ):
        with pytest.raises(SystemExit, match=rf"model\.rate_hz=25 and the clips 50 frames per second; {way}"):
            run(monkeypatch, slow, *options, "--out", tmp_path / "out")
    assert report_of(monkeypatch, tmp_path, slow, *streamed)["overall"]["frames"] == 50


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("MODEL", "--data", "h36m", "--folder", "nowhere"), r"data_3d_h36m.npz' is not in 'nowhere'.*licensed"),
        (("MODEL", "--data", "mocap", "--folder", "nowhere.npz"), r"nowhere.npz' does not exist"),
        (("MODEL", "--data", "mocap", "--look-ahead", "9"), r"look_ahead_s is 9.0; this model's window takes 0 to"),
        (("MODEL", "--data", "mocap", "--folder", "nowhere.npz", "--sweep", "0", "9"), r"look_ahead_s is 9.0"),
        (("nowhere.safetensors", "--data", "mocap"), r"nowhere.safetensors' does not exist"),
    ],
)
def test_faults_are_one_line(monkeypatch, tmp_path, bundle, arguments, message):
    with pytest.raises(SystemExit, match=rf"^evaluate: .*{message}"):
        run(monkeypatch, *(bundle.path if a == "MODEL" else a for a in arguments), "--out", tmp_path)
    assert not list(tmp_path.iterdir())


def test_recorded_sets_need_a_folder(monkeypatch, bundle, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, bundle.path, "--data", "3dhp")
    assert "--data 3dhp needs --folder" in capsys.readouterr().err
