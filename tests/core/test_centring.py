"""The camera is turned to the person by a rotation, the smallest there is, and the pose is turned back by it."""

import torch
import torch.nn.functional as F

from pstmo_ros.core.centring import Centring


def _axes():
    torch.manual_seed(0)
    return F.normalize(torch.cat([torch.randn(20, 2), torch.ones(20, 1)], -1), dim=-1)


def test_the_turn_is_the_smallest_rotation_to_the_optical_axis():
    axes = _axes()
    optical = torch.tensor([0.0, 0.0, 1.0]).expand(20, 3)
    turn = Centring(1, 0).turn(torch.eye(3).expand(20, 3, 3), axes).mT  # whose columns are where the unit vectors go
    torch.testing.assert_close((turn @ axes[..., None])[..., 0], optical)
    torch.testing.assert_close(turn @ turn.mT, torch.eye(3).expand(20, 3, 3))
    torch.testing.assert_close(torch.linalg.det(turn), torch.ones(20))
    about = torch.linalg.cross(axes, optical)
    torch.testing.assert_close((turn @ about[..., None])[..., 0], about)


def test_poses_are_turned_back():
    axes, poses, centring = _axes(), torch.randn(20, 4, 17, 3), Centring(1, 0)
    torch.testing.assert_close(centring.turn(centring.restore(poses, axes), axes), poses)


def test_the_network_sees_the_person_in_the_middle_and_at_one_size():
    torch.manual_seed(1)
    rays = 0.1 * torch.randn(5, 9, 17, 2) + torch.tensor([0.4, -0.3])
    rays[:, :, 3] = torch.nan
    centring = Centring(9, 8)
    x, axes = centring(rays)
    assert (torch.isnan(x) == torch.isnan(rays)).all()
    newest = x[:, 8, [*range(3), *range(4, 17)]]
    assert newest.mean(1).abs().max() < 0.1
    torch.testing.assert_close(newest.square().mean(1).sum(-1), torch.ones(5), atol=0.02, rtol=0)
    turned = centring.turn(F.pad(rays[:, :, 4], (0, 1), value=1.0), axes)
    seen = turned[..., :2] / turned[..., 2:]
    size = seen.norm(dim=(1, 2)) / x[:, :, 4].norm(dim=(1, 2))
    torch.testing.assert_close(x[:, :, 4] * size[:, None, None], seen)
