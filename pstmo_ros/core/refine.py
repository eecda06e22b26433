"""The refining module (paper Table 1 (*), after Cai et al. 2019): the pose, corrected towards what the camera saw."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pstmo_ros.core import skeleton
from pstmo_ros.core.placement import MIN_DEPTH_M

_RIDGE = 1e-6  # keeps the solution finite when fewer than two joints were seen


class Refine(nn.Module):
    """Weighs, for each joint and each of x and y, the pose against its re-projection from the 2D joints.

    The paper takes the root's distance from the annotation; here it is the one at which the pose fits the 2D joints
    best, so that the module works where there is no annotation.
    """

    HIDDEN = 1024
    pinhole: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.fc_1, self.fc_2 = nn.Linear(6 * skeleton.J, self.HIDDEN), nn.Linear(self.HIDDEN, 2 * skeleton.J)
        self.drop = nn.Dropout(0.5)
        # Focal lengths and centre (fx, fy, cx, cy) that turn model coordinates into rays; rays need no turning.
        self.register_buffer("pinhole", torch.tensor([1.0, 1.0, 0.0, 0.0]))

    def forward(self, pose: Tensor, joints: Tensor) -> Tensor:
        """Poses (B, 17, 3) m and the same frame's joints (B, 17, 2) in model coordinates, NaN where missing ->
        poses (B, 17, 3); z is kept, and so is a joint that was not seen."""
        rays = (joints - self.pinhole[2:]) / self.pinhole[:2]
        seen = torch.isfinite(rays).all(-1, keepdim=True)
        reprojected = torch.where(seen, reproject(pose, rays), pose)
        both = torch.cat([pose, reprojected], -1).flatten(1)
        weight = torch.sigmoid(self.fc_2(self.drop(torch.relu(self.fc_1(both))))).view_as(joints)
        xy = weight * pose[..., :2] + (1 - weight) * reprojected[..., :2]
        return torch.cat([xy, pose[..., 2:]], -1)


def reproject(pose: Tensor, rays: Tensor) -> Tensor:
    """Each joint moved onto its ray, at the depth that the pose gives it, relative to the pelvis.

    pose (B, 17, 3) m, root-relative; rays (B, 17, 2), NaN where unseen -> (B, 17, 3) m; where the pelvis is unseen
    it is taken to be where the pose puts it.
    """
    root = root_position(pose, rays)
    depth = root[:, None, 2:] + pose[..., 2:]
    placed = torch.cat([torch.nan_to_num(rays) * depth, depth], -1)
    pelvis = placed[:, skeleton.ROOT, None]
    pelvis_seen = torch.isfinite(rays[:, skeleton.ROOT]).all(-1)[:, None, None]
    return placed - torch.where(pelvis_seen, pelvis, root[:, None] + pose[:, skeleton.ROOT, None])


def root_position(pose: Tensor, rays: Tensor) -> Tensor:
    """Where the root must be for the pose (B, 17, 3) to project onto the rays (B, 17, 2), least squares: (B, 3) m.

    placement.place's equations for tensors that carry gradients; nothing is refused: a training needs a number.
    X + tx = u (Z + tz) and Y + ty = v (Z + tz) are linear in t.
    """
    seen = torch.isfinite(rays).all(-1, keepdim=True)
    rays = torch.nan_to_num(rays)
    right = torch.where(seen, rays * pose[..., 2:] - pose[..., :2], 0.0)  # t_xy - ray * tz = right
    count = seen.sum(1).clamp(min=1)
    ray_mean = torch.where(seen, rays, 0.0).sum(1) / count
    right_mean = right.sum(1) / count
    spread = torch.where(seen, rays - ray_mean[:, None], 0.0)
    # tx and ty eliminated: one equation for tz.
    tz = -(spread * right).sum((1, 2)) / ((spread**2).sum((1, 2)) + _RIDGE)
    tz = tz.clamp(min=MIN_DEPTH_M)[:, None]
    return torch.cat([right_mean + ray_mean * tz, tz], -1)
