"""What the accuracy page says, it says of what it names."""

import dataclasses
import sys

import numpy as np
import pytest
import torch

from pstmo_ros.core import layouts, skeleton
from pstmo_ros.core.bundle import save_bundle
from pstmo_ros.core.camera import Camera
from pstmo_ros.core.model import STMO
from pstmo_ros.core.model_config import ModelConfig
from tests.conftest import walker
from training import accuracy
from training.accuracy import Run, calibration, covered, figures
from training.changes import every, hide, hide_some, swap_sides
from training.conditions import conditions
from training.mocap import CMU, Mocap, load_mocap
from training.synthesis import place_camera, record_clip


@pytest.fixture(scope="module")
def mocap():
    return load_mocap(CMU, "val")


@pytest.fixture(scope="module")
def recorded(mocap):
    return record_clip(mocap, 0)


def test_hidden_keypoints_are_hidden_and_the_others_untouched(recorded):
    names = layouts.get(recorded.layout).joints
    hidden = hide(("knee", "ankle"))(recorded, 0)
    legs = [i for i, n in enumerate(names) if n.endswith(("knee", "ankle"))]
    assert (hidden.keypoints[:, :, legs, 2] == 0).all()
    rest = [i for i in range(len(names)) if i not in legs]
    np.testing.assert_array_equal(hidden.keypoints[:, :, rest], recorded.keypoints[:, :, rest])
    some = hide_some(4)(recorded, 0)
    per_frame = (np.isnan(some.keypoints[:, 0, :, 0])).sum(1)
    assert (per_frame >= 4).all()
    assert (recorded.keypoints[..., 2] > 0).any(), "the recording itself is left as it was"


def test_sides_are_swapped_for_a_while_and_nothing_else_changes(recorded):
    names = layouts.get(recorded.layout).joints
    other = [names.index(skeleton.mirrored_name(n)) for n in names]
    swapped = swap_sides(recorded, 0).keypoints[:, 0]
    plain, crossed = recorded.keypoints[:, 0], recorded.keypoints[:, 0, other]
    changed = ~((swapped == plain) | np.isnan(plain)).all(-1)
    assert 0.02 < changed.any(1).mean() < 0.25, "0.1 to 0.5 s of every 2 s"
    np.testing.assert_array_equal(swapped[changed], crossed[changed])
    middle = [k for k, n in enumerate(names) if not n.startswith(("left", "right"))]
    assert not changed[:, middle].any()


def test_a_slower_detector_reports_every_fifth_frame_with_its_own_truth(recorded):
    slow = every(5)(recorded, 0)
    assert (np.diff(slow.stamps_ns) == 100_000_000).all()
    np.testing.assert_array_equal(slow.truth_m, recorded.truth_m[::5])


@pytest.mark.parametrize("pitch_deg", [-60, 0, 30])
def test_the_camera_looks_as_steeply_as_asked(mocap, pitch_deg):
    rotation, _ = place_camera(mocap.clip(0), Camera.from_field_of_view((640, 480), 60), 1, pitch_deg)
    forward = rotation[2]  # the optical axis in the world
    assert torch.rad2deg(torch.asin(forward[2])).item() == pytest.approx(pitch_deg, abs=1e-3)


def test_the_camera_stands_as_far_away_as_asked(mocap):
    clip = mocap.clip(0)
    rotation, translation = place_camera(clip, Camera.from_field_of_view((640, 480), 60), 1, distance_m=7.0)
    centre = (clip.reshape(-1, 3).amin(0) + clip.reshape(-1, 3).amax(0)) / 2
    assert (rotation @ centre + translation).norm().item() == pytest.approx(7.0, abs=1e-4)


@pytest.fixture
def upright():
    """A walker who stands upright: down is from the head to the pelvis."""
    camera = torch.from_numpy(walker(0.1))
    world = torch.stack([camera[..., 0], camera[..., 2], -camera[..., 1]], -1)  # z up
    return Mocap(world, torch.tensor([0]), torch.tensor([5]), ("a",), ("s",), ("walk",), 50.0)


@pytest.mark.parametrize("off_deg", [0.0, 10.0])
def test_the_camera_knows_where_down_is_as_well_as_asked(upright, off_deg):
    known = record_clip(upright, 0, pitch_deg=-30, gravity_off_deg=off_deg)
    falls = known.truth_m[0, 0, skeleton.ROOT] - known.truth_m[0, 0, skeleton.index("head_top")]
    exact = np.array([0, np.cos(np.radians(30)), np.sin(np.radians(30))])
    assert falls @ exact / np.linalg.norm(falls) > 0.999
    assert np.degrees(np.arccos(min(1.0, exact @ known.camera.down))) == pytest.approx(off_deg, abs=0.2)
    assert record_clip(upright, 0, pitch_deg=-30).camera.down is None


@pytest.mark.parametrize("tipped_deg", [45.0, 90.0])
def test_people_are_tipped_over_by_as_much_as_asked(upright, tipped_deg):
    lying = record_clip(upright, 0, gravity_off_deg=0.0, tipped_deg=tipped_deg)
    falls = lying.truth_m[0, 0, skeleton.ROOT] - lying.truth_m[0, 0, skeleton.index("head_top")]
    leans = np.degrees(np.arccos(falls @ lying.camera.down / np.linalg.norm(falls)))
    assert leans == pytest.approx(tipped_deg, abs=2)
    assert np.isfinite(lying.keypoints[0, 0, :, 0]).any(), "before the camera"


