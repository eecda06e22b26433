"""Windows of the open mocap set: the same seed gives the same batch, and what is asked to be held or whole is."""

import dataclasses
import math

import pytest
import torch

from pstmo_ros.core import gravity, skeleton
from pstmo_ros.core.refine import root_position
from pstmo_ros.core.window import WindowSpec
from tests.conftest import walker
from training.batches import BatchConfig, WindowSampler
from training.bodies import BodyConfig, vary
from training.detector import KEYPOINTS, CameraConfig, detect, keypoints_3d
from training.mocap import Mocap
from training.synthesis import NO_NOISE
from training.visibility import VisibilityConfig

SPEC = WindowSpec(9, 5, 50.0, 4)
AS_RECORDED = BodyConfig(False, scale=(1, 1), bone=0, hips=(1, 1), shoulders=(1, 1), speed=(1, 1))
PERFECT = dataclasses.replace(NO_NOISE, layouts=("h36m_17",))


@pytest.fixture(scope="module")
def mocap() -> Mocap:
    camera = torch.from_numpy(walker(2.0))
    world = torch.stack([camera[..., 0], camera[..., 2], -camera[..., 1]], -1)  # z up
    return Mocap(world, torch.tensor([0]), torch.tensor([len(world)]), ("a",), ("s",), ("walk",), 50.0)


def _draw(mocap: Mocap, config: BatchConfig, seed: int = 0, batch: int = 64):
    return WindowSampler(mocap, SPEC, config, torch.Generator().manual_seed(seed)).draw(batch)


def test_a_seed_gives_the_same_batch_and_another_another(mocap):
    one, same, other = (_draw(mocap, BatchConfig(), seed) for seed in (1, 1, 2))
    torch.testing.assert_close(one.joints, same.joints, equal_nan=True)
    torch.testing.assert_close(one.poses_m, same.poses_m)
    assert (one.poses_m - other.poses_m).abs().max() > 0.1


def test_held_windows_show_no_future_and_whole_ones_do(mocap):
    body = {"body": AS_RECORDED, "detector": PERFECT}
    held = _draw(mocap, BatchConfig(zero_look_ahead=1.0, **body))
    whole = _draw(mocap, BatchConfig(held=False, **body))
    future = slice(SPEC.target + 1, None)
    assert (held.poses_m[:, future] == held.poses_m[:, SPEC.target, None]).all()
    assert (held.joints[:, future] == held.joints[:, SPEC.target, None]).all()
    moved = (whole.poses_m[:, future] - whole.poses_m[:, SPEC.target, None]).abs().amax((1, 2, 3))
    assert (moved > 0.02).float().mean() > 0.8


def test_poses_are_what_the_rays_show(mocap):
    """With a perfect detector, joints and poses agree: some root position puts each joint on its ray."""
    batch = _draw(mocap, BatchConfig(body=AS_RECORDED, detector=PERFECT, held=False))
    rays, pose = batch.joints[:, SPEC.target], batch.poses_m[:, SPEC.target]
    assert (pose[:, skeleton.ROOT] == 0).all()
    placed = pose + root_position(pose, rays)[:, None]
    torch.testing.assert_close(placed[..., :2] / placed[..., 2:], rays, atol=1e-3, rtol=0)


def test_bodies_vary_and_left_stays_as_long_as_right(mocap):
    batch = _draw(mocap, BatchConfig(body=dataclasses.replace(BodyConfig(), speed=(1, 1))))
    lengths = torch.stack([(batch.poses_m[:, 0, p] - batch.poses_m[:, 0, j]).norm(dim=-1) for p, j in skeleton.BONES])
    recorded = torch.stack([(mocap.positions_m[0, p] - mocap.positions_m[0, j]).norm() for p, j in skeleton.BONES])
    assert (lengths.std(1) > 0.01 * recorded).all()
    joints = [j for _, j in skeleton.BONES]
    for left, right in zip(skeleton.LEFT, skeleton.RIGHT, strict=True):
        torch.testing.assert_close(lengths[joints.index(left)], lengths[joints.index(right)], rtol=0.2, atol=0.01)


