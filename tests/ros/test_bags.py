"""rosbag2 files as each detector would leave them: what is read, lifted and played is what was recorded."""

import numpy as np
import pytest
from rclpy.parameter import Parameter
from rosbags.rosbag2 import Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from scipy.spatial.transform import Rotation

from pstmo_ros.adapters import stamp_ns
from pstmo_ros.adapters.detectors import DETECTORS, HRI_BODY, HRI_IDS
from pstmo_ros.core.pipeline import PoseLifter
from pstmo_ros.engines import load_engine
from pstmo_ros.formats import Source, read
from pstmo_ros.lift import lift
from pstmo_ros.recording import save_recording
from pstmo_ros.ros import messages
from pstmo_ros.ros.player import Player
from tests.conftest import walker
from tests.core.test_steady import LEVEL, drive, filmed
from tests.ros import detections
from tests.ros.conftest import FRAME, arrays, run_module
from tests.ros.detections import scene
from tests.ros.interfaces import FIXTURES, NO_COMPILER
from tests.ros.test_detectors import PACKAGES, frame_of

EXAMPLE = FIXTURES.parents[2] / "config" / "adapters" / "example.yaml"


@pytest.fixture
def recording(camera):
    return scene(camera)


@pytest.fixture(scope="module")
def store():
    types = {}
    for path in sorted(FIXTURES.glob("*/msg/*.msg")):
        types |= get_types_from_msg(path.read_text(), f"{path.parts[-3]}/msg/{path.stem}")
    store = get_typestore(Stores.ROS2_JAZZY)
    store.register({name: fields for name, fields in types.items() if name not in store.fielddefs})
    return store


def stored(store, message):
    """A ROS message as the rosbags library's own class."""
    package, kind = type(message).__module__.split(".")[0], type(message).__name__
    values = {name: getattr(message, name) for name in message.get_fields_and_field_types()}
    return store.types[f"{package}/msg/{kind}"](**{name: _stored(store, v) for name, v in values.items()})


def _stored(store, value):
    if hasattr(value, "get_fields_and_field_types"):
        return stored(store, value)
    if isinstance(value, list) and value and not isinstance(value[0], str):
        return [_stored(store, v) for v in value]
    return np.asarray(value) if hasattr(value, "typecode") else value


def write(path, store, recording, sent):
    """sent(t): topic, type and message of what the detector sends at frame t."""
    info = messages.camera_info(detections.header(recording, 0), recording.camera)
    with Writer(path, version=9) as bag:
        topics = {}
        for t, stamp in enumerate(recording.stamps_ns.tolist()):
            for topic, kind, message in [("/camera_info", "sensor_msgs/msg/CameraInfo", info), *sent(t)]:
                if topic not in topics:
                    topics[topic] = bag.add_connection(topic, kind, typestore=store)
                bag.write(topics[topic], stamp, store.serialize_cdr(stored(store, message), kind))
    return path


def detector(kind, classes, recording):
    """What ``write`` wants of a kind of detector."""

    def sent(t):
        if kind == "hri":
            msg = classes("hri_msgs")
            bodies = detections.hri(msg, recording, t)
            yield "/humans/bodies/tracked", HRI_IDS, msg.IdsList(header=detections.header(recording, t), ids=[*bodies])
            for body, message in bodies.items():
                yield f"/humans/bodies/{body}/skeleton2d", HRI_BODY, message
        elif kind == "by name":
            yield "/people", "other_msgs/msg/People", detections.named_points(classes("other_msgs"), recording, t)
        else:
            message = getattr(detections, kind)(classes(PACKAGES[kind]), recording, t)
            yield f"/{kind}/detections", DETECTORS[kind].type, message

    return sent


@pytest.mark.parametrize("kind", ["yolo", "zed", "openpose", "mediapipe", "hri", "by name"])
def test_a_bag_of_each_detector_is_what_it_saw(classes, store, recording, tmp_path, kind):
    path = write(tmp_path / "bag", store, recording, detector(kind, classes, recording))
    got = read(path, Source(form=str(EXAMPLE) if kind == "by name" else ""))
    np.testing.assert_array_equal(got.stamps_ns, recording.stamps_ns)
    assert (got.camera, got.frame_id, got.size_px) == (recording.camera, detections.FRAME, recording.size_px)
    for t, frame in enumerate(got.frames()):
        expected = frame_of(kind, classes, recording, t)
        assert (frame.layout, frame.person_ids) == (expected.layout, expected.person_ids)
        np.testing.assert_allclose(frame.keypoints_px, expected.keypoints_px, rtol=1e-6)
        np.testing.assert_allclose(frame.scores, expected.scores, rtol=1e-6)


