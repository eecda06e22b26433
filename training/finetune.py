"""Stage II, supervised training of STMO (paper section 3.3), on open mocap, Human3.6M or MPI-INF-3DHP.

    python -m training.finetune config/training/realtime.yaml [key=value ...] [--resume]
    torchrun --nproc-per-node 2 -m training.finetune config/training/pstmo_s_243.yaml data=FOLDER

Writes checkpoints and TensorBoard logs to ``run`` and, at the end, the model file to ``out``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from pstmo_ros.core.bundle import Bundle, load, save_bundle
from pstmo_ros.core.model import STMO
from pstmo_ros.core.model_config import ModelConfig
from pstmo_ros.core.ranges import Range
from pstmo_ros.engines import model_path
from training.batches import Batch
from training.config import RunConfig, parse_run
from training.loop import Objective, optimise
from training.metrics import joint_errors_mm, mpjpe_mm
from training.mpm import ENCODER_SETTINGS, add_gravity, check_fit, is_stage_one, take_encoder
from training.processes import join
from training.provenance import provenance
from training.sources import open_data

_GOLDEN_WINDOWS = 4
_NEWEST = 0.4
_DIAL = (0.0, 0.25, 1.0)  # shares of the longest look-ahead at which a model that has the dial is validated


@dataclass(frozen=True)
class FinetuneConfig(RunConfig):
    """Stage II.

    init: a Stage I checkpoint (training.pretrain) to take the encoder from, or a model file, or a bundled model's name,
    to take all that it has, as training the refining module does (with model.dial in both, its window may be another);
    empty for none.
    lambda_frames: weight of the multi-frame loss (paper eq. 9). lambda_std: weight of the deviations' likelihood, with
    model.uncertainty. flip_test: validate on the mean of the pose and the mirrored input's (section 4.2).
    frames_seen: with model.dial, how many of the window's frames a step sees: the newest and others drawn anew each
    time, which makes long windows as cheap as short ones; 0 for all. Validation sees all.
    """

    stage: ClassVar[str] = "finetune"
    run: str = "runs/finetune"
    init: str = ""
    lambda_frames: Annotated[float, Range(0)] = 1.0
    lambda_std: Annotated[float, Range(0)] = 0.01
    flip_test: bool = False
    frames_seen: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        most = self.model.frames if self.model.dial else 0
        if not 0 <= self.frames_seen <= most:
            raise ValueError(f"frames_seen is {self.frames_seen}; give 0 to model.frames with model.dial, 0 without")
        if self.model.dial and self.batches.held and self.dataset == "mocap":
            raise ValueError(
                "model.dial and batches.held are true, and the dial needs whole windows; set batches.held=false"
            )


class StageTwo(Objective):
    """The loss of paper eqs. 8 and 9 in metres, and MPJPE in mm.

    With model.dial the first term is shared by all the frames that may be asked for, the newest having _NEWEST of it.
    With model.uncertainty a Gaussian's likelihood is added. The errors in it are constants: deviations follow the
    poses, and poses are not pulled towards where they are sure already.
    """

    figure = "mpjpe_mm"

    def __init__(self, model: STMO, lambda_frames: float, lambda_std: float = 0.0, frames_seen: int = 0) -> None:
        super().__init__()
        self.model, self.lambda_frames, self.lambda_std = model, lambda_frames, lambda_std
        self.frames_seen = frames_seen

    def forward(self, joints: Tensor, poses_m: Tensor) -> tuple[Tensor, Tensor]:
        c = self.model.config
        if c.dial:
            seen = self._drawn(joints.device)
            frames, poses_m = self.model.forward_frames(joints[:, seen], seen), poses_m[:, seen]
            pose, target = frames[:, -1], poses_m[:, -1]
        else:
            pose, frames = self.model.forward_all(joints)
            target = poses_m[:, c.window.target]
        single = joint_errors_mm(pose[..., :3], target)
        multiple = joint_errors_mm(frames[..., :3], poses_m)
        asked = single.mean()
        if c.dial:
            asked = _NEWEST * asked + (1 - _NEWEST) * multiple[:, seen >= c.frames // 2].mean()
        loss = (asked + self.lambda_frames * multiple.mean()) / 1000
        if c.uncertainty:
            loss = loss + self.lambda_std * (_unlikelihood(single, pose) + _unlikelihood(multiple, frames))
        return loss, single.mean()

    def _drawn(self, device: torch.device) -> Tensor:
        """The frames that this step sees, oldest first, the newest among them."""
        n = self.model.config.frames
        if self.frames_seen == 0:
            return torch.arange(n, device=device)
        older = torch.randperm(n - 1, device=device)[: self.frames_seen - 1]
        return torch.cat([older.sort().values, older.new_tensor([n - 1])])


def _unlikelihood(errors_mm: Tensor, poses: Tensor) -> Tensor:
    """Mean negative log likelihood of errors (..., 17) under the standard deviations of poses (..., 17, 4) m."""
    std = poses[..., 3]
    return (3 * std.log() + (errors_mm.detach() / 1000 / std) ** 2 / 2).mean()


def main() -> None:
    try:
        bundle = train(*parse_run(FinetuneConfig, __doc__))
    except ValueError as e:
        raise SystemExit(f"finetune: {e}") from None
    if bundle is not None:
        print(f"{bundle.path}: sha256 {bundle.sha256}")


def train(config: FinetuneConfig, resume: bool = False) -> Bundle | None:
    """Run a training to its end; the model file written, as loaded back (None but in the first process)."""
    process = join(config, resume)
    torch.manual_seed(config.seed)
    model = STMO(config.model)
    if config.init:
        start_from(model, config.init, config.normalization)
    model = model.to(process.device)
    data = open_data(config, config.model.window, process.device)

    def validation() -> dict[str, float]:
        if not config.model.dial:
            return {name: validate(model, batches, config.flip_test) for name, batches in data.validation.items()}
        (batches,) = data.validation.values()
        asked = [config.model.longest_look_ahead_s * share for share in _DIAL]
        return {f"look_ahead_{s:.2f}_s": validate(model.at(s), batches, config.flip_test) for s in asked}

    objective = StageTwo(model, config.lambda_frames, config.lambda_std, config.frames_seen)
    figures = optimise(config, process, objective, data.train, validation, resume)
    if not process.first:
        return None
    training = provenance(config, "finetune") | {"validation_mpjpe_mm": {k: round(v, 2) for k, v in figures.items()}}
    golden = list(data.validation.values())[-1][0].joints[:_GOLDEN_WINDOWS].cpu().numpy()
    return save_bundle(config.out, model.cpu(), config.normalization, training, golden)


def start_from(model: STMO, path: str, normalization: str) -> None:
    """Give the model the weights of a Stage I checkpoint or of a model file; ValueError where they do not fit."""
    if is_stage_one(path):
        take_encoder(model, path, normalization)
        return
    if Path(path).suffix and not Path(path).exists():
        raise ValueError(
            f"init: {path!r} does not exist; make it with training.pretrain, name another, or give init= to have none"
        )
    bundle = load(model_path(path))
    if bundle.config.gravity and not model.config.gravity:
        raise ValueError(
            f"init: {path!r} has model.gravity=true, this run false; set model.gravity=true and batches.gravity_known"
        )
    any_window = bundle.config.dial and model.config.dial
    settings = [s for s in (*ENCODER_SETTINGS, "mofa") if s != "frames" or not any_window]
    check_fit(path, bundle.config, bundle.normalization, model.config, normalization, settings)
    weights = bundle.model.state_dict()
    if any_window and "tem.position" in weights:
        weights["tem.position"] = _resampled(weights["tem.position"], bundle.config, model.config)
    if model.config.gravity and not bundle.config.gravity:
        add_gravity(weights, model.config)
    model.load_state_dict(weights, strict=False)


def _resampled(positions: Tensor, theirs: ModelConfig, ours: ModelConfig) -> Tensor:
    """Position embeddings (1, N, d) of one window at the instants of another, both counted from the newest frame.

    Attention averages, so that a model whose frames stand closer together starts with nearly the same poses.
    """
    before = torch.arange(ours.frames - 1, -1, -1) * ours.window.step_s / theirs.window.step_s
    at = (theirs.frames - 1 - before).clamp(min=0)
    low = at.floor().long()
    high = (low + 1).clamp(max=theirs.frames - 1)
    return torch.lerp(positions[:, low], positions[:, high], (at - low)[:, None])


@torch.no_grad()
def validate(model: STMO, batches: list[Batch], flip: bool = False) -> float:
    """MPJPE in mm of the target frames of fixed batches."""
    model.eval()
    target = model.config.window.target
    poses = torch.cat([(model.flip_averaged if flip else model)(b.joints)[..., :3] for b in batches])
    return mpjpe_mm(poses, torch.cat([b.poses_m[:, target] for b in batches]))


if __name__ == "__main__":
    main()
