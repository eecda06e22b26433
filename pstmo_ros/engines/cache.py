"""Compiled models on disk: caches, never the product. One folder for each model and way of compiling it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pstmo_ros.engines.engine import Engine, Recipe

log = logging.getLogger(__name__)

_LIST = "files.json"
_SCRATCH = "pstmo_ros_compiling_"
_LEFT_S = 24 * 3600.0  # longer than any compilation
_PACKAGE = Path(__file__).parents[1]
_compiling = threading.Lock()  # torch.export fails in two threads at once; and the second finds what the first made


def compiled(recipe: Recipe, prove: Callable[[Engine], object]) -> Engine:
    """The engine of a cache entry that is whole and proves itself, else one that is made anew and stored.

    prove: raises when an engine cannot be trusted.
    """
    folder = entry(recipe)
    with _compiling:
        if os.path.isdir(folder):  # Path.is_dir raises where the cache may not be looked into
            try:
                _check(folder, recipe.key)
                engine = recipe.open(folder)
                prove(engine)
                return engine
            except Exception as e:  # whatever is wrong with a cache, compiling anew is right
                log.warning("cached model %s is not usable (%s); compiling again", folder, e)
        return build(recipe, prove)


def build(recipe: Recipe, prove: Callable[[Engine], object], also: Callable[[Path], object] | None = None) -> Engine:
    """Make a compiled engine anew, prove it and store it. also: gets the folder of its files as well.

    A cache that cannot be written (read-only home, full disk) is no error: the next start compiles again.
    """
    folder, started = entry(recipe), time.monotonic()
    log.info("compiling the model with %s (once; later starts use %s) ...", recipe.title, folder)
    with _scratch(Path(tempfile.gettempdir())) as scratch:
        part = scratch / "engine"
        part.mkdir()
        recipe.write(part)
        log.info("compiled in %.1f s", time.monotonic() - started)
        engine = recipe.open(part)
        prove(engine)
        (part / _LIST).write_text(json.dumps({"key": recipe.key, "sha256": _digests(part)}, indent=1))
        try:
            _put(part, folder)
        except OSError as e:
            if not holds(recipe):  # another process may just have put the same there
                log.warning("compiled model not cached in %s (%s); the next start compiles again", folder, e)
        if also is not None:
            also(part)
    return engine


def root() -> Path:
    """The folder of all entries, in the user's cache folder; one that cannot be, for a user without a home.

    A relative XDG_CACHE_HOME is none, as its specification says: each folder that a node starts in would get a cache.
    """
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        return (given if given.is_absolute() else Path.home() / ".cache") / "pstmo_ros"
    except RuntimeError:  # a user without a name, as in containers
        return Path(os.devnull)


def holds(recipe: Recipe) -> bool:
    """Whether there is a whole entry."""
    try:
        _check(entry(recipe), recipe.key)
    except Exception:  # whatever is wrong with it
        return False
    return True


@contextlib.contextmanager
def shared(name: str, scratch: Path) -> Iterator[Path]:
    """A file that compilations share, as a copy of their own in a scratch folder; what they leave there is kept.

    So one that is killed, or finds the disk full, spoils it for nobody, and one that fails may have failed by it: the
    next one starts without.
    """
    own, kept = scratch / name, root() / name
    with contextlib.suppress(OSError):
        shutil.copyfile(kept, own)
    try:
        yield own
    except Exception:
        with contextlib.suppress(OSError):
            kept.unlink()
        raise
    with contextlib.suppress(OSError):
        _put(own, kept)


def _made_root() -> Path:
    root().mkdir(parents=True, exist_ok=True, mode=0o700)
    return root()


def entry(recipe: Recipe) -> Path:
    """Folder of a compiled model: named by model file, its configuration, our code and the key."""
    key = hashlib.sha256(
        "|".join((recipe.bundle.sha256, repr(recipe.bundle.config), _code(), *recipe.key)).encode()
    ).hexdigest()[:32]
    return root() / key


def _put(made: Path, folder: Path) -> None:
    """Copy an entry or a file to its place in one step, so that nobody meets half of one; what is there goes whole."""
    with _scratch(_made_root()) as aside:
        (shutil.copytree if made.is_dir() else shutil.copyfile)(made, aside / "new")
        with contextlib.suppress(FileNotFoundError):
            folder.rename(aside / "old")
        (aside / "new").rename(folder)


@contextlib.contextmanager
def _scratch(parent: Path) -> Iterator[Path]:
    """A folder of one's own in another one. Who is killed leaves theirs behind: a later compilation removes it."""
    with contextlib.suppress(OSError):  # another one may be at it, too
        for left in parent.glob(f"{_SCRATCH}*"):
            if time.time() - left.lstat().st_mtime > _LEFT_S:
                shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=parent, ignore_cleanup_errors=True) as made:
        yield Path(made)


def _check(folder: Path, key: tuple[str, ...]) -> None:
    """Compare with what was stored, before a library is given files that it may crash on."""
    listed = json.loads((folder / _LIST).read_text())
    if listed["key"] != list(key):
        raise ValueError(f"it was made for {listed['key']}, not {list(key)}")
    if (found := _digests(folder)) != listed["sha256"]:
        changed = sorted(n for n in {*found, *listed["sha256"]} if found.get(n) != listed["sha256"].get(n))
        raise ValueError(f"changed since it was stored: {', '.join(changed)}")


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != _LIST)
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@functools.cache
def _code() -> str:
    """Digest of the code that makes the graph: a new version of this package compiles anew."""
    sources = sorted(p for part in ("core", "engines") for p in (_PACKAGE / part).glob("*.py"))
    return hashlib.sha256(b"".join(p.read_bytes() for p in sources)).hexdigest()
