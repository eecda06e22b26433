"""Settings that are wrong fail at once and say what would be right; the named ones are the paper's."""

import importlib
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from training.config import load_config, parse_run
from training.finetune import FinetuneConfig
from training.pretrain import PretrainConfig

CONFIGS = Path(__file__).parents[2] / "config" / "training"


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5
    sizes: tuple[int, ...] = (1, 2)
    bounds: tuple[float, float] = (0.0, 1.0)
    limit: float | None = None


@dataclass(frozen=True)
class Outer:
    inner: Inner = field(default_factory=Inner)
    name: str = "a"
    on: bool = True


def test_overrides_reach_into_sections_and_leave_the_rest(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("inner: {rate: 2}\nname: b\n")
    config = load_config(Outer, path, ["inner.sizes=[3]", "on=false", "inner.rate=1e-3"])
    assert config == Outer(Inner(0.001, (3,)), "b", False)
    assert load_config(Outer, path, ["name="]).name == ""


def test_a_file_changes_its_base_section_by_section(tmp_path):
    (tmp_path / "base.yaml").write_text("inner: {rate: 2, sizes: [7]}\nname: base\n")
    (tmp_path / "c.yaml").write_text("base: base.yaml\ninner: {rate: 3}\n")
    assert load_config(Outer, tmp_path / "c.yaml") == Outer(Inner(3.0, (7,)), "base")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("nmae=b", "nmae is unknown.*name"),
        ("inner.raet=1", r"inner\.raet is unknown.*rate"),
        ("inner.rate=fast", r"inner\.rate is 'fast'; give a number"),
        ("on=3", "on is 3; give a bool"),
        ("name=3", "name is 3; give a str"),
        ("inner=3", "inner is 3"),
        ("name", "not key=value"),
        ("inner.sizes=[1, x]", r"inner\.sizes\[1\] is 'x'; give an int"),
        ("inner.sizes=3", r"inner\.sizes is 3; give a list"),
        ("inner.sizes=large", r"inner\.sizes is 'large'; give a list"),
        ("inner.bounds=60", r"inner\.bounds is 60; give a list of 2, as \[a, b\]"),
        ("inner.bounds=[60]", r"inner\.bounds is \[60\]; give a list of 2"),
        ("inner.rate=true", r"inner\.rate is True; give a number"),
        ("name=[x", r"override 'name=\[x' is not YAML"),
        ("name=2024-13-45", "override 'name=2024-13-45' is not YAML"),
    ],
)
def test_mistakes_are_named(override, message):
    with pytest.raises(ValueError, match=message):
        load_config(Outer, None, [override])


def test_a_missing_or_broken_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\.yaml"):
        load_config(Outer, tmp_path / "nowhere.yaml")
    (tmp_path / "list.yaml").write_text("- a\n")
    with pytest.raises(ValueError, match=r"list\.yaml.*one per line"):
        load_config(Outer, tmp_path / "list.yaml")
    (tmp_path / "broken.yaml").write_text("name: [x\n")
    with pytest.raises(ValueError, match=r"broken\.yaml' is not YAML"):
        load_config(Outer, tmp_path / "broken.yaml")
    (tmp_path / "a.yaml").write_text("base: b.yaml")
    (tmp_path / "b.yaml").write_text("base: a.yaml")
    with pytest.raises(ValueError, match=r"a\.yaml' is its own base"):
        load_config(Outer, tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("inner: {rate: }", r"inner\.rate is empty; give a number"),
        ("name:", "name is empty; give a str"),
        ("inner:", "inner is empty; give settings"),
        ("inner: {sizes: }", r"inner\.sizes is empty; give a list"),
        ("pretrain: 3", "pretrain is 3; give settings"),
        ("base: 3", "base is 3; give the name of a file"),
    ],
)
def test_settings_that_are_empty_or_of_another_kind_are_named(text, message, tmp_path):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_config(Outer, tmp_path / "c.yaml")


