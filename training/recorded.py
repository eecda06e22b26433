"""Training and test windows of recorded clips: gathered by index from tensors that stay in the device's memory.

B windows, N frames of the model's window, J = 17. The counterpart of ``training.batches`` for data sets whose cameras
and keypoints are as recorded; ``draw`` gives the same ``Batch``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from pstmo_ros.core import layouts, skeleton
from pstmo_ros.core.model import flipped
from pstmo_ros.core.window import WindowSpec
from training.batches import Batch
from training.datasets.clips import Clip


class RecordedWindows:
    """Windows of recorded clips, in random order for training (``draw``) or in order for tests (``ordered``).

    ``spec.stride`` counts frames of the recording, as temporal downsampling does in the paper (section 3.3); beyond
    the ends of a clip its first and last frames repeat.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        spec: WindowSpec,
        normalization: str = "screen",
        *,
        mirror: bool = True,
        as_detected: bool = False,
        look_ahead_frames: int | None = None,
        device: torch.device | str = "cpu",
        generator: torch.Generator | None = None,
    ) -> None:
        """mirror: flip half of the drawn windows. as_detected: see ``Clip.model_input``. generator: on ``device``.

        look_ahead_frames: how many frames of the recording after the target a window may see, the newest held
        beyond; None for all that it spans.
        """
        if not clips:
            raise ValueError("there are no clips to draw windows from")
        self.spec, self.mirror, self.generator, self.device = spec, mirror, generator, torch.device(device)
        self.joints = torch.cat([c.model_input(normalization, as_detected) for c in clips]).to(device)
        self.poses_m = torch.cat([c.root_relative_m() for c in clips]).to(device)
        length = torch.tensor([len(c.poses_m) for c in clips], device=device)
        end = length.cumsum(0)
        self.first = torch.repeat_interleave(end - length, length)
        self.last = torch.repeat_interleave(end - 1, length)
        names = layouts.get(clips[0].layout).joints if as_detected else skeleton.JOINTS
        self.mirrored = [names.index(skeleton.mirrored_name(n)) for n in names]
        self.offsets = (torch.arange(spec.frames, device=device) - spec.target) * spec.stride
        if look_ahead_frames is not None:
            self.offsets = self.offsets.clamp(max=look_ahead_frames)

    def __len__(self) -> int:
        """How many windows there are: one per frame."""
        return len(self.first)

    def draw(self, batch: int) -> Batch:
        """A batch of windows whose targets are drawn uniformly over the frames."""
        target = torch.randint(len(self), (batch,), generator=self.generator, device=self.device)
        drawn = self.windows(target)
        if not self.mirror:
            return drawn
        flip = torch.rand(batch, 1, 1, 1, generator=self.generator, device=self.device) < 0.5
        joints = torch.where(flip, flipped(drawn.joints, self.mirrored), drawn.joints)
        return Batch(joints, torch.where(flip, flipped(drawn.poses_m, skeleton.MIRROR), drawn.poses_m))

    def ordered(self, batch: int) -> Iterator[Batch]:
        """Every window once, as recorded, clip after clip in time order."""
        for targets in torch.arange(len(self), device=self.device).split(batch):
            yield self.windows(targets)

    def windows(self, targets: Tensor) -> Batch:
        """The windows around frames ``targets`` (B,) of the concatenated clips."""
        at = targets[:, None] + self.offsets
        at = torch.minimum(torch.maximum(at, self.first[targets, None]), self.last[targets, None])
        return Batch(self.joints[at], self.poses_m[at])
