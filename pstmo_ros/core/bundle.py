"""The model file: weights, golden tensors and everything the weights depend on, in one safetensors file.

Nothing in it is executed on loading: safetensors holds raw tensors, and the one metadata entry ``pstmo`` is JSON.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from pstmo_ros.core import skeleton
from pstmo_ros.core.model import STMO
from pstmo_ros.core.model_config import ModelConfig
from pstmo_ros.core.normalize import NORMALIZATIONS
from pstmo_ros.core.types import Floats

FORMAT_VERSION = 1
_KEY = "pstmo"
_WEIGHTS, _GOLDEN = "model.", "golden."
_REQUIRED = ("format_version", "model", "joints", "normalization", "axes", "units", "training")


class BundleError(ValueError):
    """A model file that cannot be used; the message names the file, what is wrong and what to do."""


@dataclass(frozen=True)
class Bundle:
    """A loaded model file.

    model: STMO in eval mode, (B, N, 17, 2) model coordinates -> (B, 17, O) metres, O as core.model.STMO has it.
    golden_x (G, N, 17, 2), golden_y (G, 17, O): what every engine must reproduce before it is trusted.
    """

    model: STMO
    config: ModelConfig
    metadata: dict[str, Any]
    golden_x: Floats
    golden_y: Floats
    sha256: str = ""
    path: Path | None = field(default=None)

    @property
    def normalization(self) -> str:
        """The input normalisation the weights were trained with (core.normalize)."""
        return str(self.metadata["normalization"])

    def at(self, look_ahead_s: float) -> Bundle:
        """The same weights asked for the pose at another look-ahead; ValueError beyond the model's longest.

        A model without ``dial`` stays as it is: its window's future is as long as the look-ahead, and then held.
        """
        model = self.model.at(look_ahead_s)
        if model.config == self.config:
            return self
        return dataclasses.replace(self, model=model, config=model.config, golden_y=_poses(model, self.golden_x))


def save_bundle(
    path: str | Path, model: STMO, normalization: str, training: dict[str, Any], golden_x: Floats
) -> Bundle:
    """Write a model file and return it as loaded back.

    normalization: one of core.normalize.NORMALIZATIONS. golden_x (G, N, 17, 2): a few real windows.
    training: where the weights come from: data and its licence, command, commit, seed, metrics.
    """
    if normalization not in NORMALIZATIONS:
        raise ValueError(f"normalization is {normalization!r}; give one of {NORMALIZATIONS}")
    model, golden_x = model.eval(), np.ascontiguousarray(golden_x, np.float32)
    y = torch.from_numpy(_poses(model, golden_x))
    spec = model.config.window
    metadata = {
        "format_version": FORMAT_VERSION,
        "model": dataclasses.asdict(model.config),
        "joints": list(skeleton.JOINTS),
        "window": dataclasses.asdict(spec),
        "normalization": normalization,
        "axes": "camera: x right, y down, z away; root-relative",
        "units": "metres",
        "training": training,
    }
    tensors = {_WEIGHTS + k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    tensors |= {_GOLDEN + "x": torch.from_numpy(golden_x), _GOLDEN + "y": y}
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(save(tensors, {_KEY: json.dumps(metadata)}))
    part.replace(path)
    return load(path)


def load(path: str | Path) -> Bundle:
    """Load and check a model file; BundleError says what is wrong with it."""
    path = Path(path)
    try:
        if not path.is_file():
            raise BundleError(
                f"model file {str(path)!r} does not exist; give a .safetensors file made by training.finetune "
                "or training.import_official, or the name of a bundled model"
            )
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get(_KEY)
            tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118 (a file, not a dict)
    except OSError as e:
        raise BundleError(f"model file {str(path)!r} cannot be read: {e}") from None
    except SafetensorError as e:
        fix = "it may be truncated: copy or download it again"
        if is_zipfile(path):  # as torch.save writes them
            fix = "it is a checkpoint of torch's: turn an authors' one into a model file with training.import_official"
        raise BundleError(f"model file {str(path)!r} is not a readable safetensors file ({e}); {fix}") from None
    metadata = _checked_metadata(path, text)
    config = _checked_config(path, metadata)

    try:
        model = STMO(config)
        model.load_state_dict({k.removeprefix(_WEIGHTS): v for k, v in tensors.items() if k.startswith(_WEIGHTS)})
        golden_x, golden_y = (tensors[_GOLDEN + k].float().numpy() for k in "xy")
        _check_golden(config, golden_x, golden_y)
    except (RuntimeError, KeyError, TypeError, ValueError) as e:
        raise BundleError(f"model file {str(path)!r} does not hold the tensors its own settings ask for: {e}") from None
    return Bundle(model.eval().requires_grad_(False), config, metadata, golden_x, golden_y, sha256(path), path)


def _check_golden(config: ModelConfig, x: Floats, y: Floats) -> None:
    """ValueError for golden windows and poses that no engine could be held to."""
    count = max(len(x), 1)
    for name, tensor, shape in (
        ("x", x, (count, config.frames, config.points, 2)),
        ("y", y, (count, skeleton.J, config.channels)),
    ):
        if tensor.shape != shape:
            raise ValueError(f"{_GOLDEN}{name} has shape {tensor.shape}, not {shape}")


def _poses(model: STMO, windows: Floats) -> Floats:
    with torch.inference_mode():
        return model(torch.from_numpy(windows)).numpy()


def sha256(path: str | Path) -> str:
    """Hex digest of the file: the name under which accuracy figures and engine caches refer to it."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _checked_metadata(path: Path, text: str | None) -> dict[str, Any]:
    if text is None:
        raise BundleError(
            f"model file {str(path)!r} has no {_KEY!r} metadata: it is some other safetensors file; "
            "turn an authors' checkpoint into a model file with training.import_official"
        )
    try:
        metadata = json.loads(text)
    except json.JSONDecodeError as e:
        raise BundleError(f"model file {str(path)!r}: its {_KEY!r} metadata is not JSON ({e})") from None
    if not isinstance(metadata, dict) or (missing := [k for k in _REQUIRED if k not in metadata]):
        raise BundleError(
            f"model file {str(path)!r}: its metadata lacks {missing if isinstance(metadata, dict) else 'all keys'}"
        )
    if metadata["format_version"] != FORMAT_VERSION:
        raise BundleError(
            f"model file {str(path)!r} has format version {metadata['format_version']}, "
            f"this release reads version {FORMAT_VERSION}; export it again"
        )
    if metadata["joints"] != list(skeleton.JOINTS):
        raise BundleError(f"model file {str(path)!r} has joints {metadata['joints']}; expected {list(skeleton.JOINTS)}")
    if metadata["normalization"] not in NORMALIZATIONS:
        raise BundleError(
            f"model file {str(path)!r}: normalization is {metadata['normalization']!r}, not one of {NORMALIZATIONS}"
        )
    return metadata


def _checked_config(path: Path, metadata: dict[str, Any]) -> ModelConfig:
    try:
        return ModelConfig.from_dict(metadata["model"])
    except (TypeError, ValueError, ArithmeticError) as e:
        raise BundleError(f"model file {str(path)!r}: {e}") from None
