"""Loaders read the files that licensed users have, tiny here but exact in form, and refuse what is broken."""

import os

import numpy as np
import pytest
import torch

from pstmo_ros.core import layouts, skeleton
from pstmo_ros.core.window import WindowSpec
from tests.training.dataset_files import FRAMES, RunsCode, dhp_arrays, world, write_dhp, write_h36m
from training.datasets import dhp, h36m
from training.datasets.clips import DataError
from training.datasets.pickled import load_dictionary
from training.mocap import load_mocap
from training.recorded import RecordedWindows


def test_h36m_clips_project_onto_their_keypoints_in_every_camera(tmp_path):
    write_h36m(tmp_path)
    clips = h36m.load_h36m(tmp_path, h36m.Split(("S9",)), "gt")
    assert len(clips) == 2 * 4
    for clip in clips:
        assert clip.keypoints_px.shape == (FRAMES, 17, 2)  # cut to the 3D's length
        assert clip.poses_m[..., 2].min() > 2  # before the camera
        np.testing.assert_allclose(clip.camera.project(clip.poses_m), clip.keypoints_px, atol=1e-2)
        assert (clip.root_relative_m()[:, skeleton.ROOT] == 0).all()
        assert clip.rate_hz == 50
    assert {c.size_px for c in clips} == {(1000, 1002), (1000, 1000)}
    assert {c.action for c in clips} == {"Walking", "Directions"}


def test_every_h36m_camera_looks_at_the_middle_of_the_room_from_above_the_floor():
    for views in h36m.load_views().values():
        for view in views:
            assert np.linalg.det(view.rotation) == pytest.approx(1, abs=1e-5)
            assert 1 < view.position_m[2] < 2
            middle = view.camera.project((np.array([0, 0, 1.0]) - view.position_m) @ view.rotation)
            assert np.abs(middle - 500).max() < 250


def test_actions_of_the_files_become_the_fifteen_of_table_1():
    assert len(h36m.ACTIONS) == 15
    assert [h36m.action_of(n) for n in ("Walking 1", "WalkTogether", "TakingPhoto 2", "SittingDown")] == [
        "Walking", "WalkTogether", "Photo", "SittingDown"]  # fmt: skip


def test_h36m_splits_keep_cameras_and_subjects_apart(tmp_path):
    write_h36m(tmp_path, subjects=h36m.TRAIN, actions=("Eating",))
    load = {s: h36m.load_h36m(tmp_path, s, "gt") for s in h36m.SPLITS if not s.endswith("test")}
    assert {c.view for c in load["cross_camera_pretrain"]} == {"0", "1", "2"}
    assert {c.view for c in load["cross_camera_finetune"]} == {"3"}
    pretrain, finetune = ({c.subject for c in load[f"cross_subject_{s}"]} for s in ("pretrain", "finetune"))
    assert pretrain.isdisjoint(finetune)
    assert pretrain | finetune == {c.subject for c in load["train"]} == set(h36m.TRAIN)


def test_coco_keypoints_come_as_detected_or_in_the_models_order(tmp_path):
    write_h36m(tmp_path, keypoints="detectron_pt_coco")
    clip = h36m.load_h36m(tmp_path, h36m.Split(("S9",), (1,)), "detectron_pt_coco")[0]
    names = layouts.get("coco_17").joints
    raw, ours = clip.model_input("screen", as_detected=True), clip.model_input("screen")
    torch.testing.assert_close(raw[:, names.index("left_knee")], ours[:, skeleton.index("left_knee")])
    hips = raw[:, [names.index("left_hip"), names.index("right_hip")]].mean(1)
    torch.testing.assert_close(ours[:, skeleton.ROOT], hips)
    assert raw.shape == ours.shape == (FRAMES, 17, 2)


