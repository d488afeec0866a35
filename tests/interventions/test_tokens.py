"""Blocks cover every image token once."""

import pytest

from mobile_vla.data.requests import WindowRequest
from mobile_vla.interventions.tokens import blocks_of, with_hidden


@pytest.mark.parametrize(("count", "size"), [(64, 8), (64, 1), (64, 64), (64, 7), (4, 3), (144, 1)])
def test_blocks_cover_every_token_once(count, size):
    blocks = dict(blocks_of(count, size))
    assert len(blocks) == -(-count // size)
    assert [token for first, behind in blocks.values() for token in range(first, behind)] == list(range(count))
    assert all(behind - first <= size for first, behind in blocks.values())
    assert list(blocks) == sorted(blocks)


def test_names():
    assert list(blocks_of(64, 8))[:2] == [("mask_tokens_00-07", (0, 8)), ("mask_tokens_08-15", (8, 16))]
    assert list(blocks_of(64, 1))[5] == ("mask_tokens_05", (5, 6))
    assert list(blocks_of(7, 3))[-1] == ("mask_tokens_06", (6, 7))


def test_all_windows_lose_the_same_tokens():
    assert with_hidden((2, 4))(WindowRequest(episode=3, start=1)) == WindowRequest(episode=3, start=1, hidden=(2, 4))
