"""Training configurations: frozen dataclasses filled from YAML and ``key=value`` overrides; unknown keys fail."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar, get_args, get_origin, get_type_hints

import torch
import yaml

from pstmo_ros.core.layouts import nearest
from pstmo_ros.core.model_config import ModelConfig
from pstmo_ros.core.normalize import NORMALIZATIONS
from pstmo_ros.core.ranges import Range, Settings
from training.batches import BatchConfig
from training.datasets import dhp, h36m
from training.mocap import CMU

T = TypeVar("T")
STAGES = ("pretrain", "finetune")
# The settings that a data set has for itself, and what they may be.
_DATASETS: dict[str, dict[str, tuple[str, ...]]] = {
    "mocap": {},
    "h36m": {"keypoints": tuple(h36m.KEYPOINTS), "train_split": tuple(h36m.SPLITS), "test_split": tuple(h36m.SPLITS)},
    "3dhp": {"train_split": dhp.SPLITS, "test_split": dhp.SPLITS},
}
_WANTED = {int: "an int", float: "a number", str: "a str", bool: "a bool"}


@dataclass(frozen=True)
class RunConfig(Settings):
    """What the two stages share.

    dataset: mocap (``data`` is an npz file), h36m or 3dhp (``data`` is the folder of their npz files).
    normalization: model coordinates, see core.normalize. keypoints: h36m's detector. min_quality: mocap clips.
    train_split, test_split: of h36m and 3dhp; see training.datasets.h36m.SPLITS for paper A.7's.
    epochs: where above 0, in place of ``steps``, which is then not given; an epoch draws as many windows as there are,
    and as many mirrored.
    schedule: cosine, to 0 at the end, or exponential, times ``decay`` per epoch. clip_norm: 0 to leave gradients alone.
    weight_decay: of adamw and muon; adam, as the paper has it, takes none.
    batch: over all processes. precision: fp32, bf16 (autocast), or auto: bf16 on a device that has units for it, for
    others are several times as slow in it. compile: torch.compile, worth it on a GPU only.
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
    min_quality: Annotated[int, Range(0, 3)] = 1
    model: ModelConfig = field(default_factory=ModelConfig)
    batches: BatchConfig = field(default_factory=BatchConfig)
    batch: Annotated[int, Range(2, 1_000_000)] = 128  # of a single window there is no batch norm
    steps: Annotated[int, Range(1)] = 7000
    epochs: Annotated[float, Range(0, 1_000_000)] = 0.0
    optimizer: str = "adamw"  # adam, the paper's, or muon; see training.optimizers
    learning_rate: Annotated[float, Range(1e-9, 1)] = 1e-3
    schedule: str = "cosine"
    decay: Annotated[float, Range(0.01, 1)] = 0.97
    warmup: Annotated[int, Range(0)] = 200
    weight_decay: Annotated[float, Range(0, 10)] = 0.01
    clip_norm: Annotated[float, Range(0)] = 1.0
    seed: Annotated[int, Range(0, 2**32 - 1)] = 1
    validate_every: Annotated[int, Range(1)] = 500
    validation_windows: Annotated[int, Range(1, 10_000_000)] = 2048
    checkpoint_minutes: Annotated[float, Range(0)] = 3.0
    precision: str = "fp32"
    compile: bool = False
    device: str = "cuda" if torch.cuda.is_available() else "cpu"

    def __post_init__(self) -> None:
        super().__post_init__()
        choices = {
            "dataset": tuple(_DATASETS),
            "optimizer": ("adamw", "adam", "muon"),
            "schedule": ("cosine", "exponential"),
            "precision": ("fp32", "bf16", "auto"),
        }
        for name, known in choices.items():
            if (value := getattr(self, name)) not in known:
                raise ValueError(f"{name} is {value!r}; give one of {', '.join(known)}")
        if self.epochs > 0 and self.steps != RunConfig.steps:
            raise ValueError(
                f"steps is {self.steps} and epochs is {self.epochs:g}, which counts; give epochs=0 or no steps"
            )
        if self.optimizer == "adam" and self.weight_decay not in (0, RunConfig.weight_decay):
            raise ValueError(
                f"weight_decay is {self.weight_decay}, and optimizer adam takes none; leave it out or give adamw"
            )
        if self.normalization not in NORMALIZATIONS:
            raise ValueError(f"normalization is {self.normalization!r}; {nearest(self.normalization, NORMALIZATIONS)}")
        for name in ("keypoints", "train_split", "test_split"):
            value, known = getattr(self, name), _DATASETS[self.dataset].get(name, ())
            if known and value not in known:
                raise ValueError(f"{name} is {value!r}; {nearest(value, known)}")
            if not known and value != getattr(RunConfig, name):
                raise ValueError(f"{name} is {value!r}, which dataset {self.dataset} does not have; leave it out")
        for name in ("centred", "refine"):
            if getattr(self.model, name) and self.normalization != "rays":
                raise ValueError(f"model.{name} needs normalization: rays, not {self.normalization}")
        if self.dataset == "mocap" and self.normalization != "rays":
            raise ValueError(f"normalization is {self.normalization!r}; mocap's virtual cameras give 'rays'")
        if self.dataset == "h36m" and self.model.rate_hz != h36m.RATE_HZ:
            raise ValueError(
                f"model.rate_hz is {self.model.rate_hz:g}, and dataset h36m has {h36m.RATE_HZ:g} frames per second; "
                "leave it out: model.stride is what leaves frames out"
            )
        if self.model.gravity and self.dataset != "mocap":
            raise ValueError(f"model.gravity is on, but recordings of {self.dataset} do not say where down is")
        if self.model.gravity != (self.batches.gravity_known > 0):
            raise ValueError(
                f"model.gravity is {str(self.model.gravity).lower()} and batches.gravity_known is "
                f"{self.batches.gravity_known}; set both, or neither"
            )


