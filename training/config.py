"""Training configurations: frozen dataclasses filled from YAML and ``key=value`` overrides; unknown keys fail."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_type_hints

import torch
import yaml

from pstmo_ros.core.layouts import nearest
from pstmo_ros.core.model_config import ModelConfig
from pstmo_ros.core.normalize import NORMALIZATIONS
from training.batches import BatchConfig
from training.mocap import CMU

T = TypeVar("T")
STAGES = ("pretrain", "finetune")


@dataclass(frozen=True)
class RunConfig:
    """What the two stages share.

    dataset: mocap (``data`` is an npz file), h36m or 3dhp (``data`` is the folder of their npz files).
    normalization: model coordinates, see core.normalize. keypoints: h36m's detector. min_quality: mocap clips.
    train_split, test_split: of h36m and 3dhp; see training.datasets.h36m.SPLITS for paper A.7's.
    epochs: in place of ``steps`` where above 0; an epoch draws as many windows as there are, and as many mirrored.
    schedule: cosine, to 0 at the end, or exponential, times ``decay`` per epoch. clip_norm: 0 to leave gradients alone.
    batch: over all processes. precision: fp32 or bf16 (autocast). compile: torch.compile, worth it on a GPU only.
    """

    stage: ClassVar[str] = ""
    out: str = "runs/model.safetensors"
    run: str = "runs/train"
    dataset: str = "mocap"
    data: str = str(CMU.relative_to(CMU.parents[2]))
    normalization: str = "rays"
    keypoints: str = "cpn_ft_h36m_dbb"
    train_split: str = "train"
    test_split: str = "test"
    min_quality: int = 1
    model: ModelConfig = field(default_factory=ModelConfig)
    batches: BatchConfig = field(default_factory=BatchConfig)
    batch: int = 128
    steps: int = 7000
    epochs: float = 0.0
    optimizer: str = "adamw"  # adam, the paper's, or muon; see training.optimizers
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    decay: float = 0.97
    warmup: int = 200
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    seed: int = 1
    validate_every: int = 500
    validation_windows: int = 2048
    checkpoint_minutes: float = 3.0
    precision: str = "fp32"
    compile: bool = False
    device: str = "cuda" if torch.cuda.is_available() else "cpu"

    def __post_init__(self) -> None:
        choices = {
            "optimizer": ("adamw", "adam", "muon"),
            "schedule": ("cosine", "exponential"),
            "precision": ("fp32", "bf16"),
        }
        for name, known in choices.items():
            if (value := getattr(self, name)) not in known:
                raise ValueError(f"{name} is {value!r}; give one of {', '.join(known)}")
        for name in ("batch", "steps", "validate_every", "validation_windows"):
            if (value := getattr(self, name)) < 1:
                raise ValueError(f"{name} is {value}; give 1 or more")
        if self.normalization not in NORMALIZATIONS:
            raise ValueError(f"normalization is {self.normalization!r}; {nearest(self.normalization, NORMALIZATIONS)}")
        for name in ("centred", "refine"):
            if getattr(self.model, name) and self.normalization != "rays":
                raise ValueError(f"model.{name} needs normalization: rays, not {self.normalization}")
        if self.model.gravity and self.dataset != "mocap":
            raise ValueError(f"model.gravity is on, but recordings of {self.dataset} do not say where down is")
        if self.model.gravity != (self.batches.gravity_known > 0):
            raise ValueError(
                f"model.gravity is {str(self.model.gravity).lower()} and batches.gravity_known is "
                f"{self.batches.gravity_known}; set both, or neither"
            )


def parse_run(cls: type[T], doc: str | None) -> tuple[T, bool]:
    """A stage's command line, ``[config.yaml] [key=value ...] [--resume]`` -> its configuration, and whether to resume.

    ValueError as ``load_config``.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", nargs="?", help="YAML file, see config/training/")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in the run folder")
    args = parser.parse_args()
    if args.config and "=" in args.config:
        args.config, args.overrides = None, [args.config, *args.overrides]
    return load_config(cls, args.config, args.overrides), args.resume


def load_config(cls: type[T], path: str | Path | None, overrides: Sequence[str] = ()) -> T:
    """A configuration of dataclass ``cls``; overrides name nested fields with dots: ``model.frames=81``.

    A file may name a ``base`` beside it whose settings it changes, and hold a section for each stage, of which the
    one of ``cls.stage`` counts. ValueError names the key, the value and the nearest valid key.
    """
    values = {} if path is None else _read(Path(path))
    sections = {stage: values.pop(stage, None) or {} for stage in STAGES}
    values = _merged(values, sections.get(getattr(cls, "stage", ""), {}))
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ValueError(f"override {override!r} is not key=value")
        setting: Any = yaml.safe_load(text) if text else ""
        for part in reversed(key.split(".")):
            setting = {part: setting}
        values = _merged(values, setting)
    return _build(cls, values, "")


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"configuration file {str(path)!r} does not exist; see config/training/")
    values = yaml.safe_load(path.read_text()) or {}
    if not isinstance(values, dict):
        raise ValueError(f"configuration file {str(path)!r} holds {values!r}; give settings, one per line")
    base = values.pop("base", None)
    return values if base is None else _merged(_read(path.parent / base), values)


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes``, section by section."""
    out = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = _merged(out[key], value) if both else value
    return out


def _build(cls: type[T], values: dict[str, Any], prefix: str) -> T:
    if not isinstance(values, dict):
        raise ValueError(f"{prefix.rstrip('.') or 'the configuration'} is {values!r}; give settings, one per line")
    kinds = get_type_hints(cls)
    types = {f.name: kinds[f.name] for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    out: dict[str, Any] = {}
    for key, value in values.items():
        if key not in types:
            raise ValueError(f"{prefix}{key} is unknown; {nearest(str(key), tuple(types))}")
        kind = types[key]
        if dataclasses.is_dataclass(kind):
            value = _build(kind, value, f"{prefix}{key}.")  # type: ignore[type-var, arg-type]
        elif isinstance(value, list):
            value = tuple(value)
        elif kind is float and isinstance(value, int | str):
            value = _number(value, f"{prefix}{key}")  # YAML reads 1e-3 as text
        elif kind in (int, str, bool) and type(value) is not kind:
            raise ValueError(f"{prefix}{key} is {value!r}; give {'an' if kind is int else 'a'} {kind.__name__}")
        out[key] = value
    return cls(**out)


def _number(value: int | str, key: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise ValueError(f"{key} is {value!r}; give a number") from None
