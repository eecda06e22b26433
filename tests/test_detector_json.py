"""Detectors' JSON as recordings: what was detected, in order, and what is wrong with a file is named."""

import json

import numpy as np
import pytest

from pstmo_ros.core import layouts
from pstmo_ros.formats import Source, read
from pstmo_ros.recording import Recording

RATE_HZ = 50.0
HALPE = Source(rate_hz=RATE_HZ, size_px=(640, 480), layout="halpe_26")
KNOWN = Source(rate_hz=RATE_HZ, size_px=(640, 480))


def detector_recording(layout):
    """Two people in a detector's layout; the second comes at frame 3."""
    rng, joints = np.random.default_rng(0), len(layouts.get(layout).joints)
    keypoints = rng.uniform(50, 600, (10, 2, joints, 3)).astype(np.float32)
    keypoints[..., 2] = 0.5
    keypoints[0, 0, 4] = np.nan
    keypoints[:3, 1] = np.nan
    ids = np.tile([4, 9], (10, 1))
    stamps = np.round(np.arange(10) / RATE_HZ * 1e9).astype(np.int64)
    return Recording(keypoints, stamps, (640, 480), layout, ids)


def people(recording, t):
    """Frame t's people as (points (J, 3) with zeros where not seen, id)."""
    points = np.nan_to_num(recording.keypoints[t])
    return [(p, int(i)) for p, i in zip(points, recording.person_ids[t], strict=True) if p[:, 2].any()]


def openpose(folder, r):
    for t in range(len(r.stamps_ns)):
        listed = [{"person_id": [i], "pose_keypoints_2d": p.ravel().tolist()} for p, i in people(r, t)]
        (folder / f"walk_{t:012d}_keypoints.json").write_text(json.dumps({"version": 1.3, "people": listed}))
    return folder


def alphapose(folder, r):
    listed = [{"image_id": f"{t}.jpg", "category_id": 1, "keypoints": p.ravel().tolist(), "score": 2.5, "idx": i}
              for t in range(len(r.stamps_ns)) for p, i in people(r, t)]  # fmt: skip
    (folder / "alphapose-results.json").write_text(json.dumps(listed))
    return folder / "alphapose-results.json"


def _instances(r, t):
    listed = people(r, t)
    return [{"keypoints": p[:, :2].tolist(), "keypoint_scores": p[:, 2].tolist(), "track_id": i} for p, i in listed]


def _alphapose(people_key, points_key):
    def write(folder, r):
        images = {f"{t}.jpg": {people_key: [{points_key: p.ravel().tolist()} for p, _ in people(r, t)]}
                  for t in range(len(r.stamps_ns))}  # fmt: skip
        (folder / "alphapose-results.json").write_text(json.dumps(images))
        return folder / "alphapose-results.json"

    return write


alphapose_open, alphapose_cmu = _alphapose("people", "pose_keypoints_2d"), _alphapose("bodies", "joints")
WITHOUT_IDS = [alphapose_open, alphapose_cmu]


def mmpose_video(folder, r):
    frames = [{"frame_id": t + 1, "instances": _instances(r, t)} for t in range(len(r.stamps_ns))]
    (folder / "results.json").write_text(json.dumps({"meta_info": {}, "instance_info": frames}))
    return folder / "results.json"


def mmpose_inferencer(folder, r):
    frames = [{"frame_id": t, "instances": _instances(r, t)} for t in range(len(r.stamps_ns))]
    (folder / "video.json").write_text(json.dumps(frames))
    return folder / "video.json"


def mmpose_demo_images(folder, r):
    for t in range(len(r.stamps_ns)):
        (folder / f"results_{t}.json").write_text(json.dumps({"meta_info": {}, "instance_info": _instances(r, t)}))
    return folder


def mmpose_images(folder, r):
    for t in range(len(r.stamps_ns)):
        (folder / f"{t}.json").write_text(json.dumps(_instances(r, t)))
    return folder


def rtmlib(folder, r):
    for t in range(len(r.stamps_ns)):
        points = [p for p, _ in people(r, t)]
        frame = {"keypoints": [p[:, :2].tolist() for p in points], "scores": [p[:, 2].tolist() for p in points]}
        (folder / f"{t}.json").write_text(json.dumps(frame))
    return folder


@pytest.mark.parametrize(
    ("write", "layout"),
    [
        *((openpose, name) for name in ("body_25", "openpose_18", "halpe_26", "mediapipe_33")),
        *((alphapose, name) for name in ("coco_17", "halpe_26", "halpe_136")),
        *((mmpose_video, name) for name in ("coco_17", "wholebody_133")),
        (alphapose_open, "openpose_18"),
        (alphapose_cmu, "openpose_18"),
        (mmpose_inferencer, "halpe_26"),
        (mmpose_demo_images, "coco_17"),
        (mmpose_images, "coco_17"),
        (rtmlib, "halpe_26"),
    ],
)
def test_json_is_what_was_detected(tmp_path, write, layout):
    expected = detector_recording(layout)
    got = read(write(tmp_path, expected), KNOWN)
    np.testing.assert_array_equal(got.stamps_ns, expected.stamps_ns)
    assert (got.layout, got.size_px) == (layout, (640, 480))
    for a, b in zip(got.frames(), expected.frames(), strict=True):
        np.testing.assert_allclose(a.keypoints_px, b.keypoints_px, rtol=1e-5)
        np.testing.assert_allclose(a.scores, b.scores, rtol=1e-5)
        assert a.person_ids == (None if write in (rtmlib, *WITHOUT_IDS) else b.person_ids)


