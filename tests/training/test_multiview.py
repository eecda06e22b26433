"""Several cameras around a walker: the calibration files that there are, and a page of what one camera makes of it."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pstmo_ros.core import skeleton
from pstmo_ros.core.camera import Camera
from pstmo_ros.recording import Recording, save_recording
from tests.conftest import walker
from training.multiview import noise, open_scene
from training.triangulation import misses, triangulate, triangulate_robustly
from training.views import View, read_calibration

RATE_HZ = 50.0
CAMERA = Camera(1080, 1920, 1650.0, 1655.0, 545.0, 950.0, (-0.05, 0.12, 0.0005, -0.0003, 0.0))


def _views(count=4):
    """Portrait cameras in a ring of 4 m around a world's origin, 1.7 m high; z points up, and all are a bit rolled."""
    views = []
    for k in range(count):
        yaw = 2 * np.pi * k / count + 0.3
        level = np.array([[-np.sin(yaw), np.cos(yaw), 0], [0, 0, -1], [-np.cos(yaw), -np.sin(yaw), 0]])
        tilt = Rotation.from_euler("xz", [-12, 5 * k], degrees=True).as_matrix()
        at = np.array([4 * np.cos(yaw), 4 * np.sin(yaw), 1.7])
        views.append(View(f"cam{k + 1}", CAMERA, tilt @ level, -tilt @ level @ at))
    return views


@pytest.fixture(scope="module")
def world():
    """Somebody walks along the world's x: (T, 17, 3) metres, z up."""
    optical = walker(2.0, RATE_HZ, (0.0, 0.0))
    return np.stack([optical[..., 0], optical[..., 2], 1.0 - optical[..., 1]], -1)


def _recordings(views, world, noise_px=0.0):
    random, out = np.random.default_rng(0), []
    for view in views:
        px = view.camera.project(view.into(world)) + random.normal(0, noise_px, (*world.shape[:2], 2))
        keypoints = np.concatenate([px, np.full((*px.shape[:-1], 1), 0.9)], -1)[:, None].astype(np.float32)
        stamps = np.round(np.arange(len(world)) / RATE_HZ * 1e9).astype(np.int64)
        out.append(Recording(keypoints, stamps, (view.camera.width, view.camera.height), "h36m_17"))
    return out


def _as_qca(views):
    """Qualisys' file: millimetres, 64ths of pixels, cameras that look along -z."""
    cameras = []
    for v in views:
        c, rotation = v.camera, np.diag([1, -1, -1]) @ v.rotation
        at = -1000 * v.rotation.T @ v.translation_m
        r = " ".join(f'r{i + 1}{j + 1}="{rotation[i, j]:.12f}"' for i in range(3) for j in range(3))
        k1, k2, p1, p2, _ = (64 * d for d in c.distortion)
        cameras.append(
            f'<camera serial="{v.name}"><fov_video left="0" right="{c.width - 1}" top="0" bottom="{c.height - 1}"/>'
            f'<transform x="{at[0]:.6f}" y="{at[1]:.6f}" z="{at[2]:.6f}" {r}/>'
            f'<intrinsic focalLengthU="{64 * c.fx}" focalLengthV="{64 * c.fy}" centerPointU="{64 * c.cx}" '
            f'centerPointV="{64 * c.cy}" radialDistortion1="{k1}" radialDistortion2="{k2}" '
            f'tangentalDistortion1="{p1}" tangentalDistortion2="{p2}"/></camera>'
        )
    return f"<calibration><cameras>{''.join(cameras)}</cameras></calibration>"


def _as_toml(views, unit_m=1.0):
    parts = []
    for v in views:
        c = v.camera
        matrix = [[c.fx, 0.0, c.cx], [0.0, c.fy, c.cy], [0.0, 0.0, 1.0]]
        rotation = Rotation.from_matrix(v.rotation).as_rotvec().tolist()
        fisheye = str(c.lens == "equidistant").lower()
        parts.append(
            f'[{v.name}]\nname = "{v.name}"\nsize = [{float(c.width)}, {float(c.height)}]\nmatrix = {matrix}\n'
            f"distortions = {list(c.distortion[:4])}\nrotation = {rotation}\n"
            f"translation = {(v.translation_m / unit_m).tolist()}\nfisheye = {fisheye}\n"
        )
    return "\n".join(parts) + "\n[metadata]\nadjusted = false\nerror = 0.0\n"