def test_deviations_that_are_right_are_called_right():
    generator = torch.Generator().manual_seed(0)
    truth = torch.zeros(2000, 17, 3)
    std = 0.01 + 0.05 * torch.rand(2000, 17, generator=generator)
    poses = truth + std[..., None] * torch.randn(truth.shape, generator=generator)
    share = torch.zeros(2000)
    good = calibration([Run("a", poses, truth, share, std)])
    assert good["within 1, %"] == pytest.approx(68.3, abs=0.5)
    assert good["RMS of error / deviation"] == pytest.approx(1, abs=0.02)
    assert covered([Run("a", poses, truth, share, std)], [3, 4])["in 2 std %"] == pytest.approx(95.4, abs=0.5)
    boastful = Run("a", poses, truth, share, std / 2)
    assert calibration([boastful])["RMS of error / deviation"] == pytest.approx(2, abs=0.04)
    assert covered([boastful])["in 2 std %"] == pytest.approx(68.3, abs=0.5)


def test_figures_count_the_joints_asked_for_and_frames_without_a_pose():
    truth = torch.randn(4, 17, 3, generator=torch.Generator().manual_seed(0))
    poses = truth.clone()
    poses[:, 3, 0] += 0.1
    poses[3] = torch.nan
    result = [Run("a", poses, truth, torch.tensor([0.01, 0.02, 0.09, torch.nan]), None)]
    assert figures(result)["MPJPE"] == pytest.approx(100 / 17, abs=1e-3)
    assert figures(result, [3])["MPJPE"] == pytest.approx(100, abs=1e-3)
    assert figures(result, [4])["MPJPE"] == pytest.approx(0, abs=1e-3)
    assert figures(result)["root %"] == pytest.approx(2.0, abs=1e-4)
    assert figures(result)["posed %"] == 75


def test_where_a_pelvis_is_guessed_to_be_does_not_count_about_another_joint():
    torch.manual_seed(0)
    truth = torch.randn(4, 17, 3)
    guessed = truth + torch.tensor([0.1, 0, 0])
    guessed[:, skeleton.ROOT] = truth[:, skeleton.ROOT]
    arms = [skeleton.index("left_wrist"), skeleton.index("right_wrist")]
    result = [Run("a", guessed, truth, torch.zeros(4), None)]
    assert figures(result, arms)["MPJPE"] == pytest.approx(100, abs=1e-3)
    assert figures(result, arms, skeleton.index("thorax"))["MPJPE"] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(
    ("frames", "stride", "rate_hz", "longest"), [(81, 1, 50.0, 0.8), (27, 3, 50.0, 0.78), (27, 2, 30.0, 0.86)]
)
def test_the_longest_look_ahead_asked_for_is_one_that_the_window_has(frames, stride, rate_hz, longest):
    config = ModelConfig(frames, stride, rate_hz, mofa=False, dial=True)
    row = conditions(config.longest_look_ahead_s, rate_hz)["Look-ahead, seconds"][-1]
    assert (row.name, row.look_ahead_s) == (f"{longest:g}", longest)
    config.at(row.look_ahead_s)


def test_the_page_is_written(mocap, tmp_path, monkeypatch):
    torch.manual_seed(0)
    ours = {"mofa": False, "centred": True, "dial": True, "uncertainty": True, "gravity": True}
    config = ModelConfig(3, 9, dim=32, heads=4, depth=1, **ours)
    save_bundle(tmp_path / "m.safetensors", STMO(config), "rays", {}, np.zeros((2, 3, 18, 2), np.float32))
    out = tmp_path / "accuracy.md"
    beginnings = dataclasses.replace(mocap, length=mocap.length.clamp(max=60))  # which 63 rows lift
    monkeypatch.setattr(accuracy, "load_mocap", lambda path, split: {(CMU, "val"): beginnings}[path, split])
    arguments = ["--split", "val", "--every", "1000", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["accuracy", str(tmp_path / "m.safetensors"), *arguments])
    accuracy.main()
    text = out.read_text()
    titles = (
        "Look-ahead",
        "Hidden",
        "Detector rate",
        "Intrinsics",
        "Camera pitch",
        "Where down is",
        "People tipped over",
        "Keypoint layout",
        "Standard dev",
    )
    assert all(f"## {title}" in text for title in titles)
    (section,) = (part for part in text.split("## ") if part.startswith("Intrinsics"))
    (unknown,) = (line for line in section.splitlines() if line.startswith("| unknown"))
    assert unknown.split(" | ")[4:6] == ["–", "100.0"]  # posed, and placed nowhere

    def again(*words):
        monkeypatch.setattr(sys, "argv", [*sys.argv[:6], "--out", str(tmp_path / "some.md"), "--tables", *words])
        accuracy.main()
        return (tmp_path / "some.md").read_text().split("## ")[1:]

    some = again("intrinsics", "Detector R")
    assert [part.split(",")[0] for part in some] == ["Detector rate", "Intrinsics"]
    assert some[1].rstrip() == section.rstrip(), "the same figures as on the whole page"
    with pytest.raises(SystemExit, match="no table has 'speed' in its title; there are: Look-ahead"):
        again("rate", "speed")
