"""From episodes to batches, for any lengths and settings: nothing is lost, doubled, mixed up or left to chance.

The single steps have their own tests; here they work together, on episodes of which the reference knows every frame.
"""

from collections import Counter, defaultdict
from dataclasses import replace
from itertools import islice

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from mobile_vla.core.actions import ActionSpace
from mobile_vla.core.errors import UserError
from mobile_vla.data.datamodule import EpisodeDataModule
from mobile_vla.data.dataset import DataConfig, Dataset
from mobile_vla.data.splits import PARTS, Split, SplitConfig, make_split
from mobile_vla.data.windows import WindowConfig, valid_entries

SPACE = ActionSpace(components=("linear_x", "linear_y", "angular_z"), low=(-2.0,) * 3, high=(2.0,) * 3)
WINDOWS = {
    "window": st.integers(1, 6),
    "chunk": st.integers(1, 6),
    "stride": st.integers(1, 3),
    "ends": st.sampled_from(["pad", "drop"]),
}
DEALING = {"batch_size": st.integers(1, 7), "span": st.integers(1, 5)}
LENGTHS = st.lists(st.integers(1, 14), min_size=1, max_size=6)
WORLDS = st.integers(1, 3)


class Pixels:
    """A frame is made of its episode's name and its number."""

    def read(self, episode, low, high):
        frames = [[sum(map(ord, episode.id)) % 251, frame, len(episode.id)] for frame in range(low, high)]
        return torch.tensor(frames, dtype=torch.uint8)[:, None, None]


class Letters:
    def __call__(self, instructions):
        longest = max(map(len, instructions))
        ids = torch.tensor([[*map(ord, text), *[0] * (longest - len(text))] for text in instructions])
        return ids, ids > 0

    def length(self, instruction):
        return len(instruction)


def record(make_episode, lengths):
    """Episodes in which action t of episode e is told from all others, and every third action is not known."""
    return [
        make_episode(
            f"e{e}",
            np.array([[e / 10, t / 20, (e + t) % 3 / 2] for t in range(length)]),
            f"go to {e % 2}",
            known=np.arange(length) % 3 != e % 3,
        )
        for e, length in enumerate(lengths)
    ]


def module(episodes, split, **settings):
    config = DataConfig(**{"root": "memory", "components": SPACE.components, **settings})
    return EpisodeDataModule(config, Dataset(tuple(episodes), (), Pixels()), split, SPACE, Letters(), seed=3)


def all_train(episodes, **settings):
    return module(episodes, Split({"train": tuple(e.id for e in episodes), "validation": (), "test": ()}), **settings)


def batches(data, part, epoch=0, **where):
    assembler = data.assembler(data.episodes(part))
    world = where.get("world", 1)
    for planned in data.plan(part, world).batches(epoch, **where):
        yield assembler(assembler.requests(planned), planned.denominator)


@given(lengths=LENGTHS, **WINDOWS)
def test_every_frame_is_covered_as_the_setting_says(lengths, **windows):
    config = WindowConfig(**windows)
    for length in lengths:
        starts = config.starts(length)
        shown = [config.frames(length, start) for start in starts]
        covered = {int(frame) for frames in shown for frame in frames if frame >= 0}
        if config.ends == "drop":
            assert all(start + config.window + config.chunk - 1 <= length for start in starts)
            assert all((frames >= 0).all() for frames in shown)
            following = starts[-1] + config.stride if starts else 0
            assert following + config.window + config.chunk - 1 > length  # none that is whole is left out
        elif config.stride == 1:
            assert covered == set(range(length))
        else:
            assert min(covered) == 0
            assert all(np.diff(sorted(covered)) <= max(config.stride - config.window + 1, 1))
            assert length - 1 - max(covered) < config.stride


@given(lengths=LENGTHS, **WINDOWS, **DEALING)
def test_no_window_crosses_an_episode_and_masks_agree_with_padding(make_episode, lengths, **settings):
    episodes = record(make_episode, lengths)
    known = {episode.id: episode for episode in episodes}
    scale = np.float32(SPACE.high[0])
    for batch in batches(all_train(episodes, **settings), "train"):
        for w in range(batch.num_windows):
            pairs = [None if i < 0 else batch.pair_id[i] for i in batch.windows[w].tolist()]
            (id,) = {pair.episode for pair in pairs if pair}
            episode, first = known[id], pairs[0].frame
            for position, pair in enumerate(pairs):
                inside = first + position < episode.num_frames
                assert (pair is not None) == inside
                if pair is not None:
                    assert (pair.frame, pair.instruction) == (first + position, episode.instruction)
                    pixel = batch.frames[batch.pair_frame[batch.windows[w, position]]][0, 0]
                    assert pixel.tolist() == Pixels().read(episode, pair.frame, pair.frame + 1)[0, 0, 0].tolist()
                for step in range(settings["chunk"]):
                    t = first + position + step
                    counts = inside and t < episode.num_frames and bool(episode.action_known[t])
                    assert batch.chunk_mask[w, position, step] == counts
                    expected = episode.actions[t] / scale if counts else np.zeros(3)
                    np.testing.assert_allclose(batch.chunks[w, position, step], expected, atol=1e-6)


