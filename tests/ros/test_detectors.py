"""Every detector's messages, as real generated classes: the same motion in gives the same skeletons out."""

import contextlib
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import yaml
from std_msgs.msg import Header

from pstmo_ros.adapters import KeypointsError
from pstmo_ros.adapters.detectors import DETECTORS, HriBodies, from_hri
from pstmo_ros.adapters.forms import Form, load_form, read
from pstmo_ros.adapters.people import check_pixels, person_id, seen_people
from pstmo_ros.core import layouts, skeleton
from pstmo_ros.core.pipeline import PoseLifter
from pstmo_ros.engines import load_engine
from pstmo_ros.ros import messages
from tests.ros import detections
from tests.ros.detections import IDS, scene

COCO = layouts.get("coco_17")
PACKAGES = {"yolo": "yolo_msgs", "zed": "zed_msgs", "openpose": "openpose_ros2_msgs",
            "mediapipe": "mediapipe_ros2_interfaces"}  # fmt: skip
BY_NAME = load_form(Path(__file__).parents[2] / "config" / "adapters" / "example.yaml")
BY_FIELD = Form("other_msgs/msg/OnePerson", {joint: joint for joint in (
    *("nose", "neck"), *(f"{side}_{part}" for side in ("left", "right") for part in
                         ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")))},
    x="at.x", y="at.y", score="confidence")  # fmt: skip


@pytest.fixture(scope="module")
def recording(camera):
    return scene(camera)


def frame_of(kind, classes, recording, t):
    """Frame t as the detector of that kind sends it, read back."""
    size = recording.size_px
    if kind == "hri":
        return from_hri(int(recording.stamps_ns[t]), detections.hri(classes("hri_msgs"), recording, t), size)
    if kind == "by name":
        return read(BY_NAME, detections.named_points(classes("other_msgs"), recording, t), size)
    if kind == "by field":
        return read(BY_FIELD, detections.named_fields(classes("other_msgs"), recording, t), size)
    name, *body_format = kind.split()
    message = getattr(detections, name)(classes(PACKAGES[name]), recording, t, *map(int, body_format))
    return DETECTORS[name].adapter(message, COCO, size)


@pytest.mark.parametrize(
    ("kind", "people", "ids"),
    [
        ("yolo", 2, IDS),
        ("hri", 2, IDS),
        *((f"zed {body_format}", 2, IDS) for body_format in range(4)),
        ("openpose", 2, None),
        ("mediapipe", 1, None),
        ("by name", 2, IDS),
        ("by field", 1, None),
    ],
)
def test_the_same_motion_gives_the_same_skeletons(classes, bundle, recording, kind, people, ids):
    engine = load_engine(bundle, "torch")
    ours, theirs = PoseLifter(bundle, engine), PoseLifter(bundle, engine)
    h36m = layouts.get("h36m_17")
    headless = [j for j, name in enumerate(h36m.joints) if name == "head_top"] if kind == "by field" else []
    for t in range(len(recording.stamps_ns)):
        sent = recording.keypoints[t].copy()
        sent[:, headless] = np.nan
        cloud = messages.keypoints(detections.header(recording, t), sent[:people], np.array(IDS)[:people])
        expected = ours.step(DETECTORS["pointcloud"].adapter(cloud, h36m, recording.size_px), recording.camera)
        frame = frame_of(kind, classes, recording, t)
        got = theirs.step(frame, recording.camera)
        assert frame.person_ids == ids
        assert [p.stamp_ns for p in got] == [int(recording.stamps_ns[t])] * people
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_allclose(a.position_m, b.position_m, atol=2e-4)


def test_joints_that_yolo_leaves_out_are_not_seen(classes, recording):
    message = detections.yolo(classes("yolo_msgs"), recording, 0)
    message.detections[0].keypoints.data = [k for k in message.detections[0].keypoints.data if k.id != 10]
    frame = DETECTORS["yolo"].adapter(message, COCO, recording.size_px)
    assert np.flatnonzero(frame.scores[0] == 0).tolist() == [COCO.joints.index("left_wrist")]


def test_yolo_without_a_tracker_has_no_ids(classes, recording):
    message = detections.yolo(classes("yolo_msgs"), recording, 0)
    for person in message.detections:
        person.id = ""
    assert DETECTORS["yolo"].adapter(message, COCO, recording.size_px).person_ids is None


def test_a_detector_with_more_joints_than_the_layout_is_named(classes, recording):
    msg = classes("yolo_msgs")
    message = detections.yolo(msg, recording, 0)
    message.detections[0].keypoints.data.append(msg.KeyPoint2D(id=18, score=1.0))
    with pytest.raises(KeypointsError, match=r"id 18; layout coco_17 has 1 to 17: set parameter layout"):
        DETECTORS["yolo"].adapter(message, COCO, recording.size_px)


def test_somebody_whom_zed_has_lost_from_sight_is_left_out(classes, recording):
    message = detections.zed(classes("zed_msgs"), recording, 0)
    message.objects[0].tracking_state = 2
    assert DETECTORS["zed"].adapter(message, COCO, recording.size_px).person_ids == IDS[1:]
    message.objects[1].skeleton_2d.keypoints[14].kp = np.array([-1, -1], np.float32)
    assert DETECTORS["zed"].adapter(message, COCO, recording.size_px).scores[0, 14] == 0


def test_a_body_format_that_is_not_known_is_named(classes, recording):
    message = detections.zed(classes("zed_msgs"), recording, 0)
    message.objects[0].body_format = message.objects[1].body_format = 7
    with pytest.raises(KeypointsError, match=r"body_format \[7\]"):
        DETECTORS["zed"].adapter(message, COCO, recording.size_px)


@pytest.mark.parametrize("kind", PACKAGES)
def test_nobody_is_fine(classes, recording, kind):
    message = getattr(detections, kind)(classes(PACKAGES[kind]), recording, 0)
    empty = type(message)(header=message.header)
    assert len(DETECTORS[kind].adapter(empty, COCO, recording.size_px).scores) == 0


def test_text_ids_become_numbers_that_stay():
    assert [person_id(i) for i in ("12", " 7", "", "abcde")] == [12, 7, None, person_id("abcde")]
    assert person_id("abcde") != person_id("abcdf")
    for number in (float, np.float32):
        assert [person_id(number(i)) for i in ("3", "-1", "nan")] == [3, -1, None]
    assert 0 <= person_id("abcde") < 2**30


@pytest.mark.parametrize(
    "given", [3_000_000_000, 2**40, pytest.param(10**400, id="huge"), 3e9, float("inf"), float("nan"), -1, None]
)
def test_ids_that_are_no_int32_become_one_or_none(given):
    points, scores = np.ones((2, 17, 2)), np.ones((2, 17))
    ids = seen_people(1, (10, 10), "coco_17", points, scores, [given, 5]).person_ids
    if given is None or not 0 <= given < np.inf:
        assert ids is None, "when anybody has none, nobody has"
    else:
        assert ids == seen_people(1, (10, 10), "coco_17", points, scores, [given, 5]).person_ids
        assert 0 <= ids[0] < 2**30


@pytest.mark.parametrize(
    ("middle", "fits"), [((320, 240), True), ((900, 240), True), ((320, 1400), True), ((1000, 240), False)]
)
def test_keypoints_of_a_larger_image_than_camera_infos_are_named(middle, fits):
    """Somebody who leaves the image may be guessed beside it; whose face fills it, mostly below it."""
    points = np.random.default_rng(0).normal(middle, 20, (33, 2))
    with contextlib.nullcontext() if fits else pytest.raises(KeypointsError, match=r"\(99\d, .* image of 640 x 480"):
        check_pixels(points, (640, 480))


class Body:
    def __init__(self, seconds):
        self.header = Header(stamp=messages.stamp(int(seconds * 1e9)))


def test_bodies_of_one_moment_are_one_frame():
    bodies = HriBodies()
    assert not bodies.track({"a", "b"})
    assert not bodies.add("a", Body(1))
    assert [set(frame) for frame in bodies.add("b", Body(1))] == [{"a", "b"}]


def test_a_body_that_is_silent_holds_the_others_up_for_one_image():
    bodies = HriBodies()
    bodies.track({"a", "b"})
    assert not bodies.add("a", Body(1))
    assert [set(frame) for frame in bodies.add("a", Body(2))] == [{"a"}]
    assert [set(frame) for frame in bodies.track({"a"})] == [{"a"}], "b has left: what waited for it need not"


FORM = {"type": "other_msgs/msg/People", "people": "persons", "points": "joints", "joints": "coco_17"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"poits": "joints"}, "did you mean 'points'"),
        ({"type": "People"}, "give package/msg/Name"),
        ({"joints": "coco17"}, "did you mean 'coco_17'"),
        ({"joints": {"left_elbo": "x"}, "key": "name"}, "did you mean 'left_elbow'"),
        ({"joints": {"left_elbow": "x"}}, "give points with a key"),
        ({"joints": None}, "lacks joints"),
        ({"joints": 17}, "joints is 17; give a layout's name"),
        ({"points": None}, "points is empty"),
        ({"x": ["x"]}, "x is .'x'.; give a path"),
        ({"type": 5}, "type is 5; give package"),
        ({"x": ""}, "form fields x and y are '' and 'y'; give a path each"),
        ({"type": "//"}, "type is '//'; give package"),
        ({"joints": {"nose": False}, "key": "name"}, "joints has False for nose; give a number, or text in quotes"),
        ({"first": "abc"}, "first is 'abc'; give the number"),
        ({"normalized": "no"}, "normalized is 'no'; give true or false"),
    ],
)
def test_each_fault_of_a_form_is_named(tmp_path, change, message):
    form = {k: v for k, v in (FORM | change).items() if v is not None}
    (tmp_path / "form.yaml").write_text(yaml.safe_dump(form))
    with pytest.raises(ValueError, match=message):
        load_form(tmp_path / "form.yaml")


