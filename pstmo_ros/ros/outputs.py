"""Every output of the node: made, and sent, only while somebody listens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from geometry_msgs.msg import PoseArray
from rclpy.exceptions import InvalidTopicNameException
from rclpy.qos import QoSProfile
from sensor_msgs.msg import JointState, PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from pstmo_ros.adapters import TF_MESSAGE
from pstmo_ros.adapters.detectors import HRI_BODY, HRI_IDS, HRI_POINT, HRI_SOURCE
from pstmo_ros.core.orientation import orientations
from pstmo_ros.core.types import Floats, Frame2D, Pose3D
from pstmo_ros.ros import bodies, messages
from pstmo_ros.ros.inputs import KeypointInput, message_class, overridable

if TYPE_CHECKING:  # these import SciPy and torch, which takes seconds, and the player has no use for them
    from pstmo_ros.core.tracks import Tracks
    from pstmo_ros.ros.node_config import NodeConfig

QOS = QoSProfile(depth=10)
TF_QOS = QoSProfile(depth=100)  # tf2's own
_SILENT_S = 5.0  # without keypoints, by the node's clock: then nobody is there, as far as anybody knows
TF_SOURCE = "apt install ros-$ROS_DISTRO-tf2-msgs"
Poses = Sequence[Pose3D]
Make = Callable[[Header, Poses, Callable[[], Floats]], Any]
Move = Callable[[Header, Poses], tuple[Header, Poses]]


class Outputs:
    """The publishers of a configured node."""

    def __init__(self, node: Any, config: NodeConfig, keypoints: KeypointInput) -> None:
        """keypoints: the input; what a detector sends by REP-155 itself is not sent again.

        ValueError names the package that a wanted output lacks.
        """
        tf = message_class(TF_MESSAGE, TF_SOURCE) if config.publish_tf else None
        self._node = node
        self.markers = messages.SkeletonMarkers(config.marker_lifetime_s)
        names = self._names = _Names(keypoints)
        self._rep155 = _Rep155(node, config, keypoints, names) if config.rep155 else None
        self._topics: list[tuple[Any, Make]] = []
        again = messages.skeletons(Header(), ())
        self._add("~/skeletons", PointCloud2, lambda header, poses, _: messages.skeletons(header, poses, again))
        self._add("~/poses", PoseArray, lambda header, poses, frames: messages.pose_array(header, poses, frames()))
        self._drawn = self._add("~/markers", MarkerArray, lambda header, poses, _: self.markers.update(header, poses))
        self._add(
            "~/joint_states",
            JointState,
            lambda header, poses, frames: bodies.joint_states(header, poses, frames(), names),
        )
        self._add("~/closest", PointCloud2, lambda header, poses, frames: bodies.closest(header, poses))
        if tf is not None:
            self._add("/tf", tf, lambda *what: tf(transforms=_transforms(*what, names)), TF_QOS)

    def publish(self, header: Header, poses: Poses, move: Move | None = None) -> None:
        """Send what is listened to. move: to the frame of the outputs; asked only when somebody listens."""
        moved = cache(lambda: move(header, poses) if move else (header, poses))
        frames = cache(lambda: orientations(messages.positions_m(moved()[1])))
        for publisher, make in self._topics:
            if publisher.get_subscription_count():
                publisher.publish(make(*moved(), frames))
        if self._rep155:
            self._rep155.publish(poses, moved, frames)

    def publish_2d(self, header: Header, frame: Frame2D, tracks: Tracks) -> None:
        """Send the newest frame's keypoints, by the ids that their people now have."""
        self._names.keep(tracks.person_ids)
        if self._rep155:
            self._rep155.publish_2d(header, frame, tracks)

    def nobody(self, header: Header) -> None:
        """Nobody is followed any more: for those who keep what they were told until they are told otherwise."""
        if gone := self.markers.update(header, ()).markers:
            self._drawn.publish(MarkerArray(markers=gone))
        self._names.keep(())
        if self._rep155:
            self._rep155.nobody(header)

    def reconfigure(self, config: NodeConfig) -> None:
        """Go on with the live parameters as they now are."""
        self.markers.set_lifetime(config.marker_lifetime_s)
        if self._rep155:
            self._rep155.reconfigure(config)

    def close(self) -> None:
        """Let go of the publishers."""
        while self._topics:
            self._node.destroy_lifecycle_publisher(self._topics.pop()[0])
        if self._rep155:
            self._rep155.close()

    def _add(self, topic: str, kind: Any, make: Make, qos: QoSProfile = QOS) -> Any:
        publisher = self._node.create_lifecycle_publisher(kind, topic, **overridable(qos))
        self._topics.append((publisher, make))
        return publisher


class _Names:
    """What tf2, URDFs and REP-155 call the bodies: as their detector does, where it gives names, else by number."""

    def __init__(self, keypoints: KeypointInput) -> None:
        self._input = keypoints
        self._kept: dict[int, str] = {}

    def __call__(self, person_id: int) -> str:
        return self._kept.get(person_id) or bodies.body_id(person_id)

    @property
    def kept(self) -> list[str]:
        """The names of those who have not left."""
        return [*self._kept.values()]

    def keep(self, person_ids: Sequence[int]) -> None:
        """These have not left; everybody keeps the name that they first had."""
        self._kept = {i: self._kept.get(i) or self._input.body(i) or bodies.body_id(i) for i in person_ids}