@pytest.mark.parametrize("form", ["qca", "toml", "toml in mm", "toml of fisheyes"])
def test_calibrations_are_read_as_they_were_written(tmp_path, form):
    if form.startswith("toml"):
        pytest.importorskip("tomllib", reason="Python 3.10 has no TOML reader")
    views = _views()
    if form == "toml of fisheyes":
        lens = {"lens": "equidistant", "distortion": (0.1, -0.02, 0.003, 0.0)}
        views = [dataclasses.replace(v, camera=dataclasses.replace(v.camera, **lens)) for v in views]
    unit = 0.001 if form == "toml in mm" else 1.0
    path = tmp_path / ("Calib.qca.txt" if form == "qca" else "Calib.toml")
    path.write_text(_as_qca(views) if form == "qca" else _as_toml(views, unit))
    for read, view in zip(read_calibration(path, unit), views, strict=True):
        assert read.name == view.name
        np.testing.assert_allclose(
            dataclasses.astuple(read.camera)[:6], dataclasses.astuple(view.camera)[:6], rtol=1e-9
        )
        assert read.camera.lens == view.camera.lens
        np.testing.assert_allclose(read.camera.distortion, view.camera.distortion, rtol=1e-9)
        np.testing.assert_allclose(read.rotation, view.rotation, atol=1e-9)
        np.testing.assert_allclose(read.translation_m, view.translation_m, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no xml", "no XML"),
        ("<calibration/>", "has 0 cameras; give 2 or more"),
        ('<c><cameras><camera serial="a"><fov_video left="0"/></camera></cameras></c>', "a camera has no 'intrinsic'"),
    ],
)
def test_a_calibration_that_is_none_says_so(tmp_path, text, message):
    path = tmp_path / "Calib.qca.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_calibration(path)
    with pytest.raises(ValueError, match="does not exist"):
        read_calibration(tmp_path / "none.toml")


def test_points_are_where_the_rays_meet(world):
    views = _views()
    rays = np.stack([v.camera.rays(v.camera.project(v.into(world))) for v in views])
    seen = np.ones(rays.shape[:-1])
    np.testing.assert_allclose(triangulate(views, rays, seen), world, atol=1e-6)
    assert misses(views, rays, world).max() < 1e-7
    seen[1:, 0, 0] = 0
    assert np.isnan(triangulate(views, rays, seen)[0, 0]).all(), "one camera alone says nothing of depth"


def test_a_camera_that_is_wrong_is_left_out(world):
    views = _views()
    rays = np.stack([v.camera.rays(v.camera.project(v.into(world))) for v in views])
    wrong = rays.copy()
    wrong[2, :, skeleton.index("left_wrist")] += 0.1
    seen = np.ones(rays.shape[:-1])
    assert np.abs(triangulate(views, wrong, seen) - world).max() > 0.05
    np.testing.assert_allclose(triangulate_robustly(views, wrong, seen, 0.02), world, atol=1e-5)
    two = triangulate_robustly(views[1:3], wrong[1:3], seen[1:3], 0.002)
    assert np.isnan(two[:, skeleton.index("left_wrist")]).any(), "of two cameras nobody knows which is wrong"


def test_the_truth_is_what_the_cameras_agree_on(world):
    """Somebody else stands in one image, larger; a camera sees nobody for a while; another takes left for right."""
    views = _views()
    recordings = _recordings(views, world, noise_px=2.0)
    stranger = recordings[0].keypoints * (1.2, 1.2, 1) - (600, 100, 0)
    recordings[0] = dataclasses.replace(recordings[0], keypoints=np.concatenate([stranger, recordings[0].keypoints], 1))
    recordings[1].keypoints[30:60] = (np.nan, np.nan, 0)
    recordings[2].keypoints[70:75] = recordings[2].keypoints[70:75][:, :, list(skeleton.MIRROR)]
    scene = open_scene(views, recordings)
    for view, recording in zip(views, scene.recordings, strict=True):
        assert np.linalg.norm(recording.truth_m[:, 0] - view.into(world), axis=-1).max() < 0.02
    np.testing.assert_array_equal(scene.recordings[0].keypoints, recordings[0].keypoints[:, 1:])
    assert np.isnan(scene.recordings[1].keypoints[30:60, ..., 0]).all()
    np.testing.assert_array_equal(scene.recordings[2].keypoints, recordings[2].keypoints)
    assert scene.found == 1
    assert 1 < scene.miss_px < 3