@pytest.mark.parametrize("text", [b"type: a/msg/B # \xe9", b"type: 2020-13-45", b"type: [", b"type: a\n---\ntype: b"])
def test_a_form_that_is_no_yaml_is_named_in_one_line(tmp_path, text):
    (tmp_path / "form.yaml").write_bytes(text)
    with pytest.raises(ValueError, match=r"^form .*form\.yaml' cannot be read: .*$"):
        load_form(tmp_path / "form.yaml")


@pytest.mark.parametrize("left_out", [{"nose": None}, {"nose": None, "neck": None}])
def test_a_joint_that_a_form_leaves_empty_is_not_seen(classes, recording, left_out):
    """Copied and not filled in: the others are read all the same, and a point called None is nobody's."""
    one = detections.named_fields(classes("other_msgs"), recording, 0)
    named = detections.named_points(classes("other_msgs"), recording, 0)
    for person in named.persons:
        person.joints[-1].name = "None"
        person.joints[-1].joint.at.x, person.joints[-1].joint.confidence = 5.0, 1.0
    for form, message in ((BY_FIELD, one), (BY_NAME, named)):
        without = dataclasses.replace(form, joints=dict(form.joints) | left_out)
        frame, expected = read(without, message, recording.size_px), read(form, message, recording.size_px)
        nose = skeleton.index("neck_nose")
        assert (frame.scores[:, nose] == 0).all()
        expected.keypoints_px[:, nose] = np.nan
        np.testing.assert_allclose(frame.keypoints_px, expected.keypoints_px, rtol=1e-5)