def parse_run(cls: type[T], doc: str | None) -> tuple[T, bool]:
    """A stage's command line, ``config.yaml [key=value ...] [--resume]`` -> its configuration, and whether to resume.

    ValueError as ``load_config``, and where no file is named: the defaults alone are nobody's training of hours.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", nargs="?", default="", help="YAML file, see config/training/")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in the run folder")
    args = parser.parse_intermixed_args()
    if not args.config or ("=" in args.config and not Path(args.config).is_file()):
        raise ValueError("no configuration file is named; give one first, such as config/training/small.yaml")
    return load_config(cls, args.config, args.overrides), args.resume


def load_config(cls: type[T], path: str | Path | None, overrides: Sequence[str] = ()) -> T:
    """A configuration of dataclass ``cls``; overrides name nested fields with dots: ``model.frames=81``.

    A file may name a ``base`` beside it whose settings it changes, and hold a section for each stage, of which the
    one of ``cls.stage`` counts. ValueError names the key, the value and the nearest valid key.
    """
    values = {} if path is None else _read(Path(path))
    sections = {stage: _settings(values.pop(stage, None) or {}, stage) for stage in STAGES}
    values = _merged(values, sections.get(getattr(cls, "stage", ""), {}))
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ValueError(f"override {override!r} is not key=value")
        setting: Any = _yaml(text, f"override {override!r}") if text else ""
        for part in reversed(key.split(".")):
            setting = {part: setting}
        values = _merged(values, setting)
    return _build(cls, values, "")


def _read(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A file's settings on those of its base; ``above``: the files that it is the base of."""
    if path.resolve() in above:
        raise ValueError(f"configuration file {str(path)!r} is its own base; give another, or none")
    if not path.is_file():
        raise ValueError(f"configuration file {str(path)!r} does not exist; see config/training/")
    where = f"configuration file {str(path)!r}"
    values = _settings(_yaml(path.read_bytes(), where) or {}, where)
    base = values.pop("base", None)
    if base is None:
        return values
    if not isinstance(base, str):
        raise ValueError(f"{where}: base is {base!r}; give the name of a file beside it")
    return _merged(_read(path.parent / base, (*above, path.resolve())), values)


def _yaml(text: str | bytes, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as e:  # ValueError: what looks like a date and is none
        raise ValueError(f"{where} is not YAML; mend it: {' '.join(str(e).split())}") from None


def _settings(values: Any, where: str) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise ValueError(f"{where} is {_shown(values)}; give settings, one per line")
    return values


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes``, section by section."""
    out = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = _merged(out[key], value) if both else value
    return out


def _build(cls: type[T], values: Any, prefix: str) -> T:
    kinds = get_type_hints(cls)
    types = {f.name: kinds[f.name] for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    out: dict[str, Any] = {}
    for key, value in _settings(values, prefix.rstrip(".") or "the configuration").items():
        if key not in types:
            raise ValueError(f"{prefix}{key} is unknown; {nearest(str(key), tuple(types))}")
        out[key] = _value(types[key], value, f"{prefix}{key}")
    try:
        return cls(**out)
    except ValueError as e:
        raise ValueError(f"{prefix}{e}") from None


def _value(kind: Any, value: Any, key: str) -> Any:
    """A setting as its type has it; ValueError where it is of another."""
    if dataclasses.is_dataclass(kind):
        return _build(kind, value, f"{key}.")  # type: ignore[arg-type]
    parts = get_args(kind)
    if type(None) in parts:
        return None if value is None else _value(parts[0], value, key)
    if get_origin(kind) is dict:
        return _settings(value, key)
    if get_origin(kind) is tuple:
        count = None if parts[-1] is Ellipsis else len(parts)
        if not isinstance(value, list) or count not in (None, len(value)):
            wanted = "a list, as [a, b, c]" if count is None else f"a list of {count}, as [a, b]"
            raise ValueError(f"{key} is {_shown(value)}; give {wanted}")
        return tuple(_value(parts[0], v, f"{key}[{i}]") for i, v in enumerate(value))
    if kind is float and type(value) is not bool:
        with suppress(TypeError, ValueError, OverflowError):
            return float(value)  # YAML reads 1e-3 as text
    elif type(value) is kind:
        return value
    raise ValueError(f"{key} is {_shown(value)}; give {_WANTED[kind]}")


def _shown(value: Any) -> str:
    return "empty" if value is None else repr(value)
