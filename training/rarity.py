"""How rare poses are, so that training may see them as often as common ones. F frames."""

from __future__ import annotations

import numpy as np
import torch
from scipy.cluster.vq import kmeans2, vq
from torch import Tensor

from pstmo_ros.core import skeleton
from pstmo_ros.core.types import Floats
from training.bodies import facing, yawed

_KINDS = 400
_SAMPLE = 20_000  # frames that the kinds are found from
_MOST = 20.0


def rarity(positions_m: Tensor) -> Tensor:
    """Of each frame's pose, positions (F, 17, 3) m, z up -> (F,): one over how many frames show the same kind of pose,
    in the mean about 1.

    Kinds are k-means' of joints relative to the pelvis, with all bodies turned to face one way and scaled to one size.
    """
    pose = (positions_m - positions_m[:, skeleton.ROOT, None])[None].cpu()
    pose = yawed(pose, facing(pose).conj())[0]
    pose = pose / pose.norm(dim=-1).mean(1)[:, None, None]
    points = pose.flatten(1).numpy()
    random = np.random.default_rng(0)
    sample = points[random.permutation(len(points))[:_SAMPLE]]
    kinds, _ = kmeans2(sample, _spread(sample, min(_KINDS, len(sample)), random), iter=5, minit="matrix")
    kind, _ = vq(points, kinds)
    share = 1 / torch.from_numpy(np.bincount(kind)[kind]).double()
    return (share / share.mean()).clamp(max=_MOST).to(positions_m.device)


def _spread(points: Floats, count: int, random: np.random.Generator) -> Floats:
    """So many of the points (F, d) that differ, far from each other: k-means++, for which scipy takes half a minute."""
    chosen, square = [0], np.square(points - points[0]).sum(1, dtype=float)
    while len(chosen) < count and square.any():
        chosen.append(int(random.choice(len(points), p=square / square.sum())))
        square = np.minimum(square, np.square(points - points[chosen[-1]]).sum(1))
    return points[chosen]