def test_dhp_training_cameras_become_clips_in_our_joint_order_and_metres(tmp_path):
    write_dhp(tmp_path, "train", {"S1 Seq1": [{"0": dhp_arrays(), "4": dhp_arrays()}, 25]})
    clips = dhp.load_dhp(tmp_path, "train")
    assert [(c.subject, c.action, c.view, c.rate_hz) for c in clips] == [("S1", "Seq1", v, 25.0) for v in "04"]
    assert clips[0].size_px == (2048, 2048)
    for name, there in (("pelvis", 14), ("head_top", 0), ("left_wrist", 7), ("right_hip", 8), ("neck_nose", 16)):
        assert clips[0].keypoints_px[0, skeleton.index(name), 0] == there
        assert clips[0].poses_m[0, skeleton.index(name), 0] == there  # 1000 mm for each index


def test_dhp_test_windows_run_over_valid_frames_only_and_sizes_are_the_sequences(tmp_path):
    arrays = dhp_arrays(10)
    arrays["data_2d"][:, :, 0] += 100 * np.arange(10)[:, None]  # frame t is marked by 100 t
    valid = np.array([0, 1, 1, 1, 0, 0, 1, 1, 0, 1], float)
    write_dhp(
        tmp_path,
        "test",
        {
            "TS1": arrays | {"valid": valid},
            "TS5": dhp_arrays(4) | {"valid": np.ones(4)},
            "TS6": dhp_arrays(2) | {"valid": np.ones(2)},
        },
    )
    clips = dhp.load_dhp(tmp_path, "test")
    assert [(c.subject, len(c.poses_m)) for c in clips] == [("TS1", 3), ("TS1", 2), ("TS1", 1), ("TS5", 4), ("TS6", 2)]
    assert [c.size_px for c in clips] == [(2048, 2048)] * 3 + [(1920, 1080)] * 2
    windows = RecordedWindows(clips[:3], WindowSpec(9, 1, 25.0, 4), mirror=False)
    seen = torch.cat([b.joints for b in windows.ordered(4)])[:, :, skeleton.index("head_top"), 0]
    frames = ((seen + 1) / 2 * 2048 / 100).round().int()
    assert set(frames[1].tolist()) == {1, 2, 3}
    assert set(frames[3].tolist()) == {6, 7}


def test_windows_repeat_the_end_frames_on_both_sides_and_step_by_the_stride(tmp_path):
    write_h36m(tmp_path, actions=("Eating", "Posing"))
    clips = h36m.load_h36m(tmp_path, h36m.Split(("S9",), (0,)), "gt")
    windows = RecordedWindows(clips, WindowSpec(27, 2, 50.0, 13))
    joints = clips[1].model_input("screen")
    window = windows.windows(torch.tensor([FRAMES + 4])).joints[0]
    at = [min(max(4 + 2 * (n - 13), 0), FRAMES - 1) for n in range(27)]
    torch.testing.assert_close(window, joints[at])


def test_drawn_windows_mirror_input_and_pose_together(tmp_path):
    write_h36m(tmp_path)
    clips = h36m.load_h36m(tmp_path, h36m.Split(("S9",), (2,)), "gt")
    windows = RecordedWindows(clips, WindowSpec(9, 1, 50.0, 4), generator=torch.Generator().manual_seed(0))
    batch = windows.draw(64)
    assert batch.joints.shape == (64, 9, 17, 2)
    assert batch.poses_m.shape == (64, 9, 17, 3)
    hip, other = skeleton.index("left_hip"), skeleton.index("right_hip")
    as_recorded = windows.poses_m[:, hip, 0].unique()
    mirrored = -windows.poses_m[:, other, 0].unique()
    drawn = batch.poses_m[:, 4, hip, 0]
    turned = torch.isclose(drawn[:, None], mirrored).any(1)
    assert torch.isclose(drawn[:, None], as_recorded).any(1).logical_xor(turned).all()
    assert 10 < turned.sum() < 54


def test_a_missing_file_is_named_with_its_folder_and_how_to_make_it(tmp_path):
    with pytest.raises(DataError, match=r"data_3d_h36m.npz.*licensed.*prepare_data_h36m"):
        h36m.load_h36m(tmp_path, "test")
    with pytest.raises(DataError, match=r"data_test_3dhp.npz.*licensed.*data_to_npz_3dhp_test"):
        dhp.load_dhp(tmp_path, "test")


