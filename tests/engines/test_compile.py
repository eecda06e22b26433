"""Compiling ahead of the first start."""

import dataclasses
import logging
import shutil
import sys
from types import ModuleType

import pytest

from pstmo_ros.core.bundle import load
from pstmo_ros.core.model import STMO
from pstmo_ros.engines import Options, load_engine, model_path
from pstmo_ros.engines import compile as compiling
from pstmo_ros.engines.compile import main as compile_main


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_compile_fills_the_cache_and_writes_the_file(least, engine, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    out = tmp_path / "out" / "compiled.xml"
    compile_main([str(least.path), "--engine", engine, "-o", str(out)])
    assert str(tmp_path / "cache") in capsys.readouterr().out
    assert out.stat().st_size
    assert out.with_suffix(".bin").exists() == (engine == "openvino")


def test_compile_says_what_is_missing(least, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit, match="torch sees no NVIDIA GPU"):
        compile_main([str(least.path), "--engine", "tensorrt"])


def test_compile_compiles_what_it_is_asked_for(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr("pstmo_ros.engines.compile.compile_engine", lambda *given: asked.append(given) or "")
    compile_main(["small", "--engine", "openvino", "--precision", "fp32", "--people", "7", "--look-ahead", "0.2"])
    assert asked == [("small", "openvino", Options(precision="fp32", people=7), None, 0.2)]


def test_compile_says_what_to_install(least, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(SystemExit, match="compile: openvino is not installed: pip install openvino"):
        compile_main([str(least.path), "--engine", "openvino"])


def test_compile_gives_way_to_fp32_and_says_when_nothing_passes(least, monkeypatch, capsys, caplog):
    monkeypatch.setattr("pstmo_ros.engines.openvino.has_bf16", lambda: True)
    made = compiling.COMPILED["openvino"]

    def exact_in_fp32_only(bundle, options):
        if options.precision == "bf16":
            bundle = dataclasses.replace(bundle, model=STMO(bundle.config).eval())
        return made(bundle, dataclasses.replace(options, precision="fp32"))

    monkeypatch.setitem(compiling.COMPILED, "openvino", exact_in_fp32_only)
    compile_main([str(least.path), "--engine", "openvino"])
    assert "openvino (cpu, fp32)" in capsys.readouterr().out
    assert "openvino cannot compile this model in bf16: ValueError: self-test failed" in caplog.text
    with pytest.raises(SystemExit, match=r"cannot compile .* bf16: ValueError: self-test failed"):
        compile_main([str(least.path), "--engine", "openvino", "--precision", "bf16"])


def test_compile_fills_the_cache_for_another_look_ahead(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compile_main(["small", "--engine", "openvino", "--precision", "fp32", "--people", "1", "--look-ahead", "0.12"])
    caplog.clear()
    with caplog.at_level(logging.INFO):
        load_engine(load(model_path("small")).at(0.12), "openvino", Options(precision="fp32", people=1))
    assert "compiling" not in caplog.text


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "is a folder"),
        ("model.bin", r"weights go there; give .*model\.xml"),
        ("mine.safetensors", "is the model file"),
    ],
)
def test_compile_says_at_once_what_it_will_not_write_over(least, name, why, tmp_path, monkeypatch, caplog):
    model = shutil.copyfile(least.path, tmp_path / "mine.safetensors")
    monkeypatch.chdir(tmp_path)  # the model's name is relative, the output's is not
    with caplog.at_level(logging.INFO), pytest.raises(SystemExit, match=why):
        compile_main([model.name, "--engine", "openvino", "-o", str(tmp_path / name)])
    assert "compiling" not in caplog.text
    assert model.read_bytes() == least.path.read_bytes()


def test_an_output_that_cannot_be_written_is_no_fault_of_a_precision(least):
    with pytest.raises(SystemExit, match=r"^compile: .*No space left on device$"):
        compile_main([str(least.path), "--engine", "torch", "-o", "/dev/full"])


def test_compile_fails_where_nothing_can_be_kept(least, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(SystemExit, match=r"cannot be kept in .*XDG_CACHE_HOME"):
        compile_main([str(least.path), "--engine", "openvino", "--precision", "fp32"])
    compile_main([str(least.path), "--engine", "torch", "-o", str(tmp_path / "model.pt2")])
    said = capsys.readouterr().out
    assert "written to" in said
    assert "cached" not in said


def test_compile_says_in_words_that_openvino_is_broken(least, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", ModuleType("openvino"))
    with pytest.raises(SystemExit, match=r"or is damaged \(AttributeError: .*__version__.*\): pip install openvino"):
        compile_main([str(least.path), "--engine", "openvino"])


def test_a_program_is_made_for_the_device_that_it_runs_on(least, tmp_path, monkeypatch):
    """One exported on the CPU asserts that its tensors are there."""
    made, keys = [], set()
    monkeypatch.setattr("pstmo_ros.engines.eager.exported", lambda bundle, *how: made.append(how))
    monkeypatch.setattr("torch.export.save", lambda *_: None)
    for device in ("cpu", "cuda"):
        monkeypatch.setattr("pstmo_ros.engines.eager._device", lambda device=device: device)
        recipe = compiling.COMPILED["torch"](least, Options())
        recipe.write(tmp_path)
        keys.add(recipe.key)
    assert made == [("fp32", "cpu"), ("fp32", "cuda")]
    assert len(keys) == 2