class _Rep155:
    """Who is there, and each body's topics until it has left. Poses come from the worker's thread, keypoints do not."""

    def __init__(self, node: Any, config: NodeConfig, keypoints: KeypointInput, names: _Names) -> None:
        """ValueError where hri_msgs is not installed, and for a namespace that no topic can be in."""
        namespace = config.rep155_namespace
        self._node, self._input, self._names = node, keypoints, names
        self._ids, body = message_class(HRI_IDS, HRI_SOURCE), message_class(HRI_BODY, HRI_SOURCE)
        self._skeleton2d = partial(bodies.skeleton2d, kind=body, point=message_class(HRI_POINT, HRI_SOURCE))
        folder = f"{namespace.rstrip('/')}/bodies"
        try:
            self._tracked = node.create_lifecycle_publisher(self._ids, f"{folder}/tracked", **overridable(QOS))
        except InvalidTopicNameException as e:
            raise ValueError(f"parameter rep155_namespace: {namespace!r}; {e}") from None
        self._states = _BodyTopics(node, folder, "joint_states", JointState)
        self._keypoints = _BodyTopics(node, folder, "skeleton2d", body)
        self._silence = node.create_timer(_silent_s(config), self._gone_silent)

    def reconfigure(self, config: NodeConfig) -> None:
        """Go on with another ``tracks.max_coast_s``."""
        self._silence.timer_period_ns = int(_silent_s(config) * 1e9)
        self._silence.reset()

    def publish_2d(self, header: Header, frame: Frame2D, tracks: Tracks) -> None:
        """Those who have not left, hidden ones too, and the keypoints of those whom the frame shows."""
        self._silence.reset()
        if self._is_input():
            return
        if self._tracked.get_subscription_count():
            self._tracked.publish(self._ids(header=header, ids=self._names.kept))
        seen = {self._names(i): partial(self._skeleton2d, header, frame, row) for i, row in tracks.rows.items()}
        self._keypoints.publish(self._names.kept, seen)

    def publish(self, poses: Poses, moved: Callable[[], tuple[Header, Poses]], frames: Callable[[], Floats]) -> None:
        """Everyone's joint states."""

        def states(p: int) -> JointState:
            header, there = moved()
            return bodies.joint_states(header, there[p : p + 1], frames()[p : p + 1], self._names)

        made = {self._names(pose.person_id): partial(states, p) for p, pose in enumerate(poses)}
        self._states.publish([*self._names.kept, *made], made)

    def nobody(self, header: Header) -> None:
        """End every body."""
        self._end_topics()
        if not self._is_input():
            self._tracked.publish(self._ids(header=header))

    def close(self) -> None:
        self._node.destroy_timer(self._silence)
        self._node.destroy_lifecycle_publisher(self._tracked)
        self._end_topics()

    def _gone_silent(self) -> None:
        """Whoever was there when a detector or a camera failed must not be there for ever."""
        if self._names.kept:
            self._names.keep(())
            self.nobody(Header(stamp=self._node.get_clock().now().to_msg()))

    def _end_topics(self) -> None:
        for topics in (self._states, self._keypoints):
            topics.publish((), {})

    def _is_input(self) -> bool:
        """Whether the detector itself sends these topics: nobody's bodies are then listed twice."""
        if self._tracked.topic_name not in self._input.topics:
            return False
        self._node.get_logger().info(
            f"rep155: {self._tracked.topic_name} and skeleton2d are the detector's, and are not sent again", once=True
        )
        return True


class _BodyTopics:
    """The topic of one name for each body that is there."""

    def __init__(self, node: Any, folder: str, name: str, kind: Any) -> None:
        self._node, self._folder, self._name, self._kind = node, folder, name, kind
        self._publishers: dict[str, Any] = {}

    def publish(self, present: Sequence[str], made: Mapping[str, Callable[[], Any]]) -> None:
        """present: whose topics there are, others' end; made: what makes the message of those who have one now."""
        for gone in [body for body in self._publishers if body not in present]:
            self._node.destroy_publisher(self._publishers.pop(gone))
        for body in present:
            if body not in self._publishers:
                topic = f"{self._folder}/{body}/{self._name}"
                self._publishers[body] = self._node.create_publisher(self._kind, topic, QOS)
        for body, make in made.items():
            if body in self._publishers and self._publishers[body].get_subscription_count():
                self._publishers[body].publish(make())


def _silent_s(config: NodeConfig) -> float:
    return max(_SILENT_S, config.tracks.max_coast_s)


def _transforms(header: Header, poses: Poses, frames: Callable[[], Floats], name: bodies.Name) -> list[Any]:
    """Nothing while no camera is known, or where keypoints name no frame: every listener of tf2 would complain."""
    placed = header.frame_id and all(pose.position_m is not None for pose in poses)
    return bodies.transforms(header, poses, frames(), name) if placed else []
