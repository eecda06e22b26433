"""Where a model's weights come from, for its file to say."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

from training.config import RunConfig
from training.sources import DATASETS


def provenance(config: RunConfig, stage: str) -> dict[str, Any]:
    """What goes into a model file about where its weights come from."""
    return {
        "data": Path(config.data).name if config.dataset == "mocap" else config.dataset,
        "licence": DATASETS[config.dataset],
        "command": f"python -m training.{stage} " + " ".join(sys.argv[1:]),
        "commit": _commit(),
        "config": dataclasses.asdict(config),
    }


def _commit() -> str:
    """The repository's commit; empty outside of one, or where there is no git to ask."""
    try:
        asked = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return asked.stdout.strip()
