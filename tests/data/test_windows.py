"""Windows and chunks against a slow reference."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobile_vla.core.errors import UserError
from mobile_vla.data.windows import ChunkTable, WindowConfig, chunks_at, refuse_short, valid_entries

CONFIGS = st.builds(
    WindowConfig,
    window=st.integers(1, 9),
    chunk=st.integers(1, 11),
    stride=st.integers(1, 4),
    ends=st.sampled_from(["pad", "drop"]),
)


def slow_chunks(actions, known, frames, chunk):
    """Entry by entry; None where nothing counts."""
    rows = []
    for frame in frames:
        row = []
        for t in range(frame, frame + chunk):
            there = frame >= 0 and t < len(actions) and known[t]
            row.append(actions[t].tolist() if there else None)
        rows.append(row)
    return rows


@pytest.mark.parametrize(("ends", "expected"), [("pad", list(range(11))), ("drop", [0, 1])])
def test_windows_of_18_frames(ends, expected):
    assert list(WindowConfig(ends=ends).starts(18)) == expected


@pytest.mark.parametrize(("ends", "expected"), [("pad", [0, 4, 8]), ("drop", [0])])
def test_stride(ends, expected):
    assert list(WindowConfig(ends=ends, stride=4).starts(18)) == expected


@pytest.mark.parametrize("num_frames", [1, 7, 8])
def test_a_short_episode_is_one_window_padded_at_its_tail(num_frames):
    config = WindowConfig()
    assert list(config.starts(num_frames)) == [0]
    assert config.frames(num_frames, 0).tolist() == list(range(num_frames)) + [-1] * (8 - num_frames)


@pytest.mark.parametrize(("num_frames", "windows"), [(16, 0), (17, 1)])
def test_drop_keeps_only_whole_windows_with_whole_chunks(num_frames, windows):
    assert len(WindowConfig(ends="drop").starts(num_frames)) == windows


@given(config=CONFIGS, num_frames=st.integers(1, 30))
def test_starts_are_all_that_fit(config, num_frames):
    needed = config.window if config.ends == "pad" else config.window + config.chunk - 1
    fitting = [start for start in range(num_frames) if start + needed <= num_frames]
    if config.ends == "pad" and not fitting:
        fitting = [0]
    assert list(config.starts(num_frames)) == [start for start in fitting if start % config.stride == 0]


def test_chunk_t_is_the_next_ten_actions_its_own_first():
    actions = np.arange(18, dtype=np.float32)[:, None]
    chunks, mask = chunks_at(actions, np.ones(18, bool), np.arange(3, 11), chunk=10)
    assert chunks[0, :, 0].tolist() == list(range(3, 13))
    assert chunks[7, :, 0].tolist() == [10, 11, 12, 13, 14, 15, 16, 17, 0, 0]  # masked entries are zero
    assert mask[7].tolist() == [True] * 8 + [False] * 2


@given(data=st.data(), config=CONFIGS, num_frames=st.integers(1, 25))
def test_chunks_and_masks_are_the_slow_references(data, config, num_frames):
    known = np.array(data.draw(st.lists(st.booleans(), min_size=num_frames, max_size=num_frames)))
    actions = np.random.default_rng(num_frames).normal(size=(num_frames, 2)).astype(np.float32)
    for start in config.starts(num_frames):
        frames = config.frames(num_frames, start)
        chunks, mask = chunks_at(actions, known, frames, config.chunk)
        assert chunks.dtype == np.float32
        for w, row in enumerate(slow_chunks(actions, known, frames.tolist(), config.chunk)):
            for c, expected in enumerate(row):
                assert mask[w, c] == (expected is not None)
                assert chunks[w, c].tolist() == (expected or [0, 0])


@given(data=st.data(), config=CONFIGS)
def test_the_table_gives_the_chunks_of_each_window_to_the_last_bit(data, config):
    """Unknown actions hold what must not be seen, here NaN; windows reach beyond their episode, not into the next."""
    lengths = data.draw(st.lists(st.integers(1, 25), min_size=1, max_size=4))
    rng = np.random.default_rng(sum(lengths))
    known = [rng.random(length) < 0.8 for length in lengths]
    actions = [np.where(k[:, None], rng.normal(size=(len(k), 2)), np.nan).astype(np.float32) for k in known]
    windows = [(e, start) for e, length in enumerate(lengths) for start in range(length)]
    wanted = np.array(data.draw(st.lists(st.sampled_from(windows), min_size=1, max_size=6)))
    chunks, masks = ChunkTable(actions, known, config).at(wanted[:, 0], wanted[:, 1])
    for (episode, start), chunk, mask in zip(wanted.tolist(), chunks, masks, strict=True):
        frames = config.frames(lengths[episode], start)
        expected, counts = chunks_at(actions[episode], known[episode], frames, config.chunk)
        assert chunk.tobytes() == expected.tobytes()
        assert mask.tolist() == counts.tolist()


@given(config=CONFIGS, known=st.lists(st.booleans(), min_size=1, max_size=25))
def test_valid_entries_count_each_windows_mask(make_episode, config, known):
    episode = make_episode(actions=len(known), known=np.array(known))
    expected = []
    for start in config.starts(len(known)):
        chunks = slow_chunks(episode.actions, known, config.frames(len(known), start).tolist(), config.chunk)
        expected.append(sum(entry is not None for row in chunks for entry in row))
    assert valid_entries(episode, config).tolist() == expected


def test_drop_refuses_short_episodes_by_name(make_episode):
    episodes = [make_episode("long", 17), make_episode("short", 16), make_episode("tiny", 3)]
    with pytest.raises(UserError, match=r"at least 17 frames.*2 of 3 are shorter: short \(16\), tiny \(3\)"):
        refuse_short(episodes, WindowConfig(ends="drop"))
    refuse_short(episodes, WindowConfig(ends="pad"))
    refuse_short(episodes[:1], WindowConfig(ends="drop"))


@pytest.mark.parametrize("name", ["window", "chunk", "stride"])
def test_sizes_are_positive(name):
    with pytest.raises(ValueError, match=f"data.{name} must be at least 1, got 0"):
        WindowConfig(**{name: 0})