@pytest.mark.parametrize(
    ("text", "source", "message"),
    [
        ("{}", KNOWN, r"a\.json: not a frame of OpenPose, AlphaPose, MMPose or RTMLib"),
        ("{", KNOWN, r"a\.json: not a readable JSON file"),
        ('{"people": []}', Source(), "no frame rate and no image size"),
        ('{"people": []}', KNOWN, "keypoint order is unknown; give layout"),
        ('{"people": [{}]}', KNOWN, r"a\.json: not as .* write it .KeyError: 'pose"),
        ('{"people": [{"pose_keypoints_2d": [1, 2, 1]}]}', KNOWN, "1 joints are no"),
        ('{"people": [{"pose_keypoints_2d": [1, 2, 1]}]}', HALPE, "1 joints, layout halpe_26 has 26; no layout"),
        (json.dumps({"people": [{"pose_keypoints_2d": [1] * 51}]}), HALPE, "26; give h36m_17 or coco_17"),
        (json.dumps({"people": [{"pose_keypoints_2d": [1] * 42}]}), KNOWN, "14 .* no one layout.*: crowdpose_14, aic"),
    ],
)
def test_each_fault_of_json_is_named(tmp_path, text, source, message):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "a.json", source)


def test_a_folder_without_json_is_named_before_what_json_lacks(tmp_path):
    with pytest.raises(ValueError, match=r"this folder has no \.json files, and no metadata\.yaml"):
        read(tmp_path)


def test_files_of_one_frame_number_are_named(tmp_path):
    for i in range(2):
        (tmp_path / f"{i}_keypoints_2d.json").write_text('{"people": []}')
    with pytest.raises(ValueError, match=r"1_keypoints_2d.json is not the only file of frame 2, the last number"):
        read(tmp_path, KNOWN)


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ([[1.0], [1.0, 2.0]], [(1,), (1, 2)]),
        ([[0.0], [0.0, 0.0]], [None, None]),  # it does not track
    ],
)
def test_alphapose_ids_are_as_it_writes_them_with_a_tracker_and_without(tmp_path, frames, expected):
    one = {"keypoints": [9.0, 5.0, 1.0] * 17}
    listed = [one | {"image_id": f"{n}.jpg", "idx": [i]} for n, ids in enumerate(frames) for i in ids]
    (tmp_path / "a.json").write_text(json.dumps(listed))
    assert [frame.person_ids for frame in read(tmp_path / "a.json", KNOWN).frames()] == expected


def test_frames_of_one_file_come_in_their_order(tmp_path):
    listed = [{"image_id": f"{n}.jpg", "keypoints": [n + 1.0, 5.0, 1.0] * 17, "idx": 1} for n in (3, 0, 2)]
    (tmp_path / "a.json").write_text(json.dumps(listed))
    got = read(tmp_path / "a.json", KNOWN)
    assert got.stamps_ns.tolist() == [0, 40_000_000, 60_000_000]
    assert got.keypoints[:, 0, 0, 0].tolist() == [1, 3, 4]


def _images(*ids):
    return [{"image_id": i, "category_id": 1, "keypoints": [9.0, 5.0, 1.0] * 17, "score": 0.9} for i in ids]


def test_coco_results_count_time_from_image_0_as_they_leave_out_images_of_nobody(tmp_path):
    """Whole numbers that went through a table of floats are frames of their own, too."""
    (tmp_path / "a.json").write_text(json.dumps(_images(2.0, 3.0, 3.0, 5.0)))
    got = read(tmp_path / "a.json", KNOWN)
    assert got.stamps_ns.tolist() == [40_000_000, 60_000_000, 100_000_000]
    assert [len(f.scores) for f in got.frames()] == [1, 2, 1]


def test_ids_in_coco_results_are_kept(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([{**_images(1)[0], "track_id": 7}]))
    assert read(tmp_path / "a.json", KNOWN).person_ids.tolist() == [[7]]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (("left_1.jpg", "right_1.jpg"), "'left_1.jpg' and 'right_1.jpg' are both frame 1; give each camera a file"),
        (("a.jpg", "b.jpg"), "image_id 'a.jpg' has no number"),
        ([f"{1_700_000_000_000_000_000 + 33_333_333 * n}.jpg" for n in range(3)], "1700000000033333333.*not count"),
        ([f"{1_700_000_000_000 + 33 * n}.jpg" for n in range(3)], "1700000000033.*not count them"),
        ([f"1700000000.{33_333 * n:06d}.jpg" for n in range(3)], "0, 33333, 66666, which does not count them"),
    ],
)
def test_images_that_are_not_numbered_by_frame_are_named(tmp_path, ids, message):
    (tmp_path / "a.json").write_text(json.dumps(_images(*ids)))
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "a.json", KNOWN)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_json_that_went_through_a_shell_of_windows_is_read(tmp_path, encoding):
    (tmp_path / "a.json").write_text(json.dumps(_images(0)), encoding)
    assert len(read(tmp_path / "a.json", KNOWN).stamps_ns) == 1
