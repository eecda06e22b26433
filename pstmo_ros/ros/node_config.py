"""Every parameter of the lifter; config/lifter.yaml is the manual."""

from __future__ import annotations

from dataclasses import dataclass, field

from pstmo_ros.adapters.detectors import KINDS
from pstmo_ros.core import layouts
from pstmo_ros.core.layouts import nearest
from pstmo_ros.core.pipeline import LifterConfig
from pstmo_ros.core.smoothing import SmoothingConfig
from pstmo_ros.core.tracks import TrackConfig
from pstmo_ros.engines import CHOICES
from pstmo_ros.engines.engine import MAX_PEOPLE, MAX_THREADS, PRECISIONS, Options
from pstmo_ros.ros.parameters import About


@dataclass(frozen=True)
class NodeConfig:
    """Every parameter of the lifter, with its default; ``ABOUT`` describes each."""

    model: str = "realtime"
    engine: str = "auto"
    precision: str = "auto"
    threads: int = 0
    people: int = 4
    keypoints_type: str = "auto"
    keypoints_form: str = ""
    layout: str = "coco_17"
    look_ahead_s: float = 0.0
    rectified: bool = False
    image_size: tuple[int, int] = (0, 0)
    max_delay_s: float = 0.1
    target_frame: str = ""
    gravity_frame: str = ""
    odom_frame: str = ""
    transform_wait_s: float = 0.05
    publish_tf: bool = False
    rep155: bool = False
    rep155_namespace: str = "/humans"
    marker_lifetime_s: float = 0.5
    autostart: bool = False
    tracks: TrackConfig = field(default_factory=TrackConfig)
    smoothing: SmoothingConfig = field(default_factory=SmoothingConfig)

    def __post_init__(self) -> None:
        if self.engine not in CHOICES:
            raise ValueError(f"parameter engine: {self.engine!r} is unknown; {nearest(self.engine, CHOICES)}")
        layouts.get(self.layout)
        if len(self.image_size) != 2 or min(self.image_size) < 0:
            raise ValueError(
                f"parameter image_size: {list(self.image_size)}; give [width, height] in pixels, "
                "or [0, 0] to take it from camera_info"
            )

    @property
    def options(self) -> Options:
        """How the engine is to run the model."""
        return Options(self.precision, self.threads, self.people)

    @property
    def lifter(self) -> LifterConfig:
        """What the pipeline needs of it."""
        return LifterConfig(self.look_ahead_s, self.tracks, self.smoothing)

    @property
    def frames(self) -> dict[str, str]:
        """The parameters that name a frame of tf2's, and which."""
        frames = {name: getattr(self, name) for name in ("target_frame", "gravity_frame", "odom_frame")}
        return {name: frame for name, frame in frames.items() if frame}


ABOUT = {
    "model": About("A bundled model's name, or the path of a model file (.safetensors)."),
    "engine": About(f"How the model runs: {', '.join(CHOICES)}; auto takes the fastest that works here."),
    "precision": About(
        f"Of the model's matrix products: {', '.join(PRECISIONS)}; auto is the fastest that keeps the model's poses."
    ),
    "threads": About("CPU cores that one inference may use; 0 leaves it to the engine.", 0, MAX_THREADS),
    "people": About("How many are usually in view: the engine is made for up to so many at once.", 1, MAX_PEOPLE),
    "keypoints_type": About(f"Messages of the detector: {', '.join(KINDS)}; auto finds out from topic keypoints."),
    "keypoints_form": About("YAML file that describes the messages, for keypoints_type generic."),
    "layout": About(f"Keypoint order of the input: {', '.join(layouts.LAYOUTS)}."),
    "look_ahead_s": About("Seconds that each pose waits, to be better for having seen what follows.", 0, 10),
    "rectified": About("Whether the detector sees the rectified image (image_rect) instead of the raw one."),
    "image_size": About("[width, height] in pixels; used only while there is no camera_info."),
    "max_delay_s": About("Seconds that a frame may wait for its turn before only the newest is lifted.", 0, 10, True),
    "target_frame": About("Frame of all outputs, by tf2 at each stamp; empty keeps the camera's."),
    "gravity_frame": About("Frame whose z points up, such as base_link: tells the model where down is."),
    "odom_frame": About("Frame that does not move and whose z points up, such as odom: for cameras that move."),
    "transform_wait_s": About("Seconds to wait for a transform to target_frame.", 0, 1),
    "publish_tf": About("Broadcast body_<id> and its joints on /tf (needs tf2_msgs)."),
    "rep155": About("Publish /humans/bodies/tracked, each body's joint_states and skeleton2d (needs hri_msgs)."),
    "rep155_namespace": About("Where these topics are; give each of several lifters its own."),
    "marker_lifetime_s": About(
        "Seconds after which RViz removes markers that are not renewed; 0 keeps them.", 0, 3600, True
    ),
    "autostart": About("Configure and activate at start instead of waiting for lifecycle calls."),
    "tracks.min_score": About("Keypoints with a lower score count as not seen.", 0, 1, True),
    "tracks.max_gap_s": About("Longest stretch, in seconds, over which an unseen joint is interpolated.", 0, 10),
    "tracks.max_coast_s": About(
        "Seconds for which somebody hidden is expected back; then they have left.", 0, 3600, True
    ),
    "tracks.max_people": About("People followed at once; of newcomers, the largest in the image.", 1, 1000, True),
    "tracks.min_similarity": About(
        "Keypoint similarity (OKS) that makes somebody without a known id a known person.", 0, 1, True
    ),
    "tracks.max_jump_s": About("Stamps that go back by more seconds than this start everything anew.", 0, 3600, True),
    "smoothing.enabled": About("One-Euro filter on the output.", live=True),
    "smoothing.min_cutoff_hz": About("Cut-off for a still joint: lower is smoother and lags more.", 0.001, 1000, True),
    "smoothing.beta": About("How much the cut-off rises with speed, in Hz per m/s: higher lags less.", 0, 1000, True),
    "smoothing.speed_cutoff_hz": About("Cut-off of the speed estimate.", 0.001, 1000, True),
}
