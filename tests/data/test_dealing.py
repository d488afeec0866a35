"""Whole numbers near the shares: single episodes to within one, whole groups as nearly as any dealing."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobile_vla.data.dealing import deal_groups, round_shares

SHARES = np.array([0.7, 0.15, 0.15])
NEEDED = np.ones(3, bool)


def deviation(kinds, counts, dealt):
    """Sum over strata and the whole of the squared deviations from the shares."""
    cells = np.hstack([kinds, kinds.sum(axis=1, keepdims=True)])
    return float(((cells.T @ dealt - (counts @ cells)[:, None] * SHARES) ** 2).sum())


def smallest_deviation(kinds):
    """Over all ways to give each group (one of each kind) to a part, no part empty."""
    ways = np.eye(3)[np.array(list(itertools.product(range(3), repeat=len(kinds))))]  # (ways, groups, parts)
    ways = ways[(ways.sum(axis=1) > 0).all(axis=1)]
    cells = np.hstack([kinds, kinds.sum(axis=1, keepdims=True)])
    sums = np.einsum("gc,wgp->wcp", cells, ways)
    return float(((sums - cells.sum(axis=0)[:, None] * SHARES) ** 2).sum(axis=(1, 2)).min())


@pytest.mark.parametrize("seed", range(25))
def test_few_groups_are_dealt_as_nearly_as_any_way_does(seed):
    rng = np.random.default_rng(seed)
    kinds = np.unique(rng.integers(0, 25, (rng.integers(4, 9), rng.integers(1, 4))), axis=0)
    counts = np.ones(len(kinds), int)
    dealt = deal_groups(kinds, counts, SHARES, NEEDED, np.random.default_rng(seed))
    assert deviation(kinds, counts, dealt) == pytest.approx(smallest_deviation(kinds))


def test_sessions_of_a_year_keep_every_stratum_within_two_episodes():
    rng = np.random.default_rng(0)
    kinds = np.unique(rng.integers(0, 15, (120, 3)), axis=0)
    dealt = deal_groups(kinds, np.ones(len(kinds), int), SHARES, NEEDED, rng)
    assert np.abs(kinds.T @ dealt - kinds.sum(axis=0)[:, None] * SHARES).max() < 2


def test_pairs_of_copies_among_single_episodes_cost_nothing():
    kinds, counts = np.array([[0, 1], [0, 2], [1, 0], [2, 0]]), np.array([240, 5, 250, 0])
    dealt = deal_groups(kinds, counts, SHARES, NEEDED, np.random.default_rng(0))
    assert np.abs(kinds.T @ dealt - (counts @ kinds)[:, None] * SHARES).max() < 1


GROUPS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9)), min_size=2, max_size=8, unique=True)


@given(groups=GROUPS, counts=st.lists(st.integers(1, 5), min_size=8, max_size=8), seed=st.integers(0, 9))
def test_all_groups_are_dealt_and_no_needed_part_is_empty(groups, counts, seed):
    kinds, sizes = np.array(groups), np.array(counts[: len(groups)])
    needed = np.array([True, True, sizes.sum() > 2])
    dealt = deal_groups(kinds, sizes, SHARES, needed, np.random.default_rng(seed))
    assert (dealt >= 0).all()
    assert (dealt.sum(axis=1) == sizes).all()
    assert (dealt.sum(axis=0)[needed] > 0).all()


def test_a_part_that_is_not_needed_may_stay_empty():
    kinds = np.array([[30], [31]])
    dealt = deal_groups(kinds, np.ones(2, int), SHARES, np.array([True, True, False]), np.random.default_rng(0))
    assert dealt.sum(axis=0).tolist() == [1, 1, 0]


def test_equally_near_ways_are_chosen_among_by_the_seed():
    kinds = np.array([[10, 0], [0, 10], [5, 5]])
    counts = np.array([3, 3, 3])
    found = {deal_groups(kinds, counts, SHARES, NEEDED, np.random.default_rng(seed)).tobytes() for seed in range(10)}
    assert len(found) > 1


@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_rounding_keeps_every_cell_and_every_part_within_one(sizes):
    counts = round_shares(np.array(sizes), SHARES)
    wanted = np.array(sizes)[:, None] * SHARES
    assert (counts.sum(axis=1) == sizes).all()
    assert (np.abs(counts - wanted) < 1).all()
    assert (np.abs(counts.sum(axis=0) - wanted.sum(axis=0)) < 1).all()
