import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest

from pstmo_ros import lift as lifting
from pstmo_ros.core import bundle as bundles
from pstmo_ros.core import skeleton
from pstmo_ros.core.pipeline import LifterConfig, PoseLifter
from pstmo_ros.core.smoothing import SmoothingConfig
from pstmo_ros.engines import load_engine, model_path
from pstmo_ros.lift import lift
from pstmo_ros.recording import Lifted, load_recording, save_recording
from tests.conftest import record, walker


@pytest.fixture
def recording(camera):
    return record([walker(1.0), walker(1.0, offset_m=(1.0, 5.0))], camera)


def _lifter(bundle, look_ahead_s=0.0):
    return PoseLifter(bundle, load_engine(bundle, "torch"), LifterConfig(look_ahead_s))


def test_recording_survives_the_file(recording, tmp_path):
    recording = dataclasses.replace(recording, odom_from_camera=np.tile(np.eye(4), (50, 1, 1)))
    save_recording(tmp_path / "r.npz", recording)
    back = load_recording(tmp_path / "r.npz")
    for field in dataclasses.fields(recording):
        a, b = getattr(recording, field.name), getattr(back, field.name)
        if isinstance(a, np.ndarray):
            np.testing.assert_array_equal(a, b, err_msg=field.name)
        else:
            assert a == b, field.name


@pytest.mark.parametrize("look_ahead_s", [0.0, 0.1, 0.78])
def test_every_frame_gets_every_persons_pose_whatever_the_look_ahead(bundle, recording, look_ahead_s):
    lifted = lift(recording, _lifter(bundle, look_ahead_s))
    np.testing.assert_array_equal(lifted.stamps_ns, recording.stamps_ns)
    np.testing.assert_array_equal(lifted.person_ids, recording.person_ids)
    assert np.isfinite(lifted.poses_root_m).all()


def test_look_ahead_shows_the_model_the_future(bundle, recording):
    now, later = lift(recording, _lifter(bundle)), lift(recording, _lifter(bundle, 0.2))
    assert np.abs(now.poses_root_m[10] - later.poses_root_m[10]).max() > 1e-4


def test_velocities_are_those_of_the_poses(bundle, recording):
    lifter = PoseLifter(bundle, load_engine(bundle, "torch"), LifterConfig(smoothing=SmoothingConfig(enabled=False)))
    lifted = lift(recording, lifter)
    assert np.isnan(lifted.velocities_m_s[0]).all()
    moved = (lifted.poses_m[-1] - lifted.poses_m[10]) / ((lifted.stamps_ns[-1] - lifted.stamps_ns[10]) / 1e9)
    across = np.nanmean(lifted.velocities_m_s[10:], 0)[..., :2]  # depth of an untrained model is noise
    np.testing.assert_allclose(across, moved[..., :2], atol=0.2)


def test_a_model_that_knows_how_sure_it_is_says_so(bundle, recording):
    assert np.isnan(lift(recording, _lifter(bundle)).std_m).all(), "a model without"
    std_m = lift(recording, _lifter(bundles.load(model_path("realtime")))).std_m
    assert ((std_m > 0) & (std_m < 1)).all()


def test_someone_who_is_not_there_yet_is_nan_with_id_minus_one(bundle, recording):
    recording.keypoints[:20, 1] = np.nan
    lifted = lift(recording, _lifter(bundle))
    assert (lifted.person_ids[:20] == [1, -1]).all()
    assert np.isnan(lifted.poses_m[:20, 1]).all()
    assert (lifted.person_ids[20:] == [1, 2]).all()


def test_people_without_a_place_are_not_at_the_camera(bundle, recording):
    recording.keypoints[..., skeleton.LIMBS, 2] = 0
    lifted = lift(recording, _lifter(bundle))
    assert np.isfinite(lifted.poses_root_m).any()
    assert np.isnan(lifted.shown_m).all()


def test_ids_that_are_not_known_lose_nobody(bundle, recording):
    """-1 is an id that a detector did not give, as in messages."""
    recording.person_ids[:, 1] = -1
    lifted = lift(recording, _lifter(bundle))
    assert (lifted.person_ids >= 0).all()
    assert np.isfinite(lifted.poses_m).all()


