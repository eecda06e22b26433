"""Files in and out: each keeps what the recording says, and what is wrong with one is named."""

import csv
import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import Writer
from rosbags.typesys import Stores, get_typestore

from pstmo_ros.adapters import TF_MESSAGE
from pstmo_ros.core import skeleton
from pstmo_ros.core.camera import Camera
from pstmo_ros.core.pipeline import PoseLifter
from pstmo_ros.engines import load_engine
from pstmo_ros.formats import Source, read
from pstmo_ros.formats.bag_tf import Links, message
from pstmo_ros.formats.bvh import write_bvh
from pstmo_ros.formats.rosbag import bag_header, write_bag
from pstmo_ros.lift import lift, writer
from pstmo_ros.recording import from_frames, save_recording
from pstmo_ros.render import filmed
from tests.conftest import record, walker
from tests.core.test_steady import drive
from training.motion.bvh import read_bvh


@pytest.fixture
def recording(camera):
    people = [walker(0.5), walker(0.5, offset_m=(1.0, 5.0))]
    return dataclasses.replace(record(people, camera), frame_id="left_eye")


@pytest.fixture
def lifted(bundle, recording):
    return lift(recording, PoseLifter(bundle, load_engine(bundle, "torch")))


@pytest.mark.parametrize("name", ["bag", "one.mcap"])
def test_a_bag_gives_back_the_recording_and_holds_the_skeletons(tmp_path, recording, lifted, name):
    lifted.std_m[:] = 0.05
    writer(name)(tmp_path / name, recording, lifted)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    back = read(tmp_path / name, Source(layout="h36m_17"))
    np.testing.assert_array_equal(back.stamps_ns, recording.stamps_ns)
    np.testing.assert_array_equal(back.person_ids, recording.person_ids)
    np.testing.assert_allclose(back.keypoints, recording.keypoints)
    assert (back.camera, back.frame_id) == (recording.camera, "left_eye")
    messages = _skeletons(tmp_path / name)
    assert [(m.height, m.width) for m in messages] == [(2, 17)] * len(recording.stamps_ns)
    assert {m.header.frame_id for m in messages} == {"left_eye"}
    values = np.moveaxis(np.frombuffer(messages[-1].data, np.float32).reshape(2, 17, -1), -1, 0)
    last = {field.name: column for field, column in zip(messages[-1].fields, values, strict=True)}
    np.testing.assert_array_equal(np.stack([last[n] for n in "xyz"], -1), lifted.poses_m[-1])
    np.testing.assert_array_equal(np.stack([last["v" + n] for n in "xyz"], -1), lifted.velocities_m_s[-1])
    np.testing.assert_allclose(last["std"], 0.05)
    with pytest.raises(ValueError, match="exists already"):
        write_bag(tmp_path / name, recording, lifted)


def test_skeletons_of_a_bag_without_a_camera_are_about_the_pelvis_and_say_so(tmp_path, recording, lifted):
    lifted = dataclasses.replace(lifted, placed=False)
    writer("bag")(tmp_path / "bag", dataclasses.replace(recording, camera=None), lifted)
    message = _skeletons(tmp_path / "bag")[-1]
    assert message.header.frame_id == "left_eye_root_relative"
    assert np.frombuffer(message.data, np.float32)[:3] == pytest.approx([0, 0, 0])


def _skeletons(path):
    with AnyReader([path]) as bag:
        chosen = [c for c in bag.connections if c.topic == "/lifter/skeletons"]
        return [bag.deserialize(data, c.msgtype) for c, _, data in bag.messages(chosen)]


def test_a_bag_keeps_a_fisheye_camera(tmp_path, recording, lifted):
    fisheye = Camera(1280, 720, 600.0, 600.0, 640.0, 355.0, (0.01, -0.002, 0.0005, 0.0), "equidistant")
    writer("bag")(tmp_path / "bag", dataclasses.replace(recording, camera=fisheye), lifted)
    assert read(tmp_path / "bag", Source(layout="h36m_17")).camera == fisheye


