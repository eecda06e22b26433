"""``python -m training.figures``: what the pictures show is what the models do."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from pstmo_ros.core import skeleton
from pstmo_ros.core.encoder import Attention
from pstmo_ros.core.model import STMO
from pstmo_ros.core.model_config import ModelConfig
from pstmo_ros.recording import save_recording
from tests.conftest import record, walker
from training.figures import __main__ as figures
from training.figures.attention import attention_weights, draw_maps, recorded, stage_one_maps, stage_two_maps
from training.figures.curves import draw_masking, load_trials
from training.figures.skeletons import draw_recovery, draw_strips
from training.mpm import MaskedPoseModel, Masks, save_stage_one

CONFIG = ModelConfig(frames=9, stride=3, dim=16, heads=2, depth=2, dropout=0.0, centred=True)
SHORT_CLIP = "cmu/06_01"


@pytest.fixture(scope="module")
def windows() -> torch.Tensor:
    return torch.randn(3, 9, skeleton.J, 2, generator=torch.Generator().manual_seed(0)) * 0.1


@pytest.fixture(scope="module")
def stage_one():
    torch.manual_seed(0)
    return MaskedPoseModel(CONFIG).eval()


@pytest.fixture(scope="module")
def stage_one_file(stage_one, tmp_path_factory):
    path = tmp_path_factory.mktemp("stage_one") / "one.safetensors"
    save_stage_one(path, stage_one, "rays", {"config": {"masking": {"temporal": 0.5, "spatial": 3}}})
    return path


def run(monkeypatch, folder, *arguments):
    monkeypatch.setattr(sys, "argv", ["figures", *map(str, arguments), "--out", str(folder)])
    figures.main()
    return {p.stem: p.read_bytes() for p in folder.iterdir()}


def test_the_maps_are_the_weights_that_the_layer_itself_uses():
    torch.manual_seed(0)
    attention, x = Attention(16, 2, 0.0).eval(), torch.randn(3, 9, 16)
    weights = attention_weights(attention, x)
    values = attention.qkv(x)[..., 32:].view(3, 9, 2, 8).transpose(1, 2)
    by_hand = attention.out((weights @ values).transpose(1, 2).reshape(3, 9, 16))
    torch.testing.assert_close(by_hand, attention(x), atol=1e-5, rtol=0)


def test_every_layer_of_tem_and_mofa_is_shown_at_its_own_length(windows):
    torch.manual_seed(0)
    model = STMO(CONFIG).eval()
    before = model(windows)
    maps = stage_two_maps(model, windows)
    assert [tuple(m.shape) for m in maps["TEM"]] == [(2, 9, 9)] * 2
    assert [tuple(m.shape) for m in maps["MOFA"]] == [(2, 9, 9), (2, 3, 3)]
    for layer in (*maps["TEM"], *maps["MOFA"]):
        torch.testing.assert_close(layer.sum(-1), torch.ones(layer.shape[:2]))
    torch.testing.assert_close(model(windows), before)
    assert not any(m._forward_pre_hooks for m in model.modules())


def test_a_model_without_mofa_has_no_map_of_it(windows):
    model = STMO(ModelConfig(frames=9, dim=16, heads=2, depth=1, mofa=False)).eval()
    assert list(stage_two_maps(model, windows)) == ["TEM"]


def test_the_decoders_map_shows_the_visible_frames_first(stage_one, windows):
    masks = Masks(torch.tensor([[2, 4, 7]]), torch.zeros(1, 3, skeleton.J, dtype=torch.bool))
    maps = stage_one_maps(stage_one, windows[:1], masks)
    assert [tuple(m.shape) for m in maps["TEM"]] == [(2, 3, 3)] * 2
    with recorded(stage_one.decoder) as in_time, torch.no_grad():
        stage_one(stage_one.target(windows[:1]), masks)
    shown, order = maps["decoder"][0], [2, 4, 7, 0, 1, 3, 5, 6, 8]
    for row, query in enumerate(order):
        torch.testing.assert_close(shown[:, row], in_time[0][0][:, query, order])


def test_a_row_of_maps_for_each_layer():
    figure = draw_maps([torch.rand(4, 9, 9), torch.rand(4, 3, 3)], heads=2)
    assert [a.images[0].get_array().shape for a in figure.axes] == [(9, 9)] * 2 + [(3, 3)] * 2
    assert [a.get_title() for a in figure.axes] == ["head 0", "head 1", "", ""]


def _height(axes, joint: str) -> float:
    """How high on the page a joint of the pose drawn last stands in a 3D panel."""
    bone = [b for _, b in skeleton.BONES].index(skeleton.index(joint))
    lines = axes.lines[-len(skeleton.BONES) :]
    return float(lines[bone].get_data_3d()[2][1])


def test_strips_stand_upright_with_the_truth_behind_and_a_lost_pose_is_left_empty(camera):
    recording = record([walker(1.0)], camera)
    truth = recording.truth_m[[5, 20], 0]
    truth = truth - truth[:, :1]
    lost = truth.copy()
    lost[1] = np.nan
    figure = draw_strips(recording.keypoints[[5, 20], 0, :, :2], {"a": lost, "b": truth}, ["0.1 s", "0.4 s"], truth)
    assert [t.get_text() for t in figure.texts] == ["input", "a", "b", "truth"]
    flat, spaces = figure.axes[::4], [a for a in figure.axes if hasattr(a, "get_zlim")]
    assert (len(flat), len(spaces)) == (2, 6)
    assert all(_height(a, "head_top") > _height(a, "left_ankle") for a in spaces[1:3])
    assert all(a.yaxis_inverted() for a in flat)  # the image's y points down
    assert np.isnan(_height(spaces[3], "head_top"))


def test_recovery_hides_what_the_encoder_did_not_see():
    target = np.random.default_rng(0).normal(size=(9, 17, 2)).astype(np.float32)
    visible, hidden = np.zeros(9, bool), np.zeros((9, 17), bool)
    visible[[0, 5]] = True
    hidden[5, skeleton.index("left_wrist")] = True
    figure = draw_recovery(target, target + 0.1, visible, hidden, [0, 1, 5])
    above, below = figure.axes[::2], figure.axes[1::2]
    dots = [np.isfinite(a.lines[-1].get_xdata()).sum() for a in above]
    assert dots == [17, 0, 16]
    assert ["masked" in a.get_title() for a in above] == [False, True, False]
    bones = [np.isfinite(line.get_xdata()).all() for a in below for line in a.lines]
    assert len(bones) == 3 * 2 * 16  # recovered and true
    assert all(bones)


def write_result(folder, stage_one, mpjpe_mm, masking=None, seed=1, **settings):
    """One row as training.ablate keeps it; masking: (q_T, m_S) of the Stage I that it takes over."""
    run = folder / f"finetune-{len(list(folder.iterdir()))}"
    run.mkdir()
    init = ""
    if masking is not None:
        init = str(run / "stage_one.safetensors")
        config = {"masking": {"temporal": masking[0], "spatial": masking[1]}, "seed": seed, "run": str(run)}
        save_stage_one(init, stage_one, "rays", {"config": config})
    config = {"init": init, "seed": seed, "run": str(run), "steps": 10} | settings
    path = run / "result.json"
    path.write_text(json.dumps({"mpjpe_mm": {"whole_windows": mpjpe_mm}, "seconds": 1.0, "config": config}))
    return path


def test_masking_curves_average_seeds_and_leave_other_trainings_out(tmp_path, stage_one):
    paths = [write_result(tmp_path, stage_one, m, (0.8, 2), seed) for seed, m in ((1, 43.0), (2, 43.4))]
    rows = {(0.9, 2): 44.0, (0.9, 0): 43.3, (0, 4): 43.9, None: 44.2}
    paths += [write_result(tmp_path, stage_one, m, masking) for masking, m in rows.items()]
    paths += [write_result(tmp_path, stage_one, 99.0, masking, steps=99) for masking in ((0.8, 2), None)]
    temporal, spatial, both = draw_masking(load_trials(paths)).axes
    assert temporal.lines[0].get_xydata().tolist() == [[0.9, 43.3]]
    assert spatial.lines[0].get_xydata().tolist() == [[4, 43.9]]
    np.testing.assert_allclose(both.lines[0].get_xydata(), [[0.8, 43.2], [0.9, 44.0]])
    assert {t.get_text() for t in both.get_legend().get_texts()} == {"$m^S$ = 2", "without Stage I"}
    assert both.lines[-1].get_ydata() == pytest.approx([44.2, 44.2])


def test_faults_of_results_are_named(tmp_path, stage_one):
    path = write_result(tmp_path, stage_one, 43.0)
    with pytest.raises(ValueError, match=r"none of 1 results has a Stage I: run python -m training\.ablate masking"):
        load_trials([path])
    for text in ("{", "[]", '{"mpjpe_mm": {"a": 1}}'):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"result\.json' is not a result\.json of training\.ablate"):
            load_trials([path])


def test_each_command_writes_its_pictures(monkeypatch, tmp_path, bundle, stage_one, stage_one_file, camera):
    clip = ("--clip", SHORT_CLIP)
    (tmp_path / "runs").mkdir()
    results = write_result(tmp_path / "runs", stage_one, 43.0, (0.8, 2))
    save_recording(tmp_path / "own.npz", record([walker(0.5), walker(0.5, offset_m=(1.0, 5.0))], camera))
    commands = {
        ("attention", bundle.path, "--windows", 2, *clip): {"stage_two_tem", "stage_two_mofa"},
        ("attention-stage-one", stage_one_file, "--windows", 2, *clip): {"stage_one_tem", "stage_one_decoder"},
        ("recovery", stage_one_file, "--windows", 1, *clip): {"stage_one_recovery"},
        ("strips", bundle.path, "--recording", tmp_path / "own.npz", "--person", 1, "--moments", 2): {"strips"},
        ("masking", results): {"masking_ratio"},
    }
    for k, (command, names) in enumerate(commands.items()):
        written = run(monkeypatch, tmp_path / str(k), *command)
        assert set(written) == names
        assert all(data.startswith(b"\x89PNG") for data in written.values())


def test_models_whose_files_are_named_alike_have_a_strip_each(monkeypatch, tmp_path, bundle):
    files = [tmp_path / name / "model.safetensors" for name in ("one", "two")]
    for file in files:
        file.parent.mkdir()
        shutil.copy(bundle.path, file)
    shown = {}
    monkeypatch.setattr(figures, "draw_strips", lambda _, poses, *__: shown.update(poses) or Figure())
    run(monkeypatch, tmp_path / "out", "strips", *files, bundle.path, "--clip", SHORT_CLIP, "--moments", 1)
    assert list(shown) == ["one/model", "two/model", Path(bundle.path).stem]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("attention", "MODEL", "--clip", "cmu/6_1"), "--clip is 'cmu/6_1'; did you mean 'cmu/06_1"),
        (("recovery", "MODEL"), "is not a Stage I checkpoint; make one with training.pretrain"),
        (("strips", "MODEL", "--recording", "nowhere.npz"), "'nowhere.npz' does not exist"),
        (("strips", "MODEL", "--clip", SHORT_CLIP, "--person", "3"), "--person is 3; the recording has 1"),
        (
            ("masking", "runs/nowhere/*/result.json"),
            r"'runs/nowhere/\*/result.json' does not exist; make some with python -m training.ablate masking",
        ),
    ],
)
def test_faults_are_one_line(monkeypatch, tmp_path, bundle, command, message):
    with pytest.raises(SystemExit, match=f"^figures: .*{message}"):
        run(monkeypatch, tmp_path, *(bundle.path if a == "MODEL" else a for a in command))
