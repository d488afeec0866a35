"""A row is taken where its frame has its longest history, from exactly one window, as closed-loop inference would."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mobile_vla.core.actions import ActionSpace
from mobile_vla.core.batch import Batch, PairId
from mobile_vla.models.backbones.tokenizer import Prompter, offline_tokenizer
from mobile_vla.models.stepper import PolicyStepper
from mobile_vla.taps.capture import capture
from mobile_vla.taps.places import every_pair, rows_in, start_of, starts_of
from mobile_vla.taps.points import PREDICTED, resolve_taps
from tests.models.conftest import make_policy, random_frames, stir

SPACE = ActionSpace(components=("linear_x", "linear_y"), low=(-1.0, -1.0), high=(1.0, 1.0))  # normalised already
TEXT = "go past the box on the right side"


def batch_of(windows: list[tuple[str, int]], lengths: dict[str, int], window: int, **parts) -> Batch:
    """The windows (episode, first frame) of episodes of these lengths; without frames unless given."""
    pairs: dict[PairId, int] = {}
    rows = []
    for episode, start in windows:
        there = [PairId(episode, frame, TEXT) for frame in range(start, min(start + window, lengths[episode]))]
        row = [pairs.setdefault(pair, len(pairs)) for pair in there]
        rows.append(row + [-1] * (window - len(row)))
    shape = (len(rows), window, 3)
    known = {
        "text_ids": torch.zeros(1, 1, dtype=torch.int64),
        "text_mask": torch.ones(1, 1, dtype=torch.bool),
        "pair_frame": torch.arange(len(pairs)),
        "pair_text": torch.zeros(len(pairs), dtype=torch.int64),
        "windows": torch.tensor(rows),
        "chunks": torch.zeros(*shape, 2),
        "chunk_mask": torch.zeros(shape, dtype=torch.bool),
        "pair_id": tuple(pairs),
    }
    return Batch(**{**known, **parts})


def all_windows(lengths: dict[str, int], window: int) -> list[tuple[str, int]]:
    """As validation has them."""
    return [(name, start) for name, length in lengths.items() for start in range(max(length - window, 0) + 1)]


LENGTHS = st.lists(st.integers(1, 14), min_size=1, max_size=4).map(lambda ls: {f"e{i}": n for i, n in enumerate(ls)})


@given(lengths=LENGTHS, window=st.integers(1, 6), size=st.integers(1, 7), every=st.integers(1, 4))
def test_validation_batches_hold_every_wanted_row_once_at_its_longest_history(lengths, window, size, every):
    windows = all_windows(lengths, window)
    wanted = {name: tuple(range(0, length, every)) for name, length in lengths.items()}
    found = Counter()
    for first in range(0, len(windows), size):
        batch = batch_of(windows[first : first + size], lengths, window)
        places = rows_in(batch, wanted)
        for pair, row, position in zip(*(part.tolist() for part in places), strict=True):
            assert batch.windows[row, position] == pair
            history = [batch.pair_id[i].frame for i in batch.windows[row, : position + 1].tolist()]
            frame = batch.pair_id[pair].frame
            assert history == list(range(max(0, frame + 1 - window), frame + 1))
            found[batch.pair_id[pair].episode, frame] += 1
    assert found == Counter({(name, frame): 1 for name, frames in wanted.items() for frame in frames})


@given(frames=st.sets(st.integers(0, 30), min_size=1), window=st.integers(1, 9))
def test_a_plans_windows_are_the_fewest_that_hold_its_frames(frames, window):
    starts = starts_of(frames, window)
    assert starts == sorted({min(s for s in range(31) if s <= frame < s + window) for frame in frames})
    assert all(start_of(frame, window) in starts for frame in frames)
    late = sum(frame >= window for frame in frames)
    assert len(starts) == late + any(frame < window for frame in frames)


def test_what_is_not_wanted_is_not_there():
    batch = batch_of([("a", 0), ("a", 1), ("b", 2)], {"a": 5, "b": 9}, 4)
    assert rows_in(batch, {}).pairs.tolist() == []
    assert rows_in(batch, {"b": (3, 4)}).pairs.tolist() == []  # b's window starts too late for them
    assert [part.tolist() for part in rows_in(batch, {"b": (5,), "a": (4,)})] == [[4, 8], [1, 2], [3, 3]]


def test_pairs_in_no_window_have_no_place():
    """They only give their contexts to others."""
    batch = batch_of([("a", 0)], {"a": 3}, 4)
    sources = tuple(id._replace(variant="swap") for id in batch.pair_id)
    lent = replace(batch, pair_id=(*batch.pair_id, *sources))
    assert [part.tolist() for part in every_pair(lent)] == [part.tolist() for part in every_pair(batch)]
    assert every_pair(batch).pairs.tolist() == [0, 1, 2]


def test_every_pair_is_where_the_batch_holds_the_most_before_it():
    batch = batch_of([("a", 2), ("a", 1), ("b", 0), ("a", 3)], {"a": 6, "b": 2}, 3)
    places = every_pair(batch)
    assert places.pairs.tolist() == list(range(len(batch.pair_id)))
    told = {
        (id.episode, id.frame): (window, position)
        for id, window, position in zip(batch.pair_id, places.windows.tolist(), places.positions.tolist(), strict=True)
    }
    assert told == {
        ("a", 1): (1, 0),
        ("a", 2): (1, 1),
        ("a", 3): (1, 2),
        ("a", 4): (0, 2),
        ("b", 0): (2, 0),
        ("b", 1): (2, 1),
        ("a", 5): (3, 2),
    }


@pytest.mark.parametrize("num_frames", [18, 5], ids=["long", "shorter than a window"])
@torch.no_grad()
def test_rows_are_what_closed_loop_inference_computes_at_each_frame(num_frames):
    policy, window = stir(make_policy()), 8
    frames = random_frames(policy.preprocessing.size, seed=4, count=num_frames)
    stepper = PolicyStepper(policy, Prompter(offline_tokenizer(), policy.backbone.config.prompt), SPACE, window)
    stepper.reset(TEXT)
    states: list[torch.Tensor] = []
    policy.head.rnn.register_forward_hook(lambda module, args, output: states.append(output[0][0, -1]))
    stepped = torch.stack([stepper.step(frame) for frame in frames])
    stepped_states = torch.stack(states)
    ids, mask = stepper.prompter([TEXT])
    lengths = {"e": num_frames}
    batch = batch_of(all_windows(lengths, window), lengths, window, frames=frames, text_ids=ids, text_mask=mask)
    places = rows_in(batch, {"e": range(num_frames)})
    with capture(policy, [*resolve_taps(policy, ["head_state"]), PREDICTED]) as captured:
        policy(batch)
        rows = captured.take(batch, places)
    assert [batch.pair_id[pair].frame for pair in places.pairs.tolist()] == list(range(num_frames))
    torch.testing.assert_close(rows["predicted"], stepped, atol=2e-5, rtol=0)
    torch.testing.assert_close(rows["head_state"], stepped_states, atol=2e-5, rtol=0)