def test_numbers_in_lists_and_settings_that_may_be_empty_are_read(tmp_path):
    (tmp_path / "c.yaml").write_text("inner: {bounds: [1e-3, 2], limit: }\n")
    assert load_config(Outer, tmp_path / "c.yaml").inner == Inner(bounds=(0.001, 2.0), limit=None)
    assert load_config(Outer, None, ["inner.limit=3"]).inner.limit == 3


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["optimizer=sgd"], "adamw, adam, muon"),
        (["batch=0"], "batch is 0"),
        (["normalization=ray"], "rays"),
        (["normalization=screen", "model.refine=true"], r"model\.refine needs normalization: rays"),
        (["normalization=screen", "model.centred=true"], r"model\.centred needs normalization: rays"),
        (["model.frames=30"], "27, 81, 243"),
        (["model.sem=mpl"], "mlp"),
        (["model.sem=transformer"], "dim is 256"),
        (["model.dial=true", "model.mofa=false"], r"model\.dial and batches\.held are true.*set batches\.held=false"),
        (["dataset=h36m", "model.rate_hz=25"], "model.rate_hz is 25, and dataset h36m has 50 frames.*leave it out"),
        (["epochs=80", "steps=100"], "steps is 100 and epochs is 80, which counts; give epochs=0 or no steps"),
        (["optimizer=adam", "weight_decay=0.1"], "weight_decay is 0.1, and optimizer adam takes none"),
        (["batches.detector.layouts=coco_17"], r"batches\.detector\.layouts is 'coco_17'; give a list"),
        (["batches.camera.field_of_view_deg=60"], r"batches\.camera\.field_of_view_deg is 60; give a list"),
    ],
)
def test_settings_that_cannot_be_trained_are_refused(overrides, message):
    with pytest.raises(ValueError, match=message):
        load_config(FinetuneConfig, None, overrides)


def test_a_recipe_of_epochs_may_be_cut_to_steps():
    config = load_config(FinetuneConfig, CONFIGS / "pstmo_s_27.yaml", ["epochs=0", "steps=100"])
    assert (config.epochs, config.steps) == (0, 100)


@pytest.mark.parametrize(
    ("name", "depth", "rate", "temporal", "spatial"),
    [("pstmo_s", 3, 7e-4, 0.8, 2), ("pstmo", 4, 1e-3, 0.6, 3)],
)
@pytest.mark.parametrize("frames", [27, 81, 243])
def test_named_configurations_are_the_papers(name, depth, rate, temporal, spatial, frames):
    path = CONFIGS / f"{name}_{frames}.yaml"
    one, two = load_config(PretrainConfig, path), load_config(FinetuneConfig, path)
    for c in (one, two):
        assert (c.dataset, c.keypoints, c.normalization) == ("h36m", "cpn_ft_h36m_dbb", "screen")
        assert (c.model.frames, c.model.depth, c.model.dim, c.model.heads) == (frames, depth, 256, 8)
        assert (c.batch, c.epochs, c.optimizer, c.schedule, c.decay) == (160, 80, "adam", "exponential", 0.97)
    assert (one.learning_rate, one.masking.temporal, one.masking.spatial) == (1e-4, temporal, spatial)
    assert (two.learning_rate, two.lambda_frames, two.flip_test) == (rate, 1, True)
    assert two.init == one.out  # Stage II starts from what Stage I wrote
    assert two.model == one.model


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda p: p.stem)
def test_every_configuration_loads(path):
    config, stage_one = load_config(FinetuneConfig, path), load_config(PretrainConfig, path)
    stage_two_alone = ("small", "realtime", "accurate", "baselines", "pstmo_243_refine")
    if not path.stem.startswith((*stage_two_alone, "paper", "ablation")):
        assert path.stem in config.out
        assert stage_one.run != config.run


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
@pytest.mark.parametrize("settings", [[], ["data=mine.npz"], ["--resume"]])
def test_nothing_is_trained_without_a_configuration(stage, settings, monkeypatch):
    module = importlib.import_module(f"training.{stage}")
    monkeypatch.setattr(module, "train", lambda *_: pytest.fail("a training of the defaults began"))
    monkeypatch.setattr(sys, "argv", [stage, *settings])
    with pytest.raises(SystemExit, match=f"^{stage}: no configuration file is named; give one first, such as config/"):
        module.main()


def test_resume_may_stand_before_settings(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["finetune", str(CONFIGS / "small.yaml"), "batch=64", "--resume", "steps=3"])
    config, resume = parse_run(FinetuneConfig, None)
    assert (config.batch, config.steps, resume) == (64, 3, True)
