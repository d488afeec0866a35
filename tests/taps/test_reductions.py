"""Reductions see the tokens that are there and no padding."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mobile_vla.taps.reductions import REDUCTIONS, Extent

SLOW = {
    "mean": lambda row, action: row.double().mean(0),
    "max": lambda row, action: row.double().amax(0),
    "first": lambda row, action: row[0].double(),
    "last": lambda row, action: row[-1].double(),
    "action_token": lambda row, action: row[action].double(),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", SLOW)
@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4), seed=st.integers(0, 3))
def test_equals_row_by_row_without_padding(name, dtype, lengths, seed):
    tokens = torch.randn(len(lengths), 7, 3, generator=torch.Generator().manual_seed(seed)).to(dtype)
    action = torch.tensor([seed % length for length in lengths])
    for row, length in zip(tokens, lengths, strict=True):
        row[length:] = torch.nan  # whatever stands there
    reduced = REDUCTIONS[name](tokens, Extent(torch.tensor(lengths), action))
    assert reduced.dtype == dtype
    expected = torch.stack([SLOW[name](row[:n], a) for row, n, a in zip(tokens, lengths, action.tolist(), strict=True)])
    tolerance = {"atol": 1e-6, "rtol": 1e-6} if dtype is torch.float32 else {"atol": 0, "rtol": 2**-8}
    torch.testing.assert_close(reduced.double(), expected, **tolerance)


@pytest.mark.parametrize("name", REDUCTIONS)
def test_what_comes_out_is_no_view_of_what_went_in(name):
    tokens = torch.randn(2, 5, 3)
    reduced = REDUCTIONS[name](tokens, Extent(torch.tensor([5, 5]), torch.tensor([2, 2])))
    before = reduced.clone()
    tokens.zero_()
    assert torch.equal(reduced, before)