@given(lengths=LENGTHS, world=WORLDS, epoch=st.integers(0, 2), **WINDOWS, **DEALING)
def test_every_window_is_dealt_once_an_epoch_over_all_ranks(make_episode, lengths, world, epoch, **settings):
    episodes = record(make_episode, lengths)
    data = all_train(episodes, **settings)
    config = data.config
    everything = Counter((e.id, start) for e in episodes for start in config.starts(e.num_frames))
    dealt = Counter()
    for rank in range(world):
        for batch in batches(data, "train", epoch, rank=rank, world=world):
            firsts = [batch.pair_id[i] for i in batch.windows[:, 0].tolist()]
            dealt.update((pair.episode, pair.frame) for pair in firsts)
    assert not dealt - everything
    assert (everything - dealt).total() < world  # what cannot be dealt evenly
    if world == 1:
        entries = sum(int(valid_entries(e, config).sum()) for e in episodes)
        assert sum(batch.num_valid for batch in batches(data, "train", epoch)) == entries


@given(lengths=LENGTHS, world=WORLDS, offset=st.integers(0, 9), **DEALING)
def test_a_resumed_epoch_is_the_rest_of_it(make_episode, lengths, world, offset, **settings):
    data = all_train(record(make_episode, lengths), window=3, chunk=4, **settings)
    for rank in range(world):
        whole = batches(data, "train", 1, rank=rank, world=world)
        rest = batches(data, "train", 1, rank=rank, world=world, offset=offset)
        assert [batch.pair_id for batch in islice(whole, offset, None)] == [batch.pair_id for batch in rest]


# direction, session and content of an episode; None where the label is missing, 0 where the content is its own
FACTS = st.lists(
    st.tuples(
        st.sampled_from(["left", "right", None]),
        st.sampled_from(["d1", "d2", "d3", "d4", "d5", None]),
        st.integers(0, 4),
    ),
    min_size=4,
    max_size=24,
)
SPLITS = st.fixed_dictionaries(
    {
        "validation": st.sampled_from([0.2, 0.35]),
        "test": st.sampled_from([0.0, 0.2]),
        "group": st.sampled_from(["session", None]),
        "seed": st.integers(0, 2),
    }
)


def with_facts(make_episode, facts):
    found = []
    for index, (direction, session, content) in enumerate(facts):
        labels = {"direction": direction, "session": session}
        episode = make_episode(f"e{index:02}", 9, **{name: value for name, value in labels.items() if value})
        found.append(replace(episode, fingerprint=f"c{content}" if content else f"own {index}"))
    return found


def split_or_none(episodes, config):
    try:
        return make_split(episodes, config)
    except UserError:
        return None


@given(facts=FACTS, shares=SPLITS)
def test_splits_are_partitions_in_which_days_and_contents_stay_whole(make_episode, facts, shares):
    episodes, config = with_facts(make_episode, facts), SplitConfig(**shares)
    split = split_or_none(episodes, config)
    if split is None:
        return
    dealt = [id for part in PARTS for id in split.parts[part]]
    assert sorted(dealt) == [episode.id for episode in episodes]
    assert split.parts["train"]
    assert split.parts["validation"]
    part_of = {id: part for part in PARTS for id in split.parts[part]}
    contents, days = defaultdict(set), defaultdict(set)
    for episode in episodes:
        contents[episode.fingerprint].add(part_of[episode.id])
        if "session" in episode.labels:
            days[episode.labels["session"]].add(part_of[episode.id])
    assert all(len(parts) == 1 for parts in contents.values())
    assert config.group is None or all(len(parts) == 1 for parts in days.values())


@given(facts=FACTS, shares=SPLITS, random=st.randoms(use_true_random=False))
def test_nothing_depends_on_the_order_of_files(make_episode, facts, shares, random):
    episodes, config = with_facts(make_episode, facts), SplitConfig(**shares)
    shuffled = random.sample(episodes, len(episodes))
    split = split_or_none(episodes, config)
    assert split_or_none(shuffled, config) == split
    if split is None:
        return
    settings = {"window": 3, "chunk": 4, "batch_size": 5}
    one, other = module(episodes, split, **settings), module(shuffled, split, **settings)
    for part in ("train", "validation"):
        for batch, again in zip(batches(one, part), batches(other, part), strict=True):
            assert batch.pair_id == again.pair_id
            assert batch.denominator == again.denominator
            for name in ("frames", "text_ids", "pair_frame", "pair_text", "windows", "chunks", "chunk_mask"):
                assert torch.equal(getattr(batch, name), getattr(again, name)), name