def test_command_line(bundle, recording, tmp_path):
    save_recording(tmp_path / "in.npz", recording)
    command = [
        sys.executable,
        "-m",
        "pstmo_ros.lift",
        tmp_path / "in.npz",
        tmp_path / "out.npz",
        "--model",
        bundle.path,
    ]
    subprocess.run([*command, "--engine", "torch"], check=True, capture_output=True)
    with np.load(tmp_path / "out.npz") as out:
        assert set(out.files) == {f.name for f in dataclasses.fields(Lifted)}
        assert out["poses_m"].shape == (50, 2, 17, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("layout"), "'layout'"),
        (lambda d: d.update(layout=np.array("coco17")), "did you mean 'coco_17'"),
        (
            lambda d: d.update(layout=np.array("coco_17"), keypoints=d["keypoints"][:, :, :16]),
            r"keypoints.*\(T, P, 17, 3\)",
        ),
        (lambda d: d.update(stamps_ns=d["stamps_ns"][:-1]), "stamps_ns.*50 integers"),
        (lambda d: d.update(stamps_ns=d["stamps_ns"] / 1e9), "stamps_ns.*float64"),
        (lambda d: d.update(stamps_ns=np.arange(50) * 20), "stamps_ns' has frames 20 apart; give nanoseconds"),
        (lambda d: d.update(stamps_ns=d["stamps_ns"][:0], keypoints=d["keypoints"][:0]), "bad.npz' has no frames"),
        (lambda d: d.update(image_size=np.array(640)), "image_size"),
        (lambda d: d.update(image_size=np.array([640, np.nan])), "image_size' is .640. +nan.; give"),
        (lambda d: d.update(image_size=np.array([640, np.inf])), "image_size' is .640. +inf.; give"),
        (lambda d: d.update(image_size=np.array([0.64, 0.48])), r"image_size' is .0\.64 0\.48.; give"),
        (lambda d: d.update(distortion=np.array("none")), "distortion' holds <U4; give numbers"),
        (lambda d: d.update(down=np.array(["x", "y", "z"])), "down' holds <U1; give numbers"),
        (lambda d: d.update(person_ids=d["person_ids"][:, 0]), "person_ids"),
        (lambda d: d.update(truth_m=d["truth_m"][:, :1]), r"truth_m.*give \(50, 2, 17, 3\)"),
        (lambda d: d.update(odom_from_camera=np.tile(np.eye(4), (3, 1, 1))), r"odom_from_camera.*\(50, 4, 4\)"),
        (lambda d: d.update(odom_from_camera=np.ones((50, 4, 4))), "odom_from_camera.*orthonormal"),
        (lambda d: d.update(camera_matrix=np.zeros((3, 3))), "not calibrated"),
        (lambda d: d.update(distortion=np.ones(6)), "plumb_bob takes 5"),
        (lambda d: d.update(layout=np.array({"a": 1}, object)), "not a readable"),
    ],
)
def test_each_fault_of_a_recording_is_named(recording, tmp_path, change, message):
    save_recording(tmp_path / "good.npz", recording)
    data = dict(np.load(tmp_path / "good.npz"))
    change(data)
    np.savez(tmp_path / "bad.npz", **data)
    with pytest.raises(ValueError, match=message):
        load_recording(tmp_path / "bad.npz")


def test_frames_that_are_not_in_order_are_put_in_it(recording, tmp_path):
    """Else look-ahead would lose those before a step back, and late ones would not be as good."""
    recording = dataclasses.replace(recording, odom_from_camera=np.tile(np.eye(4), (50, 1, 1)))
    recording.odom_from_camera[:, 0, 3] = np.arange(50)
    save_recording(tmp_path / "good.npz", recording)
    data, order = dict(np.load(tmp_path / "good.npz")), np.roll(np.arange(50), 20)
    for name in ("keypoints", "stamps_ns", "person_ids", "truth_m", "odom_from_camera"):
        data[name] = data[name][order]
    np.savez(tmp_path / "mixed.npz", **data)
    back = load_recording(tmp_path / "mixed.npz")
    for name in ("keypoints", "stamps_ns", "person_ids", "truth_m", "odom_from_camera"):
        np.testing.assert_array_equal(getattr(back, name), getattr(recording, name), err_msg=name)


def test_ids_as_a_table_of_floats_has_them_are_ids(recording, tmp_path):
    save_recording(tmp_path / "good.npz", recording)
    data = dict(np.load(tmp_path / "good.npz"))
    data["person_ids"] = np.where(np.arange(2) == 1, np.nan, data["person_ids"])
    np.savez(tmp_path / "floats.npz", **data)
    assert load_recording(tmp_path / "floats.npz").person_ids[0].tolist() == [1, -1]


def test_a_pipe_is_said_to_be_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    writing = subprocess.Popen(["dd", "if=/dev/zero", f"of={tmp_path / 'pipe.npz'}", "count=1"], stderr=-3)
    with pytest.raises(ValueError, match=r"pipe\.npz' is not a readable \.npz file"):
        load_recording(tmp_path / "pipe.npz")
    writing.wait(10)


