"""Which windows make which batch: complete, shared among ranks, and a pure function of where it is asked."""

from collections import Counter
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobile_vla.data.plan import BatchPlan, PlannedBatches

LENGTHS = st.lists(st.integers(0, 14), min_size=1, max_size=8)
SIZES = {"batch_size": st.integers(1, 9), "span": st.integers(1, 6), "accumulate": st.integers(1, 4)}
WORLDS = st.integers(1, 4)


def make_plan(lengths, **settings):
    """A plan over episodes of so many windows, each window with its own number of valid entries."""
    ends = np.cumsum(lengths)
    entries = [np.arange(end - length, end) % 80 + 1 for length, end in zip(lengths, ends, strict=True)]
    return BatchPlan(entries, **{"batch_size": 4, "span": 3, **settings})


def windows(batch):
    return [(span.episode, span.first + i) for span in batch.spans for i in range(span.count)]


def ranks(plan, epoch, world, **where):
    return [list(plan.batches(epoch, rank=rank, world=world, **where)) for rank in range(world)]


def every_window(lengths):
    return {(episode, window) for episode, length in enumerate(lengths) for window in range(length)}


class TestTraining:
    @given(lengths=LENGTHS, world=WORLDS, epoch=st.integers(0, 3), **SIZES)
    def test_every_window_once_over_all_ranks(self, lengths, world, epoch, **sizes):
        dealt = ranks(make_plan(lengths, **sizes), epoch, world)
        counts = Counter(window for batches in dealt for batch in batches for window in windows(batch))
        assert set(counts.values()) <= {1}
        assert set(counts) <= every_window(lengths)
        assert sum(lengths) - len(counts) < world

    @given(lengths=LENGTHS, world=WORLDS, **SIZES)
    def test_ranks_step_together_with_full_batches_until_the_last(self, lengths, world, **sizes):
        plan = make_plan(lengths, **sizes)
        dealt = ranks(plan, 0, world)
        assert {len(batches) for batches in dealt} == {plan.num_batches(world)}
        for batches in dealt:
            assert all(batch.num_windows == plan.batch_size for batch in batches[:-1])
            assert all(0 < batch.num_windows <= plan.batch_size for batch in batches)

    @given(lengths=LENGTHS, world=WORLDS, offset=st.integers(0, 12), **SIZES)
    def test_an_offset_is_skipping(self, lengths, world, offset, **sizes):
        plan = make_plan(lengths, **sizes)
        for whole, later in zip(ranks(plan, 1, world), ranks(plan, 1, world, offset=offset), strict=True):
            assert later == list(islice(whole, offset, None))

    @given(lengths=LENGTHS, world=WORLDS, **SIZES)
    def test_denominators_are_the_entries_of_the_whole_step(self, lengths, world, **sizes):
        plan = make_plan(lengths, **sizes)
        dealt = ranks(plan, 0, world)
        for first in range(0, plan.num_batches(world), plan.accumulate):
            step = [batch for batches in dealt for batch in batches[first : first + plan.accumulate]]
            slow = sum(int(plan.entries[episode][window]) for batch in step for episode, window in windows(batch))
            assert {batch.denominator for batch in step} == {slow}

    @given(lengths=LENGTHS, batch_size=st.integers(1, 4), accumulate=st.integers(2, 4), span=st.integers(1, 6))
    def test_regrouped_batches_make_the_same_steps(self, lengths, batch_size, accumulate, span):
        small = make_plan(lengths, batch_size=batch_size, accumulate=accumulate, span=span)
        large = make_plan(lengths, batch_size=batch_size * accumulate, span=span)
        pieces = list(small.batches(2))
        for index, whole in enumerate(large.batches(2)):
            step = pieces[index * accumulate : (index + 1) * accumulate]
            assert [window for piece in step for window in windows(piece)] == windows(whole)
            assert {piece.denominator for piece in step} == {whole.denominator}

    @given(lengths=LENGTHS, batch_size=st.integers(1, 4), world=st.integers(2, 4))
    def test_ranks_share_the_step_of_one_large_batch(self, lengths, batch_size, world):
        dealt = ranks(make_plan(lengths, batch_size=batch_size), 0, world)
        whole = list(make_plan(lengths, batch_size=batch_size * world).batches(0))
        full = sum(lengths) // (batch_size * world)
        for step, large in list(zip(zip(*dealt, strict=True), whole, strict=False))[:full]:
            assert sorted(window for batch in step for window in windows(batch)) == sorted(windows(large))

    def test_the_same_place_gives_the_same_batches_whatever_was_asked_before(self):
        plan, other = make_plan([11] * 5), make_plan([11] * 5)
        list(plan.batches(7, rank=1, world=2))
        assert list(plan.batches(3)) == list(other.batches(3))

    def test_every_epoch_and_seed_has_its_own_order(self):
        orders = [tuple(make_plan([11] * 6, seed=seed).batches(epoch)) for seed in range(3) for epoch in range(4)]
        assert len(set(orders)) == len(orders)

    def test_where_an_episode_is_cut_differs_from_epoch_to_epoch(self):
        plan = make_plan([12], span=4, batch_size=100)
        cuts = {frozenset(span.first for span in batch.spans) for epoch in range(30) for batch in plan.batches(epoch)}
        assert len(cuts) == 4

    @given(lengths=LENGTHS, **SIZES)
    def test_spans_are_runs_of_one_episode_and_stay_together(self, lengths, **sizes):
        plan = make_plan(lengths, **sizes)
        batches = list(plan.batches(0))
        assert all(1 <= span.count <= plan.span for batch in batches for span in batch.spans)
        most = sum(-(-length // plan.span) + 1 for length in lengths if length) + len(batches)
        assert sum(len(batch.spans) for batch in batches) <= most

    def test_epochs_mix_episodes(self):
        first = next(make_plan([12] * 20, span=4, batch_size=16).batches(0))
        assert len({span.episode for span in first.spans}) > 2


class TestValidation:
    @given(lengths=LENGTHS, world=WORLDS, batch_size=st.integers(1, 9))
    def test_every_window_exactly_once_over_all_ranks(self, lengths, world, batch_size):
        plan = make_plan(lengths, batch_size=batch_size, shuffle=False)
        dealt = ranks(plan, 0, world)
        seen = [window for batches in dealt for batch in batches for window in windows(batch)]
        assert sorted(seen) == sorted(every_window(lengths))
        assert [len(batches) for batches in dealt] == [plan.num_batches(world, rank) for rank in range(world)]

    @given(lengths=LENGTHS, world=WORLDS, offset=st.integers(0, 6))
    def test_an_offset_is_skipping(self, lengths, world, offset):
        plan = make_plan(lengths, shuffle=False)
        for whole, later in zip(ranks(plan, 0, world), ranks(plan, 0, world, offset=offset), strict=True):
            assert later == whole[offset:]

    def test_in_order_the_same_every_epoch(self):
        plan = make_plan([5, 7], shuffle=False)
        seen = [window for batch in plan.batches(0) for window in windows(batch)]
        assert seen == sorted(seen)
        assert list(plan.batches(0)) == list(plan.batches(9))

    def test_a_batch_counts_its_own_entries(self):
        plan = make_plan([5, 7], shuffle=False, accumulate=3)
        for batch in plan.batches(0):
            assert batch.denominator == sum(plan.entries[episode][window] for episode, window in windows(batch))


class TestPlannedBatches:
    @pytest.fixture
    def resumed(self):
        """Rank 1 of 2, resumed in epoch 2 after 3 batches."""
        sampler = PlannedBatches(make_plan([11] * 6), rank=1, world=2)
        sampler.set_epoch(2)
        sampler.offset = 3
        return sampler

    def test_a_resumed_epoch_goes_on_where_it_was(self, resumed):
        resumed.set_epoch(2)  # the loop says so again at its start
        assert list(resumed) == list(resumed.plan.batches(2, rank=1, world=2))[3:]

    def test_the_next_epoch_is_whole(self, resumed):
        resumed.set_epoch(3)
        assert list(resumed) == list(resumed.plan.batches(3, rank=1, world=2))

    def test_its_length_is_the_whole_epochs(self, resumed):
        assert len(resumed) == len(list(resumed.plan.batches(2, rank=1, world=2)))
