"""``python -m training.prepare``: motion files become training's mocap file, and what looks wrong explains itself."""

import sys

import numpy as np
import pytest

from pstmo_ros.core import skeleton
from training import prepare
from training.datasets.clips import DataError
from training.mocap import CMU, load_mocap
from training.motion.checks import check_sides, check_size, check_upright, is_t_pose, t_pose_frames
from training.motion.points import Motion
from training.motion.rigs import find_rig, load_rig, rig_names
from training.motion.takes import resampled, whole_pieces

RATE_HZ = 50.0


@pytest.fixture(scope="module")
def recorded() -> np.ndarray:
    """Two seconds of someone walking and turning, from the open set, (100, 17, 3) metres, world z up."""
    return load_mocap(CMU, "val").clip(3)[:100].numpy().astype(float)


def write_bvh(path, points, names=skeleton.JOINTS, rate_hz=RATE_HZ):
    """Points (T, K, 3) as a BVH file: the first is the root, the others hang on it and are moved by channels alone."""
    channels = "CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation"
    end = "End Site\n{\nOFFSET 0 0 1\n}\n"
    joints = "".join(f"JOINT {n}\n{{\nOFFSET 0 0 0\n{channels}\n{end}}}\n" for n in names[1:])
    local = np.concatenate([points[:, :1], points[:, 1:] - points[:, :1]], 1)
    values = np.concatenate([local, np.zeros_like(local)], -1).reshape(len(points), -1)
    rows = "\n".join(" ".join(f"{v:.6f}" for v in row) for row in values)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"HIERARCHY\nROOT {names[0]}\n{{\nOFFSET 0 0 0\n{channels}\n{joints}}}\n"
        f"MOTION\nFrames: {len(points)}\nFrame Time: {1 / rate_hz:.8f}\n{rows}\n"
    )
    return path


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["prepare", *map(str, arguments)])
    prepare.main()


def t_pose() -> np.ndarray:
    """Someone in a T-pose facing +y, (17, 3) metres."""
    up = {"pelvis": 0.9, "spine": 1.1, "thorax": 1.4, "neck_nose": 1.5, "head_top": 1.7, "hip": 0.9, "knee": 0.5}
    up |= {"ankle": 0.1, "shoulder": 1.4, "elbow": 1.4, "wrist": 1.4}
    out = {"hip": 0.1, "knee": 0.1, "ankle": 0.1, "shoulder": 0.2, "elbow": 0.5, "wrist": 0.75}
    pose = np.zeros((skeleton.J, 3))
    for j, name in enumerate(skeleton.JOINTS):
        side, _, kind = name.partition("_") if name.startswith(("left", "right")) else ("", "", name)
        pose[j] = ({"left": -1, "right": 1, "": 0}[side] * out.get(kind, 0), 0, up[kind])
    return pose


def test_the_open_set_survives_the_way_through_bvh(monkeypatch, tmp_path, recorded, capsys):
    write_bvh(tmp_path / "in" / "anna" / "walk.bvh", recorded)
    write_bvh(tmp_path / "in" / "bert" / "walk.bvh", np.repeat(recorded, 2, 0)[:-1], rate_hz=2 * RATE_HZ)
    run(monkeypatch, tmp_path / "in", "--out", tmp_path / "my.npz", "--test", "bert")
    train, test = (load_mocap(tmp_path / "my.npz", split) for split in ("train", "test"))
    assert (train.names, train.subjects, test.subjects) == (("anna/walk",), ("anna",), ("bert",))
    pelvis = recorded[:, skeleton.ROOT, :2]
    middle = np.append((pelvis.min(0) + pelvis.max(0)) / 2, 0)
    np.testing.assert_allclose(train.clip(0), recorded - middle, atol=6e-4)  # the file holds millimetres
    assert len(test.clip(0)) == 100  # 100 Hz became 50
    np.testing.assert_allclose(test.clip(0), train.clip(0), atol=1e-3)
    assert "2 clips" in capsys.readouterr().out


def test_a_subject_held_out_must_be_there_and_in_one_split_only(monkeypatch, tmp_path, recorded):
    write_bvh(tmp_path / "anna" / "walk.bvh", recorded)
    for held_out, message in {
        ("--test", "ana"): "subject 'ana' .*did you mean 'anna'",
        ("--test", "anna", "--val", "anna"): "anna cannot be in both",
    }.items():
        with pytest.raises(SystemExit, match=f"^prepare: {message}"):
            run(monkeypatch, tmp_path / "anna", "--out", tmp_path / "my.npz", *held_out)
    assert not (tmp_path / "my.npz").exists()