def test_a_truncated_file_is_refused(tmp_path):
    write_h36m(tmp_path)
    path = tmp_path / "data_3d_h36m.npz"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"data_3d_h36m.npz.* cannot be read"):
        h36m.load_h36m(tmp_path, h36m.Split(("S9",)), "gt")


@pytest.mark.parametrize(
    ("poses", "message"),
    [
        (np.zeros((FRAMES, 31, 3)), r"shape \(12, 31, 3\); expected .*\(frames, 32, 3\)"),
        (np.where(np.arange(FRAMES)[:, None, None] == 5, np.nan, world()), "NaN or infinity, first in frame 5"),
        (world(FRAMES + 9), "has 15 frames for 21 of 3D"),
        (np.array(["a"]), "expected numbers"),
    ],
)
def test_arrays_that_cannot_be_what_they_should_are_refused(tmp_path, poses, message):
    write_h36m(tmp_path, poses=poses)
    with pytest.raises(DataError, match=message):
        h36m.load_h36m(tmp_path, h36m.Split(("S9",)), "gt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data_2d": np.zeros((FRAMES, 16, 2))}, r"TS1: data_2d is .*\(12, 16, 2\); expected .*\(frames, 17, 2\)"),
        ({"data_3d": np.zeros((FRAMES, 28, 3))}, r"TS1: data_3d is .*\(12, 28, 3\); expected .*\(frames, 17, 3\)"),
        ({"data_3d": np.full((FRAMES, 17, 3), np.nan)}, "TS1: data_3d holds NaN or infinity, first in frame 0"),
        ({"data_2d": np.zeros((FRAMES - 1, 17, 2))}, "TS1: 11 frames of 2D for 12 of 3D"),
        ({"valid": np.ones(3)}, "TS1: 'valid' has 3 entries for 12 frames"),
        ({"valid": None}, "TS1: 'valid' has 1 entries for 12 frames"),
    ],
)
def test_3dhp_arrays_that_cannot_be_what_they_should_are_refused(tmp_path, change, message):
    write_dhp(tmp_path, "test", {"TS1": dhp_arrays() | {"valid": np.ones(FRAMES)} | change})
    with pytest.raises(DataError, match=message):
        dhp.load_dhp(tmp_path, "test")


@pytest.mark.parametrize("name", ["data_2d", "data_3d"])
def test_3dhp_frames_that_are_not_valid_may_hold_anything(tmp_path, name):
    arrays, valid = dhp_arrays(6), np.array([1, 1, 0, 0, 1, 1], float)
    arrays[name][2:4] = np.nan
    write_dhp(tmp_path, "test", {"TS1": arrays | {"valid": valid}})
    clips = dhp.load_dhp(tmp_path, "test")
    assert [len(c.poses_m) for c in clips] == [2, 2]
    assert all(np.isfinite(c.poses_m).all() and np.isfinite(c.keypoints_px).all() for c in clips)
    arrays[name][4] = np.nan
    write_dhp(tmp_path, "test", {"TS1": arrays | {"valid": valid}})
    with pytest.raises(DataError, match=f"TS1: {name} holds NaN or infinity, first in frame 4"):
        dhp.load_dhp(tmp_path, "test")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"S1 Seq1": dhp_arrays()}, r"S1 Seq1 is dict; expected \[cameras, frames per second\]"),
        ({"S1 Seq1": [{"0": {"data_2d": np.zeros((2, 17, 2))}}, 25]}, r"camera 0, lacks \['data_3d'\]"),
        ({"S1 Seq1": [{}, 25]}, "S1 Seq1 is dict; expected a dictionary with entries"),
        ({"S1 Seq1": [{"0": dhp_arrays()}, "fast"]}, "S1 Seq1: frames per second are 'fast'; expected a number"),
        ({"S1 Seq1": [{"0": dhp_arrays()}, None]}, "S1 Seq1: frames per second are None"),
        ({"S1 Seq1": [{"0": {"data_2d": None, "data_3d": None}}, 25]}, "data_2d is object .*expected numbers"),
    ],
)
def test_3dhp_nesting_that_is_another_one_is_refused(tmp_path, data, message):
    write_dhp(tmp_path, "train", data)
    with pytest.raises(DataError, match=message):
        dhp.load_dhp(tmp_path, "train")


