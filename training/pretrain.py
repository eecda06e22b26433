"""Stage I, masked pose modeling (paper section 3.2): SEM and TEM learn motion from 2D alone.

    python -m training.pretrain config/training/pstmo_s_27.yaml data=FOLDER [key=value ...] [--resume]
    python -m training.finetune config/training/pstmo_s_27.yaml data=FOLDER

Writes checkpoints and TensorBoard logs to ``run`` and, at the end, the Stage I checkpoint to ``out``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from pstmo_ros.core.ranges import Range
from training.batches import Batch
from training.config import RunConfig, parse_run
from training.loop import Objective, optimise
from training.mpm import MaskedPoseModel, MaskingConfig, draw_masks, recovery_error, save_stage_one
from training.processes import join
from training.provenance import provenance
from training.sources import open_data


@dataclass(frozen=True)
class PretrainConfig(RunConfig):
    """Stage I. decoder_depth: the decoder's Transformer layers (L_D in Table 7), 0 for one less than the encoder's."""

    stage: ClassVar[str] = "pretrain"
    out: str = "runs/stage_one.safetensors"
    run: str = "runs/pretrain"
    masking: MaskingConfig = field(default_factory=MaskingConfig)
    decoder_depth: Annotated[int, Range(0, 100)] = 0


class StageOne(Objective):
    """The distance between recovered and true joints, in model coordinates, with new masks at every call."""

    figure = "recovery_error_milli"

    def __init__(self, model: MaskedPoseModel, masking: MaskingConfig) -> None:
        super().__init__()
        self.model, self.masking = model, masking

    def forward(self, joints: Tensor, poses_m: Tensor) -> tuple[Tensor, Tensor]:
        masks = draw_masks(len(joints), joints.shape[1], self.masking, None, joints.device)
        target = self.model.target(joints)
        error = recovery_error(self.model(target, masks), target)
        return error, 1000 * error


def main() -> None:
    try:
        out = train(*parse_run(PretrainConfig, __doc__))
    except ValueError as e:
        raise SystemExit(f"pretrain: {e}") from None
    if out is not None:
        print(f"{out}: Stage I checkpoint; take it over with python -m training.finetune ... init={out}")


def train(config: PretrainConfig, resume: bool = False) -> Path | None:
    """Run a pre-training to its end; the path of the checkpoint (None but in the first process)."""
    process = join(config, resume)
    torch.manual_seed(config.seed)
    model = MaskedPoseModel(config.model, config.decoder_depth).to(process.device)
    data = open_data(config, config.model.window, process.device)

    def validation() -> dict[str, float]:
        return {name: validate(model, batches, config.masking) for name, batches in data.validation.items()}

    figures = optimise(config, process, StageOne(model, config.masking), data.train, validation, resume)
    if not process.first:
        return None
    training = provenance(config, "pretrain") | {"validation_recovery_error_milli": figures}
    save_stage_one(config.out, model, config.normalization, training)
    return Path(config.out)


@torch.no_grad()
def validate(model: MaskedPoseModel, batches: list[Batch], masking: MaskingConfig) -> float:
    """Recovery error, in thousandths of a model coordinate, of fixed batches under fixed masks."""
    model.eval()
    generator = torch.Generator(batches[0].joints.device).manual_seed(0)
    errors = []
    for batch in batches:
        target = model.target(batch.joints)
        masks = draw_masks(len(target), target.shape[1], masking, generator, target.device)
        errors.append(recovery_error(model(target, masks), target))
    return 1000 * torch.stack(errors).mean().item()


if __name__ == "__main__":
    main()