def test_someone_who_walks_out_of_the_files_range_is_named(monkeypatch, tmp_path, recorded):
    path = np.linspace(0, 80, 1000)[:, None, None] * np.array([1, 0, 0])  # 80 m in 20 s
    far = np.repeat(recorded[:1], 1000, 0) + path
    write_bvh(tmp_path / "far.bvh", far)
    with pytest.raises(SystemExit, match=r"^prepare: .*further than 32 m"):
        run(monkeypatch, tmp_path / "far.bvh", "--out", tmp_path / "my.npz")


def test_other_clips_go_in_as_well(monkeypatch, tmp_path, recorded):
    for name in ("one", "two"):
        write_bvh(tmp_path / name / "walk.bvh", recorded + np.array([0, 0, name == "two"]))
    run(monkeypatch, tmp_path / "one", "--out", tmp_path / "one.npz")
    run(monkeypatch, tmp_path / "two", "--out", tmp_path / "both.npz", "--with", tmp_path / "one.npz")
    both = load_mocap(tmp_path / "both.npz", "train")
    assert both.subjects == ("one", "two")
    np.testing.assert_allclose(both.clip(1) - both.clip(0), np.broadcast_to([0, 0, 1.0], (100, 17, 3)), atol=2e-3)


def test_a_person_stays_in_one_split_when_other_clips_go_in(monkeypatch, tmp_path, recorded):
    for folder in ("one", "two"):
        write_bvh(tmp_path / folder / "anna" / f"{folder}.bvh", recorded)
    run(monkeypatch, tmp_path / "one", "--out", tmp_path / "one.npz", "--val", "anna")
    command = (tmp_path / "two", "--out", tmp_path / "both.npz", "--with", tmp_path / "one.npz")
    for held_out, now in (((), "train"), (("--test", "anna"), "test")):
        with pytest.raises(SystemExit, match=f"^prepare: subject 'anna' is in split 'val' of .* and in '{now}'"):
            run(monkeypatch, *command, *held_out)
    run(monkeypatch, *command, "--val", "anna")
    assert load_mocap(tmp_path / "both.npz", "val").names == ("anna/one", "anna/two")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fps": 25}, r"--with '.*' has fps 25; give clips of 50 Hz"),
        ({"joint_names": skeleton.JOINTS[::-1]}, "joint_names is .*put positions into this order"),
        ({"note": None}, r"--with '.*' lacks \['note'\]"),
    ],
)
def test_clips_that_do_not_go_with_the_new_ones_are_refused(monkeypatch, tmp_path, recorded, change, message):
    write_bvh(tmp_path / "anna" / "walk.bvh", recorded)
    run(monkeypatch, tmp_path / "anna", "--out", tmp_path / "one.npz")
    with np.load(tmp_path / "one.npz") as file:
        data = {k: v for k, v in (dict(file) | change).items() if v is not None}
    np.savez(tmp_path / "other.npz", **data)
    with pytest.raises(SystemExit, match=f"^prepare: .*{message}"):
        run(monkeypatch, tmp_path / "anna", "--out", tmp_path / "both.npz", "--with", tmp_path / "other.npz")


@pytest.mark.parametrize("name", rig_names())
def test_every_shipped_rig_is_found_by_its_points_and_gives_the_joints_back(name, recorded):
    rig = load_rig(name)
    names = (*sorted(rig.points), "Anything_else")
    weights = np.array([[rig.weights(j).get(n, 0) for n in names] for j in skeleton.JOINTS])
    points = np.linalg.pinv(weights) @ recorded  # some points that put the joints where they are
    if rig.up == "y":
        points = np.stack([points[..., 0], points[..., 2], -points[..., 1]], -1)
    motion = Motion(names, points / 0.01, RATE_HZ, None)
    assert find_rig(motion, [load_rig(n) for n in rig_names()]).name == name
    np.testing.assert_allclose(
        rig.world_m(motion, 0.01), recorded, atol=1e-3
    )  # its pelvis is the hips' middle to the millimetre