@pytest.mark.parametrize("empty", [0, 3])
def test_a_bag_of_zed_bodies_may_have_frames_that_show_nobody(classes, store, recording, tmp_path, empty):
    """Its messages say by their people how many joints there are."""

    def sent(t):
        message = detections.zed(classes("zed_msgs"), recording, t, 0)
        message.objects = [] if t == empty else message.objects
        yield "/people", DETECTORS["zed"].type, message

    got = read(write(tmp_path / "bag", store, recording, sent))
    assert got.layout == "openpose_18"
    assert [len(f.scores) for f in got.frames()] == [2 * (t != empty) for t in range(len(recording.stamps_ns))]


def test_a_bag_of_two_keypoint_orders_is_named(classes, store, recording, tmp_path):
    def sent(t):
        message = detections.zed(classes("zed_msgs"), recording, t, 0 if t < 5 else 1)
        yield "/people", DETECTORS["zed"].type, message

    with pytest.raises(ValueError, match="bag, /people: frames have layouts openpose_18, zed_34"):
        read(write(tmp_path / "bag", store, recording, sent))


def test_a_field_that_a_recorded_message_does_not_have_is_named_with_those_it_has(classes, store, recording, tmp_path):
    path = write(tmp_path / "bag", store, recording, detector("by name", classes, recording))
    (tmp_path / "form.yaml").write_text(EXAMPLE.read_text().replace("people: persons", "people: people"))
    with pytest.raises(ValueError, match="there is no 'people'; there is header, persons"):
        read(path, Source(form=str(tmp_path / "form.yaml")))


def test_frames_that_were_recorded_late_are_read_in_their_order(classes, store, recording, tmp_path):
    sent, order = detector("yolo", classes, recording), np.arange(len(recording.stamps_ns))
    order[[3, 4]] = order[[4, 3]]
    path = write(tmp_path / "bag", store, recording, lambda t: sent(int(order[t])))
    got = read(path, Source())
    np.testing.assert_array_equal(got.stamps_ns, recording.stamps_ns)
    for t in (3, 4):
        expected = frame_of("yolo", classes, recording, t)
        np.testing.assert_allclose(list(got.frames())[t].keypoints_px, expected.keypoints_px, rtol=1e-6)


@pytest.mark.skipif(bool(NO_COMPILER), reason=NO_COMPILER)
def test_how_a_camera_moved_is_played_as_transforms(graph, classes, camera, tmp_path):
    moving = filmed([walker(0.2) @ LEVEL.T + (0, 0, 1)], camera, drive(0.2, 30.0, (0.3, -0.5)))
    save_recording(tmp_path / "moving.npz", moving)
    got = []
    graph.node.create_subscription(classes("tf2_msgs").TFMessage, "/tf", lambda m: got.extend(m.transforms), 100)
    given = {"file": str(tmp_path / "moving.npz"), "stamps": "recorded", "wait_for_subscriber": False}
    player = Player(parameter_overrides=[Parameter(name, value=value) for name, value in given.items()])
    graph.until(lambda: player.count_subscribers("/tf"))
    player.play()
    graph.until(lambda: len(got) == 10)
    for sent, pose, stamp in zip(got, moving.odom_from_camera, moving.stamps_ns, strict=True):
        assert (sent.header.frame_id, sent.child_frame_id, stamp_ns(sent.header)) == ("odom", FRAME, stamp)
        by, turn = sent.transform.translation, sent.transform.rotation
        np.testing.assert_allclose([by.x, by.y, by.z], pose[:3, 3], atol=1e-9)
        turned = Rotation.from_quat([turn.x, turn.y, turn.z, turn.w]).as_matrix()
        np.testing.assert_allclose(turned, pose[:3, :3], atol=1e-9)
    player.destroy_node()


@pytest.mark.participants
def test_a_detectors_bag_is_played_to_the_node(graph, bundle, classes, store, recording, tmp_path):
    path = write(tmp_path / "bag", store, recording, detector("yolo", classes, recording))
    expected = lift(read(path), PoseLifter(bundle, load_engine(bundle, "torch"))).poses_m
    graph.start(bundle, layout="coco_17")
    process = run_module("pstmo_ros.ros.player", file=str(path), stamps="recorded")
    try:
        graph.until(lambda: len(graph.got["skeletons"]) >= len(expected), "the player sent less than was recorded")
    finally:
        process.kill()
        process.wait()
    for message, poses in zip(graph.got["skeletons"], expected, strict=True):
        assert message.header.frame_id == detections.FRAME
        np.testing.assert_allclose(arrays(message)[1], poses, atol=1e-4)
