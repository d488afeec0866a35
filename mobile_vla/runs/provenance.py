"""What a run ran on: machine, versions of what it computes with, and the state of the code."""

import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

import mobile_vla

PACKAGES = ("torch", "lightning", "transformers", "peft", "h5py", "hydra-core", "numpy", "scipy", "tensorboard")


def provenance() -> dict[str, Any]:
    """Plain values, for `machine.json`. The thread count is part of it: CPU results depend on it."""
    cuda = torch.cuda.is_available()
    return {
        "mobile_vla": mobile_vla.__version__,
        "python": sys.version.split()[0],
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "host": platform.node(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if cuda else [],
        "cuda": torch.version.cuda if cuda else None,
        "git": git_state(),
    }


def git_state() -> dict[str, Any] | None:
    """Commit of the package's checkout and whether it was changed; None when it is not a checkout."""
    here = Path(mobile_vla.__file__).parent

    def ask(*words: str) -> str:
        return subprocess.run(["git", "-C", here, *words], capture_output=True, text=True, check=True).stdout.strip()

    try:
        return {"commit": ask("rev-parse", "HEAD"), "changed": bool(ask("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return None
