import errno
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from pstmo_ros.core import bundle as bundles
from pstmo_ros.core.bundle import BundleError, save_bundle
from pstmo_ros.core.model import STMO


def _rewritten(path, out, change):
    """A model file with its metadata changed by ``change``."""
    with safe_open(path, "pt") as file:
        tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
        metadata = json.loads(file.metadata()["pstmo"])
    change(metadata, tensors)
    save_file(tensors, out, {"pstmo": json.dumps(metadata)})
    return out


def test_everything_the_weights_depend_on_comes_back(bundle):
    loaded = bundles.load(bundle.path)
    assert loaded.config == bundle.config
    assert loaded.normalization == "rays"
    assert loaded.metadata["window"] == {"frames": 27, "stride": 3, "rate_hz": 50.0, "target": 13}
    assert loaded.sha256 == bundles.sha256(bundle.path)
    for (name, ours), theirs in zip(loaded.model.state_dict().items(), bundle.model.state_dict().values(), strict=True):
        assert (ours == theirs).all(), name


def test_loaded_weights_reproduce_the_golden_poses(bundle):
    with torch.inference_mode():
        poses = bundle.model(torch.from_numpy(bundle.golden_x)).numpy()
    np.testing.assert_allclose(poses, bundle.golden_y, atol=1e-5)


def test_no_such_file(tmp_path):
    with pytest.raises(BundleError, match=r"nowhere\.safetensors.*does not exist"):
        bundles.load(tmp_path / "nowhere.safetensors")


@pytest.mark.parametrize("keep", [0, 100, 20_000])
def test_truncated_file(bundle, tmp_path, keep):
    path = tmp_path / "cut.safetensors"
    path.write_bytes(bundle.path.read_bytes()[:keep])
    with pytest.raises(BundleError, match=r"cut\.safetensors.*truncated"):
        bundles.load(path)


def test_an_authors_checkpoint(tmp_path):
    torch.save({"module.weight": torch.zeros(1)}, tmp_path / "no_refine_28_5_1_4280.pth")
    with pytest.raises(BundleError, match=r"4280\.pth.* a checkpoint of torch's: .* with training\.import_official"):
        bundles.load(tmp_path / "no_refine_28_5_1_4280.pth")


def test_someone_elses_safetensors_file(tmp_path):
    save_file({"w": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(BundleError, match="some other safetensors file"):
        bundles.load(tmp_path / "other.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m, t: m.update(format_version=99), "format version 99"),
        (lambda m, t: m["model"].update(colour="red"), "colour"),
        (lambda m, t: m["model"].update(frames=28), "28"),
        (lambda m, t: m.update(joints=m["joints"][::-1]), "joints"),
        (lambda m, t: m.update(normalization="inches"), "inches"),
        (lambda m, t: m.pop("model"), "lacks.*model"),
        (lambda m, t: m["model"].update(depth=2), "tensors"),
        (lambda m, t: t.pop("golden.y"), "tensors"),
        (lambda m, t: t.update({f"golden.{k}": t[f"golden.{k}"][:0].clone() for k in "xy"}), r"\(0, 27, 17, 2\)"),
        (lambda m, t: t.update({"golden.x": t["golden.x"][:, :9].clone()}), r"\(4, 9, 17, 2\), not \(4, 27, 17, 2\)"),
        (lambda m, t: t.update({"golden.y": t["golden.y"][:1].clone()}), r"\(1, 17, 3\), not \(4, 17, 3\)"),
        (lambda m, t: m["model"].update(heads=0), r"bad\.safetensors"),
        (lambda m, t: m["model"].update(depth="3"), r"bad\.safetensors"),
        (lambda m, t: m["model"].update(dropout="x"), r"bad\.safetensors"),
        (lambda m, t: m["model"].update(frames=27.0), r"bad\.safetensors"),
        (lambda m, t: m["model"].update(rate_hz="50"), r"bad\.safetensors"),
    ],
)
def test_each_fault_is_named(bundle, tmp_path, change, message):
    path = _rewritten(bundle.path, tmp_path / "bad.safetensors", change)
    with pytest.raises(BundleError, match=message):
        bundles.load(path)


def test_a_model_file_in_bf16_is_answered_for(bundle, tmp_path):
    def rounded(metadata, tensors):
        tensors.update({k: t.bfloat16() for k, t in tensors.items() if t.is_floating_point()})

    path = _rewritten(bundle.path, tmp_path / "b.safetensors", rounded)
    assert bundles.load(path).golden_x.dtype == np.float32


def test_a_write_that_fails_leaves_the_model_file_that_was_there(bundle, tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    save_bundle(path, bundle.model, "rays", {"data": "none"}, bundle.golden_x)
    before = path.read_bytes()

    def half(self, data):
        with self.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match="No space left"):
        save_bundle(path, STMO(bundle.config), "rays", {"data": "none"}, bundle.golden_x)
    assert path.read_bytes() == before


def test_an_unknown_normalization_is_not_written(bundle, tmp_path):
    with pytest.raises(ValueError, match="normalization is 'inches'"):
        save_bundle(tmp_path / "model.safetensors", bundle.model, "inches", {"data": "none"}, bundle.golden_x)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("metadata", "message"), [("{", "is not JSON"), ("[]", "lacks all keys"), (json.dumps({"model": 1}), "lacks")]
)
def test_metadata_that_are_none(tmp_path, metadata, message):
    save_file({"w": torch.zeros(3)}, tmp_path / "other.safetensors", {"pstmo": metadata})
    with pytest.raises(BundleError, match=message):
        bundles.load(tmp_path / "other.safetensors")


def test_a_loaded_model_is_ready_to_use(bundle):
    model = bundles.load(bundle.path).model
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
