"""The whole path, live: a bundled recording through the real node over DDS, scored against the truth and filmed.

    python -m pstmo_ros.demo [--out DIR] [--model M] [--engine E]

Starts the lifter and the player as processes of their own and leaves none behind.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pstmo_ros.core import layouts, skeleton
from pstmo_ros.core.types import Floats
from pstmo_ros.recording import SAMPLE, Recording, load_recording, save_recording
from pstmo_ros.render import ScenePicture, filmed, write_image, write_video
from pstmo_ros.ros.graph import own_graph

START_TIMEOUT_S = 120.0  # the first start compiles the model
ASK_AGAIN_S = 1.0
VIDEO_FPS = 10.0


@dataclass
class Received:
    """What the node published: per message its stamp, when it arrived (both ns), person ids and poses (P, 17, 3) m."""

    stamps_ns: list[int] = field(default_factory=list)
    arrivals_ns: list[int] = field(default_factory=list)
    person_ids: list[list[int]] = field(default_factory=list)
    poses_m: list[Floats] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="demo", metavar="DIR", help="where demo.mp4 and demo.png go")
    parser.add_argument("--model", default="realtime", help="a bundled model's name or a .safetensors file")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--recording", default=str(SAMPLE), metavar="NPZ", help="a recording with truth_m")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="play it N times over: a longer trial")
    args = parser.parse_args()
    # So that what was started is ended; explicitly, for a script's background jobs start with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if args.repeat < 1:
            raise ValueError(f"--repeat is {args.repeat}; give 1 or more")
        recording = load_recording(args.recording)
        if not all(len(frame.person_ids or ()) == len(frame.scores) for frame in recording.frames()):
            raise ValueError(f"recording {args.recording} has no person_ids: nobody knows whose pose is whose")
        played = recording.repeated(args.repeat)
        with tempfile.TemporaryDirectory() as folder:
            save_recording(Path(folder) / "played.npz", played)
            received = play_live(played, Path(folder) / "played.npz", args)
        poses = by_frame(played, received)
        print(table(played, received, poses))
        film(recording, poses[: len(recording.stamps_ns)], Path(args.out))
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except (ValueError, RuntimeError, OSError) as e:
        raise SystemExit(f"demo: {e}") from None


def play_live(recording: Recording, file: Path, args: argparse.Namespace) -> Received:
    """Run node and player over DDS and return everything the node published."""
    try:
        import rclpy
    except ImportError:
        raise RuntimeError("rclpy is missing: run `make demo`, or source a ROS 2 installation first") from None
    own_graph()
    # Signals stay Python's: an interrupt unwinds this stack, which ends what was started.
    rclpy.init(signal_handler_options=rclpy.SignalHandlerOptions.NO)
    node = rclpy.create_node("demo")
    try:
        return _record(node, recording, file, args)
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


def _record(node, recording: Recording, file: Path, args: argparse.Namespace) -> Received:  # type: ignore[no-untyped-def]
    import rclpy
    from sensor_msgs.msg import PointCloud2

    from pstmo_ros.adapters import stamp_ns
    from pstmo_ros.ros.messages import skeletons_to_arrays

    received = Received()
    bar = tqdm(total=len(recording.stamps_ns), desc="lifting live", unit="frame", mininterval=0.2)

    def on_skeletons(message: PointCloud2) -> None:
        received.arrivals_ns.append(time.time_ns())
        received.stamps_ns.append(stamp_ns(message.header))
        ids, poses, _ = skeletons_to_arrays(message)
        received.person_ids.append([int(i) for i in ids])
        received.poses_m.append(poses)
        bar.update()

    subscription = node.create_subscription(PointCloud2, "/lifter/skeletons", on_skeletons, 1000)
    with contextlib.ExitStack() as started:
        started.callback(bar.close)
        bar.set_postfix_str("starting the lifter (the first start compiles the model)")
        settings = {"model": args.model, "engine": args.engine, "layout": recording.layout, "autostart": "true"}
        lifter = started.enter_context(_process("pstmo_ros.ros.node", **settings))
        _wait_until(lambda: node.count_subscribers("/keypoints") and node.count_publishers("/lifter/skeletons"),
                    node, lifter)  # fmt: skip
        bar.set_postfix_str("")
        player = started.enter_context(_process("pstmo_ros.ros.player", file=str(file)))
        quiet_since = time.monotonic()
        while player.poll() is None or time.monotonic() - quiet_since < 1.0:
            if lifter.poll() is not None:
                raise RuntimeError(f"the lifter ended with exit code {lifter.returncode}")
            before = bar.n
            rclpy.spin_once(node, timeout_sec=0.1)
            if bar.n != before or player.poll() is None:
                quiet_since = time.monotonic()
            if bar.n == bar.total:
                break
        with contextlib.suppress(subprocess.TimeoutExpired):
            player.wait(5)  # it is about to end by itself
    node.destroy_subscription(subscription)
    if not received.stamps_ns:
        raise RuntimeError("the lifter published nothing; run it by hand to see why: python -m pstmo_ros.ros.node")
    return received


@contextlib.contextmanager
def _process(module: str, **parameters: str) -> Iterator[subprocess.Popen[bytes]]:
    """A node as a process of its own, ended with the block."""
    settings = [a for name, value in parameters.items() for a in ("-p", f"{name}:={value}")]
    command = [sys.executable, "-m", module, "--ros-args", "--log-level", "warn", *settings]
    process = subprocess.Popen(command)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until(condition, node, process: subprocess.Popen[bytes]) -> None:  # type: ignore[no-untyped-def]
    import rclpy
    from lifecycle_msgs.srv import GetState

    deadline = time.monotonic() + START_TIMEOUT_S
    ask, state, asked = node.create_client(GetState, "/lifter/get_state"), None, -np.inf
    while not condition():
        # It answers once it has tried to start: one that cannot would stay there, unconfigured, to be tried again.
        # Asked again and again: an answer that comes before DDS has matched both of its ends is lost.
        if (state is None or not state.done()) and ask.service_is_ready() and time.monotonic() - asked > ASK_AGAIN_S:
            state, asked = ask.call_async(GetState.Request()), time.monotonic()
        if state is not None and state.done() and state.result().current_state.label == "unconfigured":
            raise RuntimeError("the lifter cannot be configured; its message above says why")
        if process.poll() is not None:
            raise RuntimeError(f"the lifter ended with exit code {process.returncode} before it was ready")
        if time.monotonic() > deadline:
            raise RuntimeError(f"the lifter was not ready after {START_TIMEOUT_S:.0f} s")
        rclpy.spin_once(node, timeout_sec=0.1)


def by_frame(recording: Recording, received: Received) -> Floats:
    """Poses (T, P, 17, 3) at the recording's frames and people; NaN where the node gave none.

    The player stamps frames with the time it plays them, so the stamps are the recorded ones plus a constant.
    """
    recorded, stamps = recording.stamps_ns, np.array(received.stamps_ns)
    for first in recorded:  # the first frame received is most likely the first sent
        shifted = stamps - stamps.min() + first
        if np.isin(shifted, recorded).all():
            break
    else:
        raise RuntimeError("the skeletons' stamps are not those of the frames sent")
    ids = recording.person_ids
    assert ids is not None, "main asks for them"
    poses = np.full((*ids.shape, skeleton.J, 3), np.nan, np.float32)
    for t, people, given in zip(np.searchsorted(recorded, shifted), received.person_ids, received.poses_m, strict=True):
        for person_id, pose in zip(people, given, strict=True):
            poses[t, ids[t] == person_id] = pose
    if not np.isfinite(poses).any():
        raise RuntimeError("nobody was lifted, so there is nothing to measure and to film")
    return poses


def table(recording: Recording, received: Received, poses: Floats) -> str:
    """The figures a newcomer asks for, as a Markdown table."""
    latency = (np.array(received.arrivals_ns) - np.array(received.stamps_ns)) / 1e6
    span_s = (max(received.arrivals_ns) - min(received.arrivals_ns)) / 1e9
    rows = [
        ("frames sent / lifted", f"{len(recording.stamps_ns)} / {len(received.stamps_ns)}"),
        ("rate", f"{(len(received.stamps_ns) - 1) / max(span_s, 1e-9):.1f} Hz"),
        ("latency, keypoints stamped to skeletons received, p50 / p99",
         f"{np.percentile(latency, 50):.1f} / {np.percentile(latency, 99):.1f} ms"),
    ]  # fmt: skip
    if recording.truth_m is not None:
        truth = recording.truth_m
        root, true_root = poses[..., :1, :], truth[..., :1, :]
        pose_error = np.linalg.norm((poses - root) - (truth - true_root), axis=-1)
        root_error = np.linalg.norm(root - true_root, axis=-1)
        distance = np.linalg.norm(true_root, axis=-1)
        rows += [
            ("MPJPE (pose relative to the pelvis)", f"{np.nanmean(pose_error) * 1000:.1f} mm"),
            ("root position error, mean / median share of distance",
             f"{np.nanmean(root_error) * 1000:.0f} mm / {np.nanmedian(root_error / distance) * 100:.1f} %"),
        ]  # fmt: skip
    width = max(len(name) for name, _ in rows)
    lines = [f"| {name:<{width}} | {value} |" for name, value in [("what", "measured"), *rows]]
    return "\n".join(["", lines[0], f"|{'-' * (width + 2)}|---|", *lines[1:], ""])


def film(recording: Recording, poses: Floats, out: Path) -> None:
    """Write demo.mp4 and demo.png."""
    out.mkdir(parents=True, exist_ok=True)
    layout = layouts.get(recording.layout)
    truth = recording.truth_m if recording.truth_m is not None else np.full_like(poses, np.nan)
    seconds = (recording.stamps_ns - recording.stamps_ns[0]) / 1e9
    frames = filmed(recording.stamps_ns, VIDEO_FPS)
    picture = ScenePicture(recording.size_px, np.concatenate([poses, truth]).reshape(-1, 3), "pstmo_ros: lifted live")

    def draw(t: int) -> np.ndarray:
        keypoints, _ = layouts.to_model_joints(layout, recording.keypoints[t, ..., :2], recording.keypoints[t, ..., 2])
        return picture.draw(keypoints, poses[t], truth[t], f"t = {seconds[t]:.1f} s")

    write_video(out / "demo.mp4", (draw(t) for t in tqdm(frames, desc="filming", unit="frame")), VIDEO_FPS)
    write_image(out / "demo.png", draw(int(frames[len(frames) // 3])))
    picture.close()
    print(f"{out / 'demo.mp4'} and {out / 'demo.png'}: 2D input beside the 3D skeletons")


if __name__ == "__main__":
    main()