def test_what_is_outside_the_image_is_not_seen(mocap):
    camera = CameraConfig(field_of_view_deg=(60, 60), distance_m=(1.2, 1.6))
    seen = VisibilityConfig(keypoints=0, limb=0, lower=0, low_rate=0, drops=0, short=0)
    config = BatchConfig(held=False, bridged=True, camera=camera, detector=PERFECT, visibility=seen)
    joints = _draw(mocap, config, batch=256).joints
    finite = joints[torch.isfinite(joints)]
    assert finite.abs().max() <= math.tan(math.radians(30)) + 1e-4
    missing = torch.isnan(joints[:, -1, :, 0]).float().mean(1)
    assert missing.max() > 0.3, "so near, somebody is cut by the image's edge"
    assert missing.min() == 0


def test_some_arms_and_legs_move_as_another_clip_does_and_keep_their_lengths(mocap):
    def bones(poses):
        return torch.stack([poses[:, :, joint] - poses[:, :, parent] for parent, joint in skeleton.BONES], 2)

    starts = torch.randint(80, (256,), generator=torch.Generator().manual_seed(0))
    world = mocap.positions_m[starts[:, None] + torch.arange(9)]
    some = vary(world, dataclasses.replace(AS_RECORDED, limbs=0.5), torch.Generator().manual_seed(0))
    plain, mixed = bones(world), bones(some)
    torch.testing.assert_close(mixed.norm(dim=-1), plain.norm(dim=-1), rtol=0, atol=1e-5)
    names = [skeleton.JOINTS[joint] for _, joint in skeleton.BONES]
    moved = ((mixed - plain).norm(dim=-1) > 1e-3).any(1)
    for name, each in zip(names, moved.T, strict=True):
        share = each.float().mean()
        if name.endswith(("elbow", "wrist", "knee", "ankle")):
            assert 0.35 < share < 0.6, name
        else:
            assert share == 0, name
    assert (moved[:, names.index("left_knee")] != moved[:, names.index("left_wrist")]).any(), "each for itself"


def test_a_limb_of_another_clip_keeps_its_place_in_the_body():
    """An arm that points ahead, and one beside a body: one goes to whose hangs, the other to somebody bent over."""
    standing = torch.from_numpy(walker(0.1)).double()[:1]
    up, ahead, right = (torch.tensor(v, dtype=torch.float64) for v in ((0, -1, 0), (1, 0, 0), (0, 0, -1)))
    world = torch.stack([torch.stack([standing @ a for a in (ahead, -right, up)], -1)] * 3)
    arm = [skeleton.index("right_elbow"), skeleton.index("right_wrist")]
    shoulder = world[0, 0, skeleton.index("right_shoulder")]
    world[0, 0, arm] = shoulder + torch.tensor([[0.3, 0, 0], [0.6, 0, 0]])  # ahead
    world[1:, 0, arm] = shoulder + torch.tensor([[0, 0, -0.3], [0, 0, -0.6]])  # beside the body
    bow = torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]], dtype=torch.float64)  # up becomes ahead
    world[2] = world[2] @ bow.T
    swapped = vary(world, dataclasses.replace(AS_RECORDED, bone=0.0, limbs=1.0), None)
    reach = swapped[:, 0, arm[1]] - swapped[:, 0, skeleton.index("right_shoulder")]
    hanging = torch.tensor([0, 0, -0.6], dtype=torch.float64)
    torch.testing.assert_close(reach[0], hanging, atol=0.05, rtol=0)
    torch.testing.assert_close(reach[2], hanging, atol=0.05, rtol=0)


def test_mixed_windows_have_the_legs_of_one_clip_and_the_arms_of_another(mocap):
    body = dataclasses.replace(AS_RECORDED, mixed=0.5)
    plain, mixed = (_draw(mocap, BatchConfig(body=b, held=False)).poses_m for b in (AS_RECORDED, body))
    legs = [i for i, n in enumerate(skeleton.JOINTS) if n.endswith(("hip", "knee", "ankle"))]
    wrist = skeleton.index("left_wrist")
    torch.testing.assert_close(mixed[:, :, legs], plain[:, :, legs])
    moved = (mixed[:, :, wrist] - plain[:, :, wrist]).norm(dim=-1).amax(1) > 0.01
    assert moved[:32].float().mean() > 0.7
    assert not moved[32:].any()


