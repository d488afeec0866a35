"""The place of a run in its data, and the same place where the data are dealt in other batches."""

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mobile_vla.data.plan import BatchPlan
from mobile_vla.training.position import Position

SETTINGS = st.tuples(st.integers(1, 6), st.integers(1, 2), st.integers(1, 2))  # batch size, accumulate, world


def deal(plan: BatchPlan, epoch: int, world: int, first: int, last: int | None = None) -> Counter:
    """The windows of the batches `first` to `last` of all ranks."""
    return Counter(
        (span.episode, window)
        for rank in range(world)
        for batch in list(plan.batches(epoch, rank=rank, world=world))[first:last]
        for span in batch.spans
        for window in range(span.first, span.first + span.count)
    )


@settings(max_examples=60)
@given(st.lists(st.integers(1, 9), min_size=2, max_size=5), SETTINGS, SETTINGS, st.data())
def test_no_window_is_lost_and_few_come_twice(lengths, before, now, data):
    entries = [np.ones(length, int) for length in lengths]
    plans = [
        BatchPlan(entries, batch_size=size, span=3, seed=5, accumulate=accumulate)
        for size, accumulate, _ in (before, now)
    ]
    (size, accumulate, world), (new_size, new_accumulate, new_world) = before, now
    batches, new_batches = plans[0].num_batches(world), plans[1].num_batches(new_world)
    if not batches or not new_batches:
        return
    stands = Position(epoch=2, batch=data.draw(st.integers(0, (batches - 1) // accumulate)) * accumulate, step=11)
    moved = stands.dealt_as(size * world, new_size * new_world, new_accumulate, new_batches)
    assert (moved.epoch, moved.step) == (2, 11)
    assert moved.batch % new_accumulate == 0
    done = deal(plans[0], 2, world, 0, stands.batch)
    left = deal(plans[1], 2, new_world, moved.batch)
    both, whole = done + left, deal(plans[1], 2, new_world, 0)
    assert whole.keys() <= both.keys()
    assert both.total() - len(both) <= new_size * new_world * new_accumulate
    if before == now:
        assert moved == stands
