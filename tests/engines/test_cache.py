"""Compiled models on disk: made once, checked each time, never trusted."""

import copy
import dataclasses
import errno
import logging
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pstmo_ros import engines
from pstmo_ros.core.bundle import save_bundle
from pstmo_ros.core.camera import Camera
from pstmo_ros.core.model import STMO
from pstmo_ros.core.model_config import ModelConfig
from pstmo_ros.core.pipeline import PoseLifter
from pstmo_ros.engines import Options, cache, load_engine
from pstmo_ros.engines.openvino import openvino
from tests.conftest import record, walker

FP32 = Options(precision="fp32")


@pytest.mark.parametrize("damage", ["foreign", "corrupt", "incomplete"])
def test_a_bad_cache_entry_is_rebuilt_not_trusted(least, damage, caplog, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    load_engine(least, "openvino", FP32)
    (weights,) = tmp_path.rglob("model.bin")
    listed = weights.parent / "files.json"
    data = weights.read_bytes()
    if damage == "foreign":
        listed.write_text(listed.read_text().replace("openvino", "another"))
    elif damage == "corrupt":
        weights.write_bytes(data[::-1])
    else:
        listed.unlink()
    with caplog.at_level(logging.WARNING):
        engine = load_engine(least, "openvino", FP32)
    assert "compiling again" in caplog.text
    np.testing.assert_allclose(engine(least.golden_x), least.golden_y, atol=1e-4)
    assert weights.read_bytes() == data


def test_a_whole_cache_entry_that_computes_something_else_is_rebuilt(least, caplog, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    other = copy.deepcopy(least.model)
    other.head.fc.bias.data += 0.01
    recipe = engines.ENGINES["openvino"](dataclasses.replace(least, model=other), Options())
    cache.build(recipe, prove=str)
    with caplog.at_level(logging.WARNING):
        engine = load_engine(least, "openvino", FP32)
    assert "poses are 17.3 mm off" in caplog.text
    np.testing.assert_allclose(engine(least.golden_x), least.golden_y, atol=1e-4)


def test_the_second_start_compiles_nothing(least, caplog, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with caplog.at_level(logging.INFO):
        load_engine(least, "openvino")
        assert "compiling the model with OpenVINO" in caplog.text
        caplog.clear()
        load_engine(least, "openvino", Options(threads=1))
    assert "compiling" not in caplog.text
    assert "reproduces the golden poses" in caplog.text


def test_threads_that_load_a_model_at_once_compile_it_once(least, caplog, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with caplog.at_level(logging.INFO), ThreadPoolExecutor(3) as callers:
        loaded = list(callers.map(lambda engine: load_engine(least, engine, FP32).name, ["auto"] * 3))
    assert loaded == ["openvino (cpu, fp32)"] * 3
    assert caplog.text.count("compiling the model") == 1


def test_an_unwritable_cache_is_no_obstacle(least, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert load_engine(least, "openvino").name.startswith("openvino")
    assert "not cached" in caplog.text


def test_a_user_without_a_home_has_no_cache_but_an_engine(least, tmp_path, monkeypatch, caplog):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("os.getuid", lambda: 2**31 - 5)  # nobody's: the password database does not know it
    assert load_engine(least, "openvino").name.startswith("openvino")
    assert "not cached" in caplog.text


@pytest.mark.parametrize("given", ["", "cache", "~/.cache"])
def test_a_relative_cache_folder_is_none(given, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", given)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.root() == tmp_path / ".cache" / "pstmo_ros"


@pytest.mark.parametrize("taken_by", ["file", "link"])
def test_what_takes_an_entrys_place_makes_room(least, taken_by, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    place = cache.entry(engines.ENGINES["openvino"](least, FP32))
    place.parent.mkdir()
    place.write_text("") if taken_by == "file" else place.symlink_to("nowhere")
    load_engine(least, "openvino", FP32)
    assert "not cached" not in caplog.text
    assert (place / "model.bin").is_file()


def test_who_opens_an_entry_that_is_replaced_meets_one_or_the_other(least, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    recipe, rmtree, found = engines.ENGINES["openvino"](least, FP32), shutil.rmtree, []
    cache.build(recipe, prove=str)

    def removing(folder, **how):
        rmtree(folder, **how)
        found.append(cache.holds(recipe))

    monkeypatch.setattr(shutil, "rmtree", removing)
    cache.build(recipe, prove=str)
    assert found
    assert all(found)


def test_an_entry_that_another_process_puts_there_at_the_same_time_is_as_good(least, tmp_path, monkeypatch, caplog):
    put = cache._put

    def late(made, folder):
        put(made, folder)
        raise OSError(errno.ENOTEMPTY, "Directory not empty")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(cache, "_put", late)
    load_engine(least, "openvino", FP32)
    assert "not cached" not in caplog.text


def _share(scratch, write=None, fail=None):
    """What one compilation finds of what they share; it writes, and may fail after that."""
    scratch.mkdir()
    with cache.shared("timing.bin", scratch) as own:
        found = own.read_text() if own.exists() else None
        if write:
            own.write_text(write)
        if fail:
            raise fail
    return found


def test_what_compilations_share_is_kept_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert _share(tmp_path / "1", write="first") is None
    assert _share(tmp_path / "2", write="second") == "first"
    with pytest.raises(KeyboardInterrupt):
        _share(tmp_path / "3", write="half of", fail=KeyboardInterrupt())
    assert _share(tmp_path / "4") == "second"  # who is stopped while writing spoils it for nobody
    with pytest.raises(RuntimeError):
        _share(tmp_path / "5", fail=RuntimeError("cannot read the timings"))
    assert _share(tmp_path / "6") is None  # it may have been the reason


def test_where_nothing_can_be_kept_nothing_is_shared(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert _share(tmp_path / "1", write="first") is None
    assert _share(tmp_path / "2") is None


def test_a_compiled_model_serves_its_own_look_ahead_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    config = ModelConfig(frames=9, stride=1, dim=32, heads=4, depth=1, mofa=False, dial=True, uncertainty=True)
    windows = np.random.default_rng(0).standard_normal((2, 9, 17, 2)).astype(np.float32)
    bundle = save_bundle(tmp_path / "dial.safetensors", STMO(config), "rays", {"data": "none"}, windows)
    for look_ahead_s in (0.0, bundle.config.longest_look_ahead_s):
        asked = bundle.at(look_ahead_s)
        found = load_engine(asked, "openvino", FP32).infer(windows)
        np.testing.assert_allclose(found, asked.golden_y, atol=1e-4)
        assert found.shape == (2, 17, 4)
    assert len(list(tmp_path.rglob("files.json"))) == 2
    recording = record([walker(0.1)], Camera.from_field_of_view((1280, 720), 65.0))
    lifter = PoseLifter(bundle, load_engine(bundle, "openvino"))
    assert lifter.step(next(recording.frames()))[0].std_m is not None


def test_what_changes_a_compiled_model_gives_it_another_place(least, tmp_path, monkeypatch):
    recipe = engines.ENGINES["openvino"](least, FP32)
    places = {cache.entry(recipe)}
    places.add(cache.entry(recipe._replace(bundle=dataclasses.replace(least, sha256="another"))))
    places.add(cache.entry(recipe._replace(key=("openvino", "another version"))))
    for changed in ("core/model.py", "engines/deployed.py"):
        package = tmp_path / changed
        for part in ("core", "engines"):
            shutil.copytree(Path(cache.__file__).parents[1] / part, package / part)
        (package / changed).write_text((package / changed).read_text() + "\n# changed\n")
        monkeypatch.setattr(cache, "_PACKAGE", package)
        cache._code.cache_clear()
        places.add(cache.entry(recipe))
    cache._code.cache_clear()
    assert len(places) == 5
    assert openvino().__version__ in recipe.key


def test_a_full_disk_leaves_nothing_behind(least, tmp_path, monkeypatch, caplog):
    def full(made, part):
        part.mkdir()
        shutil.copyfile(made / "model.xml", part / "model.xml")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(shutil, "copytree", full)
    assert load_engine(least, "openvino", FP32).name.startswith("openvino")
    assert "No space left on device" in caplog.text
    assert not list((tmp_path / "pstmo_ros").iterdir())


@pytest.mark.parametrize("killed_while", ["write", "_put"])
def test_what_a_killed_compilation_leaves_is_removed_by_one_of_another_day(least, killed_while, tmp_path, monkeypatch):
    folders = {name: tmp_path / name for name in ("temporary", "cache")}
    for variable, folder in zip(("TMPDIR", "XDG_CACHE_HOME"), folders.values(), strict=True):
        folder.mkdir()
        monkeypatch.setenv(variable, str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)  # it is asked for once, and then kept
    code = f"""
import os, shutil
from pstmo_ros.core.bundle import load
from pstmo_ros.engines import ENGINES, Options, cache
recipe = ENGINES["openvino"](load({str(least.path)!r}), Options(precision="fp32"))
def die(*_):
    os.kill(os.getpid(), 9)
if {killed_while!r} == "write":
    recipe = recipe._replace(write=die)
shutil.copytree = die
cache.build(recipe, prove=str)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    left = [*folders["temporary"].glob("pstmo_ros_*"), *folders["cache"].glob("pstmo_ros/*")]
    assert len(left) == (1 if killed_while == "write" else 2)
    mine = folders["temporary"] / "pstmo_ros_recordings"
    mine.mkdir()
    load_engine(least, "openvino", FP32)
    assert all(folder.exists() for folder in left)  # whose these are may be at work still
    for folder in (*left, mine):
        os.utime(folder, (0, 0))
    cache.build(engines.ENGINES["openvino"](least, FP32), prove=str)
    assert not any(folder.exists() for folder in left)
    assert mine.exists()


def test_what_does_not_prove_itself_is_not_stored(least, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    recipe = engines.ENGINES["openvino"](least, FP32)

    def prove(engine):
        raise ValueError("self-test failed")

    with pytest.raises(ValueError, match="self-test failed"):
        cache.build(recipe, prove)
    assert not cache.entry(recipe).exists()


def test_a_cache_that_may_not_be_looked_into_is_no_obstacle(least, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    stat = os.stat

    def refused(path, *args, **options):  # as for a user whose HOME is somebody else's; root may look anywhere
        if str(path).startswith(str(tmp_path)):
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, *args, **options)

    monkeypatch.setattr(os, "stat", refused)
    assert load_engine(least, "openvino", FP32).name.startswith("openvino")