def test_a_bag_keeps_how_a_camera_moved(tmp_path, recording, lifted):
    moves = drive(0.5, 30.0, (0.3, -0.5))
    moves[20] = np.nan
    writer("bag")(tmp_path / "bag", dataclasses.replace(recording, odom_from_camera=moves), lifted)
    back = read(tmp_path / "bag", Source(layout="h36m_17", odom_frame="odom"))
    known = np.arange(25) != 20
    np.testing.assert_allclose(back.odom_from_camera[known], moves[known], atol=1e-6)
    np.testing.assert_allclose(back.odom_from_camera[20], (moves[19] + moves[21]) / 2, atol=1e-3)
    assert read(tmp_path / "bag", Source(layout="h36m_17")).odom_from_camera is None
    with pytest.raises(ValueError, match="no transforms from 'left_eye' to 'map'; frames: left_eye, odom"):
        read(tmp_path / "bag", Source(layout="h36m_17", odom_frame="map"))


def test_a_bag_without_transforms_says_so(tmp_path, recording, lifted):
    writer("bag")(tmp_path / "bag", recording, lifted)
    with pytest.raises(ValueError, match="no transforms from 'left_eye' to 'odom'; frames: none"):
        read(tmp_path / "bag", Source(layout="h36m_17", odom_frame="odom"))


def test_transforms_of_a_bag_are_joined_as_tf2_joins_them(tmp_path, recording, lifted):
    """odom and the camera below map and base_link; a link that ends early, and one whose last word counts."""
    writer("bag")(tmp_path / "bag", recording, lifted)
    store = get_typestore(Stores.ROS2_JAZZY)
    stamps, base = recording.stamps_ns, drive(0.5, 40.0, (1.0, 0.0))
    mount, drift = drive(0.02, tilt_deg=20)[0], drive(0.5, 5.0)

    def links():
        for t, stamp in enumerate(stamps.tolist()):
            if t < 10:
                yield "/tf", stamp, "odom", "base_link", base[t]
            yield "/tf", stamp, "map", "odom", drift[t]
        yield "/tf_static", 0, "base_link", "left_eye", drift[0]
        yield "/tf_static", 1, "base_link", "left_eye", mount

    with Writer(tmp_path / "tf", version=9) as bag:
        to = {topic: bag.add_connection(topic, TF_MESSAGE, typestore=store) for topic in ("/tf", "/tf_static")}
        for topic, stamp, parent, child, pose in links():
            said = message(store, bag_header(store, stamp, parent), child, pose)
            bag.write(to[topic], stamp, store.serialize_cdr(said, TF_MESSAGE))
    with AnyReader([tmp_path / "tf"], default_typestore=store) as bag:
        known = Links(bag)
    got = known.poses("odom", "left_eye", stamps)
    np.testing.assert_allclose(got[:10], base[:10] @ mount, atol=1e-6)
    np.testing.assert_allclose(got[10:19], np.tile(base[9] @ mount, (9, 1, 1)), atol=1e-6)
    assert np.isnan(got[20:]).all(), "0.2 s later nobody knows"
    np.testing.assert_allclose(known.poses("map", "odom", stamps), drift, atol=1e-6)


def test_a_topic_that_is_not_in_the_bag_is_named(tmp_path, recording, lifted):
    writer("bag")(tmp_path / "bag", recording, lifted)
    with pytest.raises(ValueError, match=r"'/none' is not in it; topics that fit: .*'/keypoints'"):
        read(tmp_path / "bag", Source(keypoints="/none"))


def test_a_bag_without_camera_info_needs_the_image_size(tmp_path, recording, lifted):
    writer("bag")(tmp_path / "bag", dataclasses.replace(recording, camera=None), lifted)
    with pytest.raises(ValueError, match="has no camera_info, so the image size is unknown; give size"):
        read(tmp_path / "bag")
    assert read(tmp_path / "bag", Source(size_px=(1280, 720), layout="h36m_17")).camera is None


