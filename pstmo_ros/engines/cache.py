"""Compiled models on disk: caches, never the product. One folder per model, device and library version."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)


def entry(model_sha256: str, *made_by: str) -> Path:
    """Folder of a compiled model: it depends on the model file and on everything in ``made_by`` (engine, versions)."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    key = hashlib.sha256("|".join((model_sha256, *made_by)).encode()).hexdigest()[:32]
    return root / "pstmo_ros" / key


def store(folder: Path, write: Callable[[Path], object]) -> None:
    """Fill an entry in one step: ``write`` gets a temporary folder, which then takes the entry's place.

    A cache that cannot be written (read-only home, full disk) is no error: the next start compiles again.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=folder.parent))
        try:
            write(part)
            shutil.rmtree(folder, ignore_errors=True)
            part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as e:
        log.warning("compiled model not cached in %s (%s); the next start compiles again", folder, e)
