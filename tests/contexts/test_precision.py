"""Stored forms hold what torch's types hold."""

import numpy as np
import pytest
import torch

from mobile_vla.contexts.precision import PRECISIONS, decode, encode, find_infinite


@pytest.fixture
def values() -> np.ndarray:
    """Floats of every size, ties between two bfloat16 values, and the ends of the range."""
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 20_000, dtype=np.uint64).astype(np.uint32)
    ties = (rng.integers(0, 2**15, 2_000).astype(np.uint32) << 16) | np.uint32(0x8000)
    ends = np.array([0.0, -0.0, 3.4e38, -3.4e38, 65504.0, 65520.0, np.inf, -np.inf, np.nan], np.float32)
    return np.concatenate([bits.view(np.float32), ties.view(np.float32), ends])


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("precision", PRECISIONS)
def test_rounding_is_torchs(values, precision):
    expected = torch.from_numpy(values).to(getattr(torch, precision))
    stored = encode(values, precision)
    assert np.array_equal(decode(stored, precision), expected.float().numpy(), equal_nan=True)
    assert np.array_equal(find_infinite(stored, precision), ~expected.isfinite().numpy())


def test_bits_of_bfloat16_are_kept():
    tensor = torch.randn(50, 3).to(torch.bfloat16)
    stored = encode(tensor.view(torch.uint16).numpy(), "bfloat16")
    assert np.array_equal(decode(stored, "bfloat16"), tensor.float().numpy())


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_is_stored_is_a_copy(precision):
    given = np.ones((2, 3), np.uint16 if precision == "bfloat16" else np.float32)
    stored = encode(given, precision)
    given[:] = 7
    assert (stored == 1).all()