def test_detected_keypoints_with_scores_lose_them_and_with_gaps_are_refused(tmp_path):
    write_h36m(tmp_path)
    path = tmp_path / "data_2d_h36m_gt.npz"
    points = load_dictionary(path, "positions_2d")
    for views in points["S9"].values():
        views[:] = [np.concatenate([v, np.ones((*v.shape[:-1], 1))], -1) for v in views]
    np.savez(path, positions_2d=np.array(points, dtype=object))
    (clip, *_) = h36m.load_h36m(tmp_path, h36m.Split(("S9",)), "gt")
    assert clip.keypoints_px.shape == (FRAMES, 17, 2)
    points["S9"]["Directions"][2][7, 3] = np.nan
    np.savez(path, positions_2d=np.array(points, dtype=object))
    with pytest.raises(DataError, match="S9 Directions, camera 2, holds NaN or infinity, first in frame 7"):
        h36m.load_h36m(tmp_path, h36m.Split(("S9",)), "gt")


def test_a_subject_or_camera_that_is_not_there_is_named(tmp_path):
    write_h36m(tmp_path)
    with pytest.raises(DataError, match="subject S11 is not in both"):
        h36m.load_h36m(tmp_path, "test", "gt")
    points = load_dictionary(tmp_path / "data_2d_h36m_gt.npz", "positions_2d")
    points["S9"]["Directions"].pop()
    np.savez(tmp_path / "data_2d_h36m_gt.npz", positions_2d=np.array(points, dtype=object))
    with pytest.raises(DataError, match="S9 Directions has 3 cameras; expected 4"):
        h36m.load_h36m(tmp_path, h36m.Split(("S9",)), "gt")


def test_an_open_mocap_file_that_is_cut_off_or_inconsistent_is_refused(tmp_path):
    whole = dict(
        positions=np.zeros((5, 17, 3), np.int16), clip_start=[0], clip_len=[5], clip_name=["a"], subject=["s"],
        split=["test"], quality=[3], action=["walk"], joint_names=skeleton.JOINTS, fps=50,
    )  # fmt: skip
    in_metres = np.zeros((5, 17, 3), np.float32)
    in_metres[:, skeleton.index("thorax"), 2] = 0.5
    changes = {
        r"positions has shape \(5, 16, 3\); give \(frames, 17, 3\)": {"positions": np.zeros((5, 16, 3), np.int16)},
        "holds NaN or infinity": {"positions": np.full((5, 17, 3), np.nan)},
        r"joint_names is \['right_wrist',.*put positions into this order, under these names: pelvis, rhip": {
            "joint_names": skeleton.JOINTS[::-1]
        },
        r"from pelvis to thorax it is 0\.5 mm; give positions in mm": {"positions": in_metres},
        "fps is 0; give one number above 0": {"fps": 0},
        r"fps is \[50, 50\]; give one number": {"fps": [50, 50]},
        "a clip ends after the 5 frames": {"clip_len": [6]},
        "no clip in split 'test'.*splits: \\['train'\\]": {"split": ["train"]},
        "may be truncated or hold pickled objects": {"action": np.array([RunsCode(os.mkdir, "x")], dtype=object)},
    }
    path = tmp_path / "mocap.npz"
    for message, change in changes.items():
        np.savez(path, **(whole | change))
        with pytest.raises(ValueError, match=message):
            load_mocap(path, "test")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"mocap\.npz' cannot be read .*truncated"):
        load_mocap(path, "test")


def test_unknown_names_are_answered_with_the_nearest(tmp_path):
    with pytest.raises(DataError, match="cross_camera_test"):
        h36m.load_h36m(tmp_path, "cros_camera_test")
    with pytest.raises(DataError, match="cpn_ft_h36m_dbb"):
        h36m.load_h36m(tmp_path, "test", "cpn")
