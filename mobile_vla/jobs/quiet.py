"""Keeps libraries from talking over the table: their notes are for their own developers, errors still come through."""

import logging
import os
import warnings


def quiet_libraries() -> None:
    """Before they are imported. A user who wants to hear them sets MOBILE_VLA_VERBOSE=1."""
    if os.environ.get("MOBILE_VLA_VERBOSE"):
        return
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    warnings.filterwarnings("ignore", module=r"(lightning|torch|transformers|peft)\b.*")


def quiet_loggers() -> None:
    """After they are imported, since they set their own levels then."""
    if not os.environ.get("MOBILE_VLA_VERBOSE"):
        for name in ("lightning.pytorch", "lightning.fabric", "lightning_fabric", "httpx", "httpx2", "huggingface_hub"):
            logging.getLogger(name).setLevel(logging.ERROR)