def test_frames_that_one_cameras_file_leaves_out_move_nothing(world):
    """AlphaPose and COCO results have no images that show nobody."""
    recordings, kept = _recordings(_views(), world), np.ones(len(world), bool)
    kept[[0, 1, 2, 50, 51]] = False
    some = dataclasses.replace(recordings[2], keypoints=recordings[2].keypoints[kept])
    recordings[2] = dataclasses.replace(some, stamps_ns=some.stamps_ns[kept] + 3_000_000)  # 3 ms later than the others
    scene = open_scene(_views(), recordings)
    for view, recording in zip(scene.views, scene.recordings, strict=True):
        np.testing.assert_allclose(recording.truth_m[:, 0], view.into(world[kept]), atol=1e-3)
        np.testing.assert_array_equal(recording.stamps_ns, recordings[0].stamps_ns[kept])
    recordings[1] = dataclasses.replace(recordings[1], stamps_ns=recordings[1].stamps_ns + 10**12)
    with pytest.raises(ValueError, match="cameras share 0 frames' stamps"):
        open_scene(_views(), recordings)


def test_the_detectors_errors_are_taken_apart(world):
    """Wrists are off by a constant, everything trembles; heights are of 1.7 m."""
    views = _views(8)
    recordings = _recordings(views, world, noise_px=2.0)
    wrists = [skeleton.index(f"{side}_wrist") for side in ("left", "right")]
    for k, recording in enumerate(recordings):  # away from each other: the points stay where they are
        recording.keypoints[:, 0, wrists, 0] += 12 * (-1) ** k
    table = noise(open_scene(views, recordings))
    rows = {line.split("|")[1].strip(): [float(x) for x in line.split("|")[2:-1]] for line in table.splitlines()[4:]}
    height_px = 1.7 * 1650 / 4
    assert rows["wrist"][0] == pytest.approx(100 * 12 / 2**0.5 / height_px, rel=0.3)
    assert rows["knee"][0] < 0.2
    for part in ("wrist", "knee"):
        assert rows[part][2] == pytest.approx(100 * 2 / height_px, rel=0.3)


def test_two_frames_are_too_few(world):
    views = _views()
    with pytest.raises(ValueError, match="no limb joint is triangulated in three frames; give longer recordings"):
        noise(open_scene(views, _recordings(views, world[:2])))


def test_recordings_that_do_not_fit_are_refused(world):
    views = _views()
    recordings = _recordings(views, world)
    with pytest.raises(ValueError, match=r"3 recordings for 4 cameras \(cam1, cam2, cam3, cam4\)"):
        open_scene(views, recordings[:3])
    recordings[1].keypoints[..., 1] += 400
    with pytest.raises(ValueError, match="the cameras agree on nobody"):
        open_scene(views[:2], recordings[:2])


def test_the_page_has_every_camera_and_a_refusal_is_one_line(tmp_path, world, bundle):
    views = _views(3)
    (tmp_path / "Calib.qca.txt").write_text(_as_qca(views))
    names = []
    for view, recording in zip(views, _recordings(views, world, 1.0), strict=True):
        names.append(str(tmp_path / f"{view.name}.npz"))
        save_recording(names[-1], recording)
    command = [sys.executable, "-m", "training.multiview", str(tmp_path / "Calib.qca.txt"), *names]
    command += ["--models", str(bundle.path), "--up", "z", "--out", str(tmp_path / "page.md")]
    subprocess.run(command, check=True, capture_output=True)
    page = (tmp_path / "page.md").read_text()
    assert "100 frames of 3 cameras" in page
    for row in ("| cam1 |", "| cam2 |", "| cam3 |", "| all cameras |"):
        assert page.count(row) == 1, "one table: this model is not told where down is"
    refused = subprocess.run([*command[:4], names[0]], check=False, capture_output=True, text=True)
    assert refused.returncode == 1
    assert refused.stderr.strip().splitlines()[-1].startswith("multiview: 1 recordings for 3 cameras")


def test_a_cropped_qualisys_image_is_where_it_was_in_the_whole_one(tmp_path):
    path, text = tmp_path / "Calib.qca.txt", _as_qca(_views(2))
    path.write_text(text)
    whole = read_calibration(path)[0].camera
    path.write_text(text.replace('left="0"', 'left="100"').replace('top="0"', 'top="50"'))
    cropped = read_calibration(path)[0].camera
    point = np.array([0.1, 0.2, 4.0])
    np.testing.assert_allclose(cropped.project(point), whole.project(point) - (100, 50), atol=1e-6)
    assert (cropped.width, cropped.height) == (whole.width - 100, whole.height - 50)