def test_a_number_alone_is_a_path(tmp_path):
    (tmp_path / "form.yaml").write_text(yaml.safe_dump(FORM | {"x": 0, "y": 1}) + "score:\n")
    form = load_form(tmp_path / "form.yaml")
    assert (form.x, form.y, form.score) == ("0", "1", "")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"people": "people"}, "path 'people': there is no 'people'; there is header, persons"),
        ({"key": "nam"}, "path 'nam': there is no 'nam'; there is name, joint"),
        ({}, r"joints has 18 points; coco_17 has 17"),
        ({"header": "stamp"}, "there is no 'stamp'"),
        ({"header": "header.stamp"}, "header is 'header.stamp': Time is no std_msgs/Header"),
        ({"x": "joint", "joints": "openpose_18"}, "People does not fit its form: float"),
        ({"people": "header"}, "People does not fit its form: 'Header' object is not iterable"),
        ({"x": "name", "joints": "openpose_18"}, "People does not fit its form: could not convert string to float"),
    ],
)
def test_a_form_that_does_not_fit_the_message_is_named(classes, recording, change, message):
    sent = detections.named_points(classes("other_msgs"), recording, 0)
    if "header" in change:
        change = {**change, "key": "name", "joints": BY_NAME.joints}
    with pytest.raises(KeypointsError, match=message):
        read(Form(**(FORM | {"x": "joint.at.x", "y": "joint.at.y"} | change)), sent, recording.size_px)