def test_a_truncated_recording_is_named(recording, tmp_path):
    save_recording(tmp_path / "good.npz", recording)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "good.npz").read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"cut\.npz.*not a readable"):
        load_recording(tmp_path / "cut.npz")


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("in.npz", "in.npz is the recording; give the output another name"),
        ("bag.mcap", "bag.mcap exists already; a bag is never overwritten"),
        ("folder", "folder exists already; a bag is never overwritten"),
        ("folder.csv", "folder.csv is a folder; give a file's name"),
        ("in.npz/out.csv", "File exists: .*in.npz"),
    ],
)
def test_an_output_that_cannot_be_written_is_named_before_anything_is_lifted(
    recording, tmp_path, monkeypatch, output, message
):
    save_recording(tmp_path / "in.npz", recording)
    (tmp_path / "bag.mcap").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.csv").mkdir()
    kept = (tmp_path / "in.npz").read_bytes()
    monkeypatch.setattr(sys, "argv", ["lift", str(tmp_path / "in.npz"), str(tmp_path / output), "--model", "small"])
    monkeypatch.setattr(lifting, "lift", lambda *_, **__: pytest.fail("it was lifted before"))
    with pytest.raises(SystemExit, match=message):
        lifting.main()
    assert (tmp_path / "in.npz").read_bytes() == kept


def test_the_command_line_lifts_a_crowd(bundle, camera, tmp_path, monkeypatch):
    """Offline there is no hurry for which a node follows ten people only."""
    crowd = record([walker(0.1, offset_m=(-6.0 + n, 12.0)) for n in range(13)], camera)
    save_recording(tmp_path / "in.npz", crowd)
    files = [str(tmp_path / name) for name in ("in.npz", "out.npz")]
    monkeypatch.setattr(sys, "argv", ["lift", *files, "--model", str(bundle.path), "--engine", "torch"])
    lifting.main()
    with np.load(tmp_path / "out.npz") as out:
        np.testing.assert_array_equal(np.sort(out["person_ids"]), crowd.person_ids)


def test_command_line_faults_are_one_line(tmp_path):
    command = [sys.executable, "-m", "pstmo_ros.lift", "missing.npz", "out.npz"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    assert done.stderr == "lift: recording 'missing.npz' does not exist\n"


def test_a_recording_played_again_has_new_people_and_later_stamps(recording):
    twice = recording.repeated(2)
    assert (np.diff(twice.stamps_ns) == 20_000_000).all()
    assert np.unique(twice.person_ids).tolist() == [1, 2, 4, 5]
    np.testing.assert_array_equal(twice.keypoints[50:], recording.keypoints)
    recording.person_ids[:, 1] = -1
    assert (recording.repeated(2).person_ids[:, 1] == -1).all(), "who has no id has none the second time"


@pytest.mark.parametrize(("images", "period_ns"), [(50, 10**9), (1, 10**9)])
def test_frames_of_one_stamp_are_one_image_to_a_recording_that_starts_again(recording, images, period_ns):
    stamps = np.repeat(recording.stamps_ns[:images], 3)
    assert dataclasses.replace(recording, stamps_ns=stamps).period_ns == period_ns


def test_where_down_is_can_be_said(aware, recording, tmp_path):
    save_recording(tmp_path / "in.npz", recording)
    command = [sys.executable, "-m", "pstmo_ros.lift", tmp_path / "in.npz", tmp_path / "out.npz"]
    chosen = ["--model", aware.path, "--engine", "torch", "--down", "0", "0.8", "0.6"]
    subprocess.run([*command, *chosen], check=True, capture_output=True)
    tilted = dataclasses.replace(recording, camera=dataclasses.replace(recording.camera, down=(0, 0.8, 0.6)))
    with np.load(tmp_path / "out.npz") as out:
        np.testing.assert_allclose(out["poses_m"], lift(tilted, _lifter(aware)).poses_m, atol=1e-5)
    save_recording(tmp_path / "in.npz", dataclasses.replace(recording, camera=None))
    failed = subprocess.run([*command, *chosen], capture_output=True, text=True)
    assert "--down: the recording has no camera" in failed.stderr


def test_where_down_is_survives_the_file(recording, tmp_path):
    tilted = dataclasses.replace(recording, camera=dataclasses.replace(recording.camera, down=(0.1, 0.9, 0.3)))
    save_recording(tmp_path / "r.npz", tilted)
    assert load_recording(tmp_path / "r.npz").camera == tilted.camera
    with np.load(tmp_path / "r.npz") as file:
        np.savez(tmp_path / "wrong.npz", **{**file, "down": np.ones(2)})
    with pytest.raises(ValueError, match=r"'down' has shape \(2,\); give \(x, y, z\)"):
        load_recording(tmp_path / "wrong.npz")
