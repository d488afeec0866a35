"""How numbers lie on disk: float32, float16, or the 16 bits of bfloat16, for which numpy has no type."""

from typing import Literal, get_args

import numpy as np

Precision = Literal["float32", "float16", "bfloat16"]
PRECISIONS = get_args(Precision)
STORED = {"float32": np.dtype("<f4"), "float16": np.dtype("<f2"), "bfloat16": np.dtype("<u2")}
READ = {"float32": np.dtype("<f4"), "float16": np.dtype("<f2"), "bfloat16": np.dtype("<f4")}
EXPONENT = np.uint16(0x7F80)  # all ones in infinity and NaN
NAN = np.uint16(0x7FC0)


def encode(values: np.ndarray, precision: Precision) -> np.ndarray:
    """Values as they are stored, always a copy. uint16 stands for bfloat16's bits already; floats are rounded."""
    if precision == "bfloat16" and values.dtype != np.uint16:
        return _round_to_bfloat16(values.astype(np.float32))
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, which `find_infinite` sees
        return np.array(values, STORED[precision], order="C")


def decode(stored: np.ndarray, precision: Precision) -> np.ndarray:
    """Stored values as floats, exactly: bfloat16 is widened to float32, the others are themselves."""
    if precision == "bfloat16":
        return (stored.astype(np.uint32) << 16).view(np.float32)
    return stored


def find_infinite(stored: np.ndarray, precision: Precision) -> np.ndarray:
    """Where the stored values are not finite, as bool of the same shape."""
    if precision == "bfloat16":
        return (stored & EXPONENT) == EXPONENT
    return ~np.isfinite(stored)


def _round_to_bfloat16(values: np.ndarray) -> np.ndarray:
    """To the nearest, ties to even."""
    bits = values.view(np.uint32)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(values), NAN, rounded)
