"""Settings and arguments that make no sense are refused before any time is spent, under the names that a user types."""

import dataclasses
import re
import sys
from collections.abc import Iterator
from typing import Any, get_type_hints

import pytest

from pstmo_ros.core.model_config import ModelConfig
from pstmo_ros.core.ranges import Bounds
from training import ablate, accuracy, baselines, bench_train, evaluate, import_official, multiview, prepare
from training.bodies import BodyConfig
from training.config import load_config
from training.figures import __main__ as figures
from training.finetune import FinetuneConfig, train
from training.mpm import MaskedPoseModel
from training.outputs import CHECKPOINT
from training.pretrain import PretrainConfig

TUPLES = (tuple[float, float], tuple[float, ...])


def _numbers(cls: type, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Of every setting that is a number, or several: its dotted name, its type, and its type as declared."""
    kinds, declared = get_type_hints(cls), get_type_hints(cls, include_extras=True)
    for name in (f.name for f in dataclasses.fields(cls)):
        if dataclasses.is_dataclass(kinds[name]):
            yield from _numbers(kinds[name], f"{prefix}{name}.")
        elif kinds[name] in (int, float, *TUPLES):
            yield prefix + name, kinds[name], declared[name]


NUMBERS = {name: (cls, kind in TUPLES) for cls in (PretrainConfig, FinetuneConfig) for name, kind, _ in _numbers(cls)}
BOUNDS = [name for name, kind, declared in _numbers(FinetuneConfig)
          if kind in TUPLES and isinstance(declared.__metadata__[0], Bounds)]  # fmt: skip


@pytest.mark.parametrize("name", NUMBERS)
def test_no_setting_takes_any_number(name):
    cls, several = NUMBERS[name]
    for value in (".nan", ".inf", "-1000000000000"):
        with pytest.raises(ValueError, match=f"^{re.escape(name)} is "):
            load_config(cls, None, [f"{name}=[{value}, {value}]" if several else f"{name}={value}"])


@pytest.mark.parametrize("name", BOUNDS)
def test_bounds_that_are_reversed_are_refused(name):
    with pytest.raises(ValueError, match=rf"^{re.escape(name)} is \[2\.0, 1\.0\]; give the lower bound first"):
        load_config(FinetuneConfig, None, [f"{name}=[2, 1]"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["warmup=-1"], "warmup is -1; give 0 or more"),
        (["batch=1"], "batch is 1; give 2 to 1000000"),
        (["learning_rate=0"], "learning_rate is 0.0; give 1e-09 to 1"),
        (["decay=1.1"], "decay is 1.1; give 0.01 to 1"),
        (["batches.visibility.keypoints=3"], r"batches\.visibility\.keypoints is 3.0; give 0 to 1"),
        (["batches.camera.distance_m=[0, 0]"], r"batches\.camera\.distance_m is \[0.0, 0.0\]; give 0.3 to 1000"),
        (["batches.camera.field_of_view_deg=[40, 200]"], r"batches\.camera\.field_of_view_deg is .*; give 1 to 170"),
        (["batches.camera.field_of_view_deg=[60]"], r"batches\.camera\.field_of_view_deg is .*; give two bounds"),
        (["batches.detector.layouts=[coco]"], r"batches\.detector\.layouts is \['coco'\]; .*did you mean 'coco_17'"),
        (["batches.detector.layouts=[]"], r"batches\.detector\.layouts is \[\]; give at least one"),
        (["model.frames=30"], r"^model\.frames is 30"),
        (["dataset=h36"], "dataset is 'h36'; give one of mocap, h36m, 3dhp"),
        (["keypoints=gt"], "keypoints is 'gt', which dataset mocap does not have; leave it out"),
        (["train_split=all"], "train_split is 'all', which dataset mocap does not have"),
        (["dataset=h36m", "keypoints=hrnet"], "keypoints is 'hrnet'; known: gt, cpn_ft_h36m_dbb"),
        (["dataset=3dhp", "test_split=val"], "test_split is 'val'; known: train, test"),
        (["dataset=3dhp", "keypoints=gt"], "keypoints is 'gt', which dataset 3dhp does not have"),
        (["normalization=screen"], "normalization is 'screen'; mocap's virtual cameras give 'rays'"),
    ],
)
def test_settings_without_sense_are_named_with_what_to_give(overrides, message):
    with pytest.raises(ValueError, match=message):
        load_config(FinetuneConfig, None, overrides)


def test_what_is_made_by_a_program_is_checked_as_what_is_read():
    with pytest.raises(ValueError, match=r"mixed is 1\.5; give 0 to 1"):
        BodyConfig(mixed=1.5)
    with pytest.raises(ValueError, match="warmup is -1"):
        dataclasses.replace(FinetuneConfig(), warmup=-1)


def test_a_decoder_whose_heads_do_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"model\.dim is 36; .* a multiple of 8"):
        MaskedPoseModel(ModelConfig(dim=36, heads=4))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"out": "file/model.safetensors"}, "out is .*file/model.safetensors', which cannot be written"),
        ({"out": "."}, "out is .*; give the name of a file"),
        ({"run": "file"}, "run is .*file', which cannot be written"),
        ({"device": "cudaa"}, "device is 'cudaa', which does not work here"),
        ({"device": "meta"}, "device is 'meta', which does not work here"),
    ],
)
def test_what_could_not_be_written_or_computed_on_is_refused_first(settings, message, tmp_path):
    (tmp_path / "file").touch()
    paths = {"run": "run", "out": "model.safetensors"} | {k: v for k, v in settings.items() if k != "device"}
    config = FinetuneConfig(**settings | {k: str(tmp_path / v) for k, v in paths.items()})
    with pytest.raises(ValueError, match=message):
        train(config)
    assert not (tmp_path / "run" / CHECKPOINT).exists()


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        (accuracy, "small --every 0", "--every: it is 0; give 1 or more"),
        (accuracy, "small --every two", "--every: invalid int value: 'two'"),
        (accuracy, "small --out FILE/page.md", "--out is .*which cannot be written"),
        (evaluate, "small --data mocap --views 0", "--views: it is 0; give 1 or more"),
        (evaluate, "small --data mocap --clips -1", "--clips: it is -1; give 1 or more"),
        (evaluate, "small --data mocap --as-detected", "--as-detected is for --data h36m, not mocap"),
        (evaluate, "small --data mocap --out FILE", "--out is .*which cannot be written"),
        (ablate, "components --seeds -1", "--seeds: it is -1; give 0 to"),
        (ablate, "components --out FILE", "--out is .*which cannot be written"),
        (baselines, "--seed -1", "--seed: it is -1; give 0 to"),
        (baselines, "frames_seen=41", "frames_seen is 41"),  # of a later row, before the first one trains
        (bench_train, "--rounds 0", "--rounds: it is 0; give 1 or more"),
        (bench_train, "--seconds nan", "--seconds: it is nan; give 0 or more"),
        (bench_train, "--frames 30", "frames is 30"),
        (bench_train, "--device cudaa", "device is 'cudaa'"),
        (figures, "strips small --moments 0", "--moments: it is 0; give 1 or more"),
        (figures, "attention small --windows -5", "--windows: it is -5; give 1 or more"),
        (figures, "strips small --out FILE", "--out is .*which cannot be written"),
        (import_official, "a.pth FILE/b --frames 27 --stride 3 --depth 3", "out is .*which cannot be written"),
        (multiview, "calib.toml a b --unit 0", "--unit: it is 0.0; give 1e-06 to 1000"),
        (prepare, ". --out FILE/b.npz", "--out is .*which cannot be written"),
    ],
)
def test_arguments_without_sense_are_refused_at_once(command, arguments, message, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    given = arguments.replace("FILE", str(tmp_path / "file")).split()
    monkeypatch.setattr(sys, "argv", [command.__name__, *given])
    with pytest.raises(SystemExit) as refused:
        command.main()
    said = capsys.readouterr().err if refused.value.code == 2 else str(refused.value.code)
    assert re.search(message, said), said