def test_a_camera_info_without_an_image_size_says_nothing(tmp_path, recording, lifted):
    """As drivers send it that have no calibration, or have not opened the camera yet."""
    unknown = dataclasses.replace(recording.camera, width=0, height=0)
    writer("bag")(tmp_path / "bag", dataclasses.replace(recording, camera=unknown), lifted)
    with pytest.raises(ValueError, match="image size is unknown; give size"):
        read(tmp_path / "bag")
    got = read(tmp_path / "bag", Source(size_px=recording.size_px, layout="h36m_17"))
    assert (got.size_px, got.camera) == (recording.size_px, None)


def test_keypoints_of_rectified_images_are_not_undistorted(tmp_path, recording, lifted):
    bent = dataclasses.replace(recording.camera, distortion=(0.1, 0.0, 0.0, 0.0, 0.0))
    writer("bag")(tmp_path / "bag", dataclasses.replace(recording, camera=bent), lifted)
    assert read(tmp_path / "bag").camera.distorted
    assert not read(tmp_path / "bag", Source(rectified=True)).camera.distorted


def test_a_folder_that_is_no_bag_is_named(tmp_path):
    (tmp_path / "metadata.yaml").write_text("{")
    with pytest.raises(ValueError, match="not a readable rosbag2"):
        read(tmp_path)


def test_bvh_comes_back_to_the_millimetre(tmp_path):
    poses = walker(1.0).astype(float)
    lengths = np.linalg.norm(poses - poses[:, skeleton.PARENTS], axis=-1).mean(0)
    fixed = poses.copy()
    for parent, child in skeleton.BONES:
        bone = poses[:, child] - poses[:, parent]
        fixed[:, child] = fixed[:, parent] + bone / np.linalg.norm(bone, axis=-1, keepdims=True) * lengths[child]
    write_bvh(tmp_path / "a.bvh", fixed, 50.0)
    motion = read_bvh(tmp_path / "a.bvh")
    points = motion.points[:, [motion.names.index(joint) for joint in skeleton.JOINTS]] / 100 * (1, -1, -1)
    assert motion.rate_hz == pytest.approx(50.0)
    np.testing.assert_allclose(points, fixed, atol=1e-3)


def test_each_person_has_a_bvh_of_their_own_that_bridges_gaps(tmp_path, recording, lifted):
    lifted.person_ids[10:12, 0] = -1
    lifted.poses_m[10:12, 0] = np.nan
    writer("a.bvh")(tmp_path / "a.bvh", recording, lifted)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a_1.bvh", "a_2.bvh"]
    assert len(read_bvh(tmp_path / "a_1.bvh").points) == len(recording.stamps_ns)


def test_csv_has_a_row_for_each_person_and_frame(tmp_path, recording, lifted):
    lifted.person_ids[0, 1] = -1
    writer("a.csv")(tmp_path / "a.csv", recording, lifted)
    rows = list(csv.DictReader((tmp_path / "a.csv").open()))
    assert len(rows) == 2 * len(recording.stamps_ns) - 1
    assert rows[0]["person_id"] == "1"
    wrist = [float(rows[0][f"left_wrist_{axis}"]) for axis in "xyz"]
    np.testing.assert_allclose(wrist, lifted.poses_m[0, 0, skeleton.index("left_wrist")], rtol=1e-5)
    assert float(rows[-1]["left_wrist_vx"]) == pytest.approx(
        lifted.velocities_m_s[-1, 1, skeleton.index("left_wrist"), 0], rel=1e-5
    )
    assert rows[-1]["left_wrist_std"] == "nan", "from a model that does not say"


def test_lift_films_a_recording(tmp_path, bundle, recording):
    save_recording(tmp_path / "in.npz", recording)
    command = [sys.executable, "-m", "pstmo_ros.lift", tmp_path / "in.npz", tmp_path / "out.mp4", "--engine", "torch"]
    subprocess.run([*command, "--model", bundle.path], check=True, capture_output=True)
    assert (tmp_path / "out.mp4").read_bytes()[4:8] == b"ftyp"


@pytest.mark.parametrize("frames", [1, 4, 7, 8])
def test_a_film_shows_the_frame_at_each_of_its_moments_and_the_last_one(frames):
    stamps = 1_700_000_000_000_000_000 + 50_000_000 * np.arange(2 * frames - 1)  # at 20 Hz
    assert filmed(stamps, 10.0).tolist() == list(range(0, 2 * frames - 1, 2))