def test_swapped_sides_come_and_go(mocap):
    points = keypoints_3d(mocap.positions_m[None, :60].repeat(64, 1, 1, 1) + torch.tensor([0.0, 0.0, 6.0]))
    clean, swapped = (
        detect(points, dataclasses.replace(PERFECT, swap_rate=rate), 0.02, torch.Generator().manual_seed(0))
        for rate in (0.0, 1.0)
    )
    wrists = [KEYPOINTS.index(f"{side}_wrist") for side in ("left", "right")]
    other = (swapped[:, :, wrists] == clean[:, :, wrists[::-1]]).all(-1).all(-1)
    same = (swapped[:, :, wrists] == clean[:, :, wrists]).all(-1).all(-1)
    assert (other | same).all()
    assert other.any(1).float().mean() > 0.4
    assert same.any(1).all(), "never for the whole window"
    longest = other.sum(1).max()
    assert longest <= 60 / 4 + 1

    config = dataclasses.replace(PERFECT, swap_rate=1.0, swap_length=0.5)
    longer = detect(points, config, 0.02, torch.Generator().manual_seed(0))
    other = (longer[:, :, wrists] == clean[:, :, wrists[::-1]]).all(-1).all(-1)
    assert 60 / 4 + 1 < other.sum(1).max() <= 60 / 2 + 1


def test_heads_vary_and_bodies_do_not(mocap):
    points = keypoints_3d(mocap.positions_m[None, :5].repeat(64, 1, 1, 1) + torch.tensor([0.0, 0.0, 6.0]))
    clean, other = (
        detect(points, dataclasses.replace(PERFECT, head=head), 0.02, torch.Generator().manual_seed(0))
        for head in (0.0, 0.2)
    )
    face = [KEYPOINTS.index(n) for n in ("nose", "left_eye", "right_eye", "left_ear", "right_ear")]
    body = [k for k in range(len(KEYPOINTS)) if k not in face]
    torch.testing.assert_close(other[:, :, body], clean[:, :, body])
    eyes = [KEYPOINTS.index(f"{side}_eye") for side in ("left", "right")]
    apart = [(x[:, :, eyes[0]] - x[:, :, eyes[1]]).norm(dim=-1) for x in (other, clean)]
    ratio = apart[0] / apart[1]
    assert 0.1 < ratio[:, 0].log().std() < 0.3, "from person to person"
    assert (ratio.std(1) < 0.02).all(), "not from frame to frame"


def test_most_windows_know_where_down_is_and_some_do_not(mocap):
    """The walker stands upright: down is from the head to the feet."""
    config = BatchConfig(body=AS_RECORDED, detector=PERFECT, gravity_known=0.75, gravity_deg=0.0)
    batch = _draw(mocap, config, batch=256)
    points = batch.joints[:, :, skeleton.J]
    known = torch.isfinite(points[:, 0]).all(-1)
    assert 0.6 < known.float().mean() < 0.9
    assert (points[known] == points[known][:, :1]).all(), "one direction for the window"
    pose = batch.poses_m[:, SPEC.target]
    ankles = (pose[:, skeleton.index("left_ankle")] + pose[:, skeleton.index("right_ankle")]) / 2
    falls = torch.nn.functional.normalize(ankles - pose[:, skeleton.index("head_top")], dim=-1)
    down = gravity.to_vector(points[:, 0])
    assert (falls * down).sum(-1)[known].min() > 0.95
    blurred = _draw(mocap, dataclasses.replace(config, gravity_deg=5.0), batch=256)
    apart = (gravity.to_vector(blurred.joints[:, 0, skeleton.J]) * down).sum(-1)[known].clamp(-1, 1).acos()
    assert 3 < math.degrees(apart.mean()) < 12


def test_who_is_larger_stands_on_the_same_floor(mocap):
    world = mocap.positions_m[None, :9].expand(8, -1, -1, -1)
    for scale in (0.8, 1.2):
        body = dataclasses.replace(AS_RECORDED, scale=(scale, scale))
        scaled = vary(world, body, torch.Generator().manual_seed(0))
        torch.testing.assert_close(scaled, world * scale, atol=1e-4, rtol=0)


def test_all_windows_may_have_the_arms_of_another_clip(mocap):
    starts = torch.arange(0, 80, 10)
    world = mocap.positions_m[starts[:, None] + torch.arange(9)]
    mixed = vary(world, dataclasses.replace(AS_RECORDED, mixed=1.0), torch.Generator().manual_seed(0))
    wrist = skeleton.index("left_wrist")
    moved = (mixed[:, :, wrist] - world[:, :, wrist]).norm(dim=-1).amax(1)
    assert (moved > 0.01).all(), "the last has the first one's"