def test_points_no_rig_fits_are_named(recorded):
    motion = Motion(("hips", *skeleton.JOINTS[1:]), recorded, RATE_HZ, None)
    with pytest.raises(DataError, match=r"nearest, 'h36m_17', needs pelvis; the file has hips, right_hip"):
        find_rig(motion, [load_rig(n) for n in rig_names()])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("joints: {left_hipp: a}", "'left_hipp' is unknown; did you mean 'left_hip'"),
        ("joints: {left_hip: a}", "does not say where these joints are: pelvis"),
        ("joints: {PLAIN, left_hip: {a: 0.5, b: 0.6}}", "weights of joint 'left_hip' do not sum to 1"),
        ("joints: {PLAIN}\nup: x", "up is 'x'; give y or z"),
        ("joints: {PLAIN}\nunits: cm", "units is unknown; did you mean 'unit_m'"),
        ("joints: {PLAIN}\nunit_m: 0", "rig 'my': unit_m is 0.0; give a number above 0"),
        ("joints: {PLAIN, left_hip: no}", "joint 'left_hip' is False; give a point's name.* quote names"),
        ("joints:", "joints is empty; give settings"),
    ],
)
def test_faults_of_a_rig_are_named(tmp_path, text, message):
    plain = ", ".join(f"{j}: {j}" for j in skeleton.JOINTS if f"{j}:" not in text)
    (tmp_path / "my.yaml").write_text(text.replace("PLAIN", plain))
    with pytest.raises(ValueError, match=message):
        load_rig(str(tmp_path / "my.yaml"))
    with pytest.raises(ValueError, match="did you mean 'mixamo'"):
        load_rig("miximo")


@pytest.mark.parametrize("name", ["2024", "no", "1e3", "it's: mine"])
def test_a_rig_may_be_called_what_yaml_takes_for_something_else(tmp_path, name):
    path = tmp_path / f"{name}.yaml"
    path.write_text(f"joints: {{{', '.join(f'{j}: {j}' for j in skeleton.JOINTS)}}}")
    assert load_rig(str(path)).name == name


def test_a_wrong_unit_is_named_with_the_ones_that_fit(recorded):
    check_size(recorded, 1.0)
    with pytest.raises(DataError, match=r"legs are 0\.00\d+ m long when one unit is 0.01 m.*--unit m would fit"):
        check_size(recorded / 100, 0.01)
    with pytest.raises(DataError, match=r"--unit cm would fit"):
        check_size(recorded * 100, 1.0)


def test_an_axis_that_does_not_point_up_is_named(recorded):
    check_upright(recorded, "z")
    with pytest.raises(DataError, match="nobody ever stands in it when y points up"):
        check_upright(recorded[..., [0, 2, 1]] * (1, -1, 1), "y")


def test_swapped_sides_show_in_the_knees(recorded):
    check_sides(recorded)
    with pytest.raises(DataError, match=r"knees bend backwards in 100 %.*left and right are swapped"):
        check_sides(recorded[:, list(skeleton.MIRROR)])


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_no_clip_of_the_open_set_is_refused_wrongly(split):
    mocap = load_mocap(CMU, split, min_quality=3)
    for i in range(len(mocap.names)):
        poses = mocap.clip(i).numpy()
        check_size(poses, 1.0)
        check_upright(poses, "z")
        check_sides(poses)
        assert t_pose_frames(poses, RATE_HZ) == 0
        assert len(whole_pieces(poses, RATE_HZ)) == 1


def test_a_leading_t_pose_is_taken_off_and_said(monkeypatch, tmp_path, recorded, capsys):
    frames = np.concatenate([t_pose()[None], recorded])
    assert is_t_pose(frames).tolist() == [True] + [False] * 100
    write_bvh(tmp_path / "anna" / "walk.bvh", frames)
    run(monkeypatch, tmp_path / "anna", "--out", tmp_path / "my.npz")
    assert len(load_mocap(tmp_path / "my.npz", "train").clip(0)) == 100
    assert "anna/walk: 1 leading T-pose frames taken off" in capsys.readouterr().out


def test_a_t_pose_that_the_motion_grows_out_of_stays(recorded):
    held = np.repeat(t_pose()[None], 50, 0)
    assert t_pose_frames(held, RATE_HZ) == 0


