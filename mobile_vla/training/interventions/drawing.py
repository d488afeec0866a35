"""Random choices that depend on a seed and on names alone: not on how many others choose, nor in which order."""

import hashlib
import json

import numpy as np


def draw_for(seed: int, *names: str) -> np.random.Generator:
    """A stream of its own for each seed and names."""
    digest = hashlib.sha256(json.dumps([seed, *names]).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16]))
