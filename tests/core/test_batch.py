"""A batch of distinct frames and texts, and the windows over their pairs."""

import pickle
from dataclasses import fields

import pytest
import torch
from torch import Tensor

from mobile_vla.core.batch import Batch, PairId, gather_windows


@pytest.fixture
def batch() -> Batch:
    """Two windows of three frames over four pairs; the second window is padded."""
    return Batch(
        frames=torch.zeros(4, 2, 2, 3, dtype=torch.uint8),
        text_ids=torch.zeros(1, 5, dtype=torch.long),
        text_mask=torch.ones(1, 5, dtype=torch.bool),
        pair_frame=torch.arange(4),
        pair_text=torch.zeros(4, dtype=torch.long),
        windows=torch.tensor([[0, 1, 2], [1, 3, -1]]),
        chunks=torch.zeros(2, 3, 2, 1),
        chunk_mask=torch.tensor([[[True, True], [True, True], [True, False]], [[True, True]] * 2 + [[False, False]]]),
        pair_id=tuple(PairId("a", frame, "go") for frame in range(4)),
        denominator=9,
        broken=(("b.h5", "is gone"),),
    )


def test_moving_a_batch_moves_every_tensor_and_nothing_else(batch):
    moved = batch.to("meta")
    for name in (field.name for field in fields(Batch)):
        before, after = getattr(batch, name), getattr(moved, name)
        if isinstance(before, Tensor):
            assert after.device.type == "meta", name
            assert (after.shape, after.dtype) == (before.shape, before.dtype)
        else:
            assert after == before, name


def test_what_is_broken_travels_between_processes(batch):
    assert pickle.loads(pickle.dumps(batch)).broken == (("b.h5", "is gone"),)


@pytest.mark.gpu
def test_what_is_broken_is_still_known_in_pinned_memory(batch):
    assert batch.pin_memory().broken == (("b.h5", "is gone"),)


def test_valid_entries_are_the_unmasked(batch):
    assert batch.num_valid == 9
    assert batch.num_windows == 2


def test_a_windows_pairs_come_in_order_without_padding(batch):
    assert [pair.frame for pair in batch.window_pairs(1)] == [1, 3]


def test_padding_gathers_zero_whatever_the_first_row_holds():
    rows = torch.tensor([[float("nan"), float("inf")], [1.0, 2.0], [3.0, 4.0]])
    gathered = gather_windows(rows, torch.tensor([[2, 1], [1, -1]]))
    assert gathered.tolist() == [[[3, 4], [1, 2]], [[1, 2], [0, 0]]]


def test_padding_has_no_gradient():
    rows = torch.ones(3, 2, requires_grad=True)
    gather_windows(rows, torch.tensor([[1, -1], [1, 2]])).sum().backward()
    assert rows.grad[:, 0].tolist() == [0, 2, 1]
