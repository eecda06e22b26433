"""Whether results can be written where they are to go: asked before the hours that they take."""

from __future__ import annotations

import tempfile
from pathlib import Path

CHECKPOINT = "checkpoint.pt"  # of a training, in its run folder


def check_folder(name: str, path: str) -> Path:
    """A folder for results, made if need be; ValueError, naming the setting, where nothing can be written to it."""
    if not path:
        raise ValueError(f"{name} is ''; give the name of a folder")
    return _checked(name, Path(path), Path(path))


def begun(run: str) -> bool:
    """Whether a training has left a checkpoint in its folder, to go on from."""
    return (Path(run) / CHECKPOINT).is_file()


def check_run(path: str, resume: bool) -> None:
    """The folder ``run`` of a training; ValueError where its checkpoint would take the place of an earlier one's."""
    check_folder("run", path)
    if begun(path) and not resume:
        raise ValueError(
            f"run is {path!r}, which holds a checkpoint; go on from it with --resume, or give another run="
        )


def check_file(name: str, path: str) -> Path:
    """A file for results, whose folder is made; ValueError, naming the setting, where it cannot be written."""
    if not path or Path(path).is_dir():
        raise ValueError(f"{name} is {path!r}; give the name of a file")
    return _checked(name, Path(path), Path(path).parent)


def _checked(name: str, path: Path, folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return path
    except OSError as e:
        raise ValueError(f"{name} is {str(path)!r}, which cannot be written ({e.strerror}); give another") from None