def test_a_recording_is_cut_where_no_person_moves_like_that(recorded):
    jump = recorded.copy()
    jump[60:] += (3, 0, 0)
    first, second = whole_pieces(jump, RATE_HZ)
    np.testing.assert_array_equal(first, jump[:57])
    np.testing.assert_array_equal(second, jump[63:])
    jump[80:] += (3, 0, 0)  # what remains between the jumps is shorter than 0.6 s
    assert [len(p) for p in whole_pieces(jump, RATE_HZ)] == [57]


def test_resampling_keeps_time(recorded):
    seconds = np.arange(241) / 120
    line = np.tile(seconds[:, None, None], (1, 17, 3))
    out = resampled(line, 120)
    np.testing.assert_allclose(out[:, 0, 0], np.arange(101) / 50, atol=1e-9)


def test_bad_files_are_left_out_with_the_reason_and_the_rest_goes_on(monkeypatch, tmp_path, recorded, capsys):
    folder = tmp_path / "in"
    write_bvh(folder / "good.bvh", recorded)
    write_bvh(folder / "cm.bvh", recorded * 100)
    write_bvh(folder / "swapped.bvh", recorded[:, list(skeleton.MIRROR)])
    whole = write_bvh(folder / "cut.bvh", recorded)
    whole.write_text(whole.read_text()[:-200])
    (folder / "alone.amc").write_text(":DEGREES\n1\n")
    odd = write_bvh(folder / "odd.bvh", recorded)
    odd.write_text(odd.read_text().replace("Zrotation Xrotation", "Zrotation Zrotation"))
    (folder / "gone.bvh").symlink_to(folder / "nowhere.bvh")
    run(monkeypatch, folder, "--out", tmp_path / "my.npz")
    out, err = capsys.readouterr()
    assert load_mocap(tmp_path / "my.npz", "train").names == ("in/good",)
    assert "1 clips" in out
    assert "from 1 of 7 files" in out
    names = ("cm.bvh", "swapped.bvh", "cut.bvh", "alone.amc", "odd.bvh", "gone.bvh")
    reasons = {name: line for name in names for line in err.splitlines() if name in line}
    assert "--unit cm" in reasons["cm.bvh"]
    assert "left and right are swapped" in reasons["swapped.bvh"]
    assert "truncated" in reasons["cut.bvh"]
    assert "alone.asf beside it" in reasons["alone.amc"]
    assert "joint 'pelvis' turns about ZZY" in reasons["odd.bvh"]
    assert "No such file" in reasons["gone.bvh"]


def test_a_file_that_is_named_and_lies_in_a_folder_that_is_goes_in_once(monkeypatch, tmp_path, recorded):
    walk = write_bvh(tmp_path / "anna" / "walk.bvh", recorded)
    run(monkeypatch, tmp_path, tmp_path / "anna" / ".." / "anna", walk, "--out", tmp_path / "my.npz")
    assert load_mocap(tmp_path / "my.npz", "train").names == ("anna/walk",)


def test_the_user_may_name_the_unit(monkeypatch, tmp_path, recorded):
    write_bvh(tmp_path / "in" / "cm.bvh", recorded * 100)
    run(monkeypatch, tmp_path / "in", "--out", tmp_path / "my.npz", "--unit", "cm", "--subject", "anna")
    mocap = load_mocap(tmp_path / "my.npz", "train")
    assert mocap.subjects == ("anna",)
    np.testing.assert_allclose(mocap.clip(0)[..., 2], recorded[..., 2], atol=6e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), "'nowhere' does not exist"),
        (("EMPTY",), r"holds no \.bvh or \.amc file"),
        (("EMPTY", "--rig", "mixam"), "did you mean 'mixamo'"),
        (("EMPTY", "--unit", "feet"), "--unit is 'feet'"),
        (("EMPTY", "--unit", "0"), "--unit is '0'; give mm, .* above 0"),
        (("EMPTY", "--rate", "0"), "--rate is 0; give frames per second, above 0"),
        (("EMPTY", "--rate", "-30"), "--rate is -30"),
        (("EMPTY", "--rate", "nan"), "--rate is nan"),
    ],
)
def test_faults_of_the_command_are_one_line(monkeypatch, tmp_path, arguments, message):
    with pytest.raises(SystemExit, match=f"^prepare: .*{message}"):
        run(monkeypatch, *(tmp_path if a == "EMPTY" else a for a in arguments), "--out", tmp_path / "my.npz")
