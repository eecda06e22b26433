"""The same two people as every detector would send them: one motion, written into each message type."""

from __future__ import annotations

import numpy as np
from std_msgs.msg import Header

from pstmo_ros.core import layouts, skeleton
from pstmo_ros.ros import messages
from tests.conftest import record, walker
from tests.ros.conftest import FRAME

IDS = (1, 2)
_MEANS = {
    "pelvis": ("left_hip", "right_hip"),
    "thorax": ("left_shoulder", "right_shoulder"),
    "spine": ("left_hip", "right_hip", "left_shoulder", "right_shoulder"),
}


def scene(camera, seconds=0.4):
    """A recording whose trunk joints are what detectors without them leave to be derived from the limbs."""
    recording = record([walker(seconds), walker(seconds, offset_m=(1.0, 5.0))], camera)
    for joint, parts in _MEANS.items():
        of = [recording.keypoints[:, :, skeleton.index(part)] for part in parts]
        recording.keypoints[:, :, skeleton.index(joint)] = np.mean(of, 0)
    return recording


def header(recording, t):
    return Header(stamp=messages.stamp(int(recording.stamps_ns[t])), frame_id=FRAME)


def points(recording, t, layout):
    """Frame t's people in a detector's layout: (P, J, 2) pixels; joints that the model does not use are at (1, 1)."""
    named = {name: recording.keypoints[t, :, j, :2] for j, name in enumerate(skeleton.JOINTS)}
    named |= {"neck": named["thorax"], "nose": named["neck_nose"]}
    named |= {"left_eye": named["head_top"], "right_eye": named["head_top"]}
    unused = np.ones_like(named["nose"])
    return np.stack([named.get(joint, unused) for joint in layouts.get(layout).joints], 1)


def yolo(msg, recording, t):
    people = []
    for person_id, joints in zip(IDS, points(recording, t, "coco_17").tolist(), strict=True):
        numbered = enumerate(joints, 1)
        keypoints = [msg.KeyPoint2D(id=j, point=msg.Point2D(x=x, y=y), score=1.0) for j, (x, y) in numbered]
        keypoints.reverse()  # their order says nothing, their ids do
        people.append(msg.Detection(id=str(person_id), keypoints=msg.KeyPoint2DArray(data=keypoints)))
    people.insert(1, msg.Detection(id="9", class_name="chair"))
    return msg.DetectionArray(header=header(recording, t), detections=people)


def hri(msg, recording, t):
    width, height = recording.size_px
    bodies = {}
    for person_id, joints in zip(IDS, points(recording, t, "hri_18").tolist(), strict=True):
        skeleton_2d = [msg.NormalizedPointOfInterest2D(x=x / width, y=y / height, c=1.0) for x, y in joints]
        bodies[str(person_id)] = msg.Skeleton2D(header=header(recording, t), skeleton=skeleton_2d)
    return bodies


def zed(msg, recording, t, body_format=2):
    layout = ("openpose_18", "zed_34", "zed_38", "zed_38")[body_format]
    people = []
    for person_id, joints in zip(IDS, points(recording, t, layout).tolist(), strict=True):
        person = msg.Object(label_id=person_id, tracking_available=True, tracking_state=1, skeleton_available=True)
        person.body_format = body_format
        for point, joint in zip(person.skeleton_2d.keypoints, joints[: 30 if body_format == 3 else 70], strict=False):
            point.kp = np.array(joint, np.float32)
        people.append(person)
    return msg.ObjectsStamped(header=header(recording, t), objects=people)


def openpose(msg, recording, t):
    people = msg.PoseKeyPointsList(header=header(recording, t))
    for joints in points(recording, t, "openpose_18").tolist():
        person = msg.PoseKeyPoints(pose_key_points=[msg.PoseKeyPoint(x=x, y=y, score=1.0) for x, y in joints])
        people.pose_key_points_list.append(person)
    return people


def mediapipe(msg, recording, t):
    from geometry_msgs.msg import Point

    (joints, _), size = points(recording, t, "mediapipe_33"), recording.size_px
    landmarks = [Point(x=x, y=y) for x, y in (joints / size).tolist()]
    return msg.PoseLandmarks(header=header(recording, t), landmarks=landmarks)


def named_points(msg, recording, t):
    """other_msgs/People: points told apart by name."""
    people = []
    for person_id, joints in zip(IDS, points(recording, t, "coco_17").tolist(), strict=True):
        person = msg.Person(number=person_id)
        for name, (x, y) in zip(layouts.get("coco_17").joints, joints, strict=True):
            person.joints.append(msg.NamedJoint(name=name.upper(), joint=_joint(msg, x, y)))
        person.joints.append(msg.NamedJoint(name="LEFT_THUMB", joint=_joint(msg, 0.0, 0.0)))
        people.append(person)
    return msg.People(header=header(recording, t), persons=people)


def named_fields(msg, recording, t):
    """other_msgs/OnePerson: a field for each joint."""
    person = msg.OnePerson(header=header(recording, t))
    (joints, _), names = points(recording, t, "openpose_18").tolist(), layouts.get("openpose_18").joints
    for name, (x, y) in zip(names, joints, strict=True):
        if hasattr(person, name):
            setattr(person, name, _joint(msg, x, y))
    return person


def _joint(msg, x, y):
    joint = msg.Joint(confidence=1.0)
    joint.at.x, joint.at.y = x, y
    return joint


def pose_array(recording, t):
    """geometry_msgs/PoseArray: the first person's joints as poses, in pixels."""
    from geometry_msgs.msg import Pose, PoseArray

    message = PoseArray(header=header(recording, t))
    for x, y in recording.keypoints[t, 0, :, :2].tolist():
        pose = Pose()
        pose.position.x, pose.position.y = x, y
        message.poses.append(pose)
    return message


def marker_array(recording, t):
    """visualization_msgs/MarkerArray: the same poses as markers; each has the header."""
    from visualization_msgs.msg import Marker, MarkerArray

    poses = pose_array(recording, t)
    return MarkerArray(markers=[Marker(header=poses.header, pose=pose) for pose in poses.poses])