def test_a_bvh_has_every_frame_of_a_rate_that_is_no_whole_number_of_ns(tmp_path, recording, lifted):
    many = 4000  # at 600 Hz, as far off as at 60 Hz
    again = {name: np.repeat(getattr(lifted, name)[:1], many, 0) for name in ("poses_m", "person_ids")}
    stamps = np.round(np.arange(many) / 600 * 1e9).astype(np.int64)
    writer("a.bvh")(tmp_path / "a.bvh", recording, dataclasses.replace(lifted, stamps_ns=stamps, **again))
    assert len(read_bvh(tmp_path / "a_1.bvh").points) == many


def test_keypoints_in_shares_of_the_image_are_named(tmp_path, recording):
    """As MediaPipe and others give them: somebody of one pixel, in the image's corner."""
    recording.keypoints[..., :2] /= recording.size_px
    save_recording(tmp_path / "a.npz", recording)
    with pytest.raises(ValueError, match=r"a\.npz: keypoints are shares of the image; give pixels"):
        read(tmp_path / "a.npz")


def test_keypoints_far_outside_the_image_are_named(tmp_path, recording):
    recording.keypoints[..., :2] *= recording.size_px
    save_recording(tmp_path / "a.npz", recording)
    with pytest.raises(ValueError, match=r"a\.npz: keypoints lie around .* in an image of 1280 x 720 pixels"):
        read(tmp_path / "a.npz")


def test_an_ending_that_is_not_known_is_named():
    with pytest.raises(ValueError, match=r"'\.bhv' is unknown; did you mean '\.bvh'"):
        writer("a.bhv")


@pytest.mark.parametrize(
    ("name", "package"), [("a.mp4", "imageio-ffmpeg"), ("a.mp4", "matplotlib"), ("a.mcap", "rosbags"), ("a", "rosbags")]
)
def test_a_package_that_an_output_lacks_is_named_before_anything_is_lifted(monkeypatch, name, package):
    monkeypatch.setitem(sys.modules, package.replace("-", "_"), None)
    with pytest.raises(ValueError, match=f"output '{name}' needs {package}: pip install {package}"):
        writer(name)


def test_frames_of_one_stamp_are_one_frame_of_poses(tmp_path, bundle, recording, lifted):
    """As of detectors that send a message per person."""
    frames = [
        dataclasses.replace(
            f, keypoints_px=f.keypoints_px[[p]], scores=f.scores[[p]], person_ids=f.person_ids[p : p + 1]
        )
        for f in recording.frames()
        for p in (0, 1)
    ]
    split = from_frames(frames, recording.camera)
    ours = lift(split, PoseLifter(bundle, load_engine(bundle, "torch")))
    np.testing.assert_allclose(ours.poses_m, lifted.poses_m, atol=1e-5)
    writer("bag")(tmp_path / "bag", split, ours)
    assert [m.height for m in _skeletons(tmp_path / "bag")] == [2] * len(recording.stamps_ns)
    writer("a.mp4")(tmp_path / "a.mp4", split, ours)


def test_a_recording_of_nobody_is_not_filmed(tmp_path, bundle, recording):
    recording.keypoints[..., 2] = 0
    nobody = lift(recording, PoseLifter(bundle, load_engine(bundle, "torch")))
    with pytest.raises(ValueError, match="nobody was lifted, so there is nothing to film"):
        writer("a.mp4")(tmp_path / "a.mp4", recording, nobody)
    with pytest.raises(ValueError, match="nobody was lifted, so there is no motion to write"):
        writer("a.bvh")(tmp_path / "a.bvh", recording, nobody)


def test_a_bag_whose_headers_are_not_stamped_is_named(tmp_path, recording, lifted):
    """Else all of it would be one frame."""
    unstamped = dataclasses.replace(recording, stamps_ns=np.zeros_like(recording.stamps_ns))
    writer("bag")(tmp_path / "bag", unstamped, lifted)
    with pytest.raises(ValueError, match="/keypoints: headers are not stamped"):
        read(tmp_path / "bag", Source(layout="h36m_17"))
