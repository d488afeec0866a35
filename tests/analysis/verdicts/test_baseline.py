"""What is removed before anything is asked of a context."""

from dataclasses import replace

import numpy as np

from mobile_vla.analysis.planted.worlds import World
from mobile_vla.analysis.verdicts.preserving.baseline import make_baseline, meanings_of, say_left_out
from tests.analysis.verdicts.planted_sample import plant_sample


def in_span(columns: np.ndarray, values: np.ndarray) -> bool:
    return bool(np.allclose(columns @ np.linalg.lstsq(columns, values, rcond=None)[0], values, atol=1e-8))


def test_any_function_of_the_text_and_any_cubic_in_progress_are_removed():
    sample, _ = plant_sample(World(episodes=16, width=16))
    texts = np.arange(16) % 5
    sample = replace(sample, instruction=tuple(f"text {text}" for text in texts))
    found = make_baseline(sample)
    assert found.exact
    assert found.kept.all()
    progress = sample.progress
    of_text = np.random.default_rng(0).standard_normal((5, 4))[texts[sample.episode]]
    assert in_span(found.columns, (of_text * progress[:, None] ** np.arange(4)).sum(axis=1))
    assert not in_span(found.columns, np.sin(20 * progress) * (sample.episode % 3))


def test_texts_of_one_episode_are_left_out_and_counted():
    sample, _ = plant_sample(World(episodes=16, width=16))
    texts = tuple(f"text {index if index < 3 else 'shared'}" for index in range(16))
    found = make_baseline(replace(sample, instruction=texts))
    assert found.exact
    assert found.kept.tolist() == [False] * 3 + [True] * 13
    assert say_left_out(found).startswith("3 of 16 episodes left out")


def test_where_every_text_is_unique_the_meaning_is_removed_and_nothing_is_exact():
    sample, _ = plant_sample(World(episodes=16, width=16))
    texts = tuple(f"{text} {index}" for index, text in enumerate(sample.instruction))
    found = make_baseline(replace(sample, instruction=texts))
    assert not found.exact
    assert len(set(found.text.tolist())) == 2
    assert "means" in found.beyond
    assert not make_baseline(replace(sample, instruction=texts, labels={})).text.any()


def test_what_is_not_known_is_named():
    sample, _ = plant_sample(World(episodes=16, width=16))
    found = make_baseline(replace(sample, instruction=("",) * 16, labels={}))
    assert found.beyond == "progress"
    assert found.unknown == "the instructions are not known"
    sessions = replace(sample, session=np.arange(16) // 4)
    assert make_baseline(sessions).beyond == "progress and instruction"
    known = make_baseline(replace(sessions, sessions_known=True))
    assert known.beyond == "progress, instruction and session"
    assert in_span(known.columns, (sample.episode // 4 == 2) * (1 + sample.progress))


def test_blocks_are_text_and_session():
    sample, _ = plant_sample(World(episodes=16, width=16))
    sample = replace(sample, session=np.arange(16) // 8, sessions_known=True)
    blocks = make_baseline(sample).blocks
    pairs = list(zip(sample.instruction, sample.session.tolist(), strict=True))
    assert len(set(blocks.tolist())) == len(set(pairs))


def test_rare_meanings_are_one_together():
    sample, _ = plant_sample(World(episodes=40, width=16))
    several = replace(sample, instruction=tuple(f"{text} {index}" for index, text in enumerate(sample.instruction)))
    assert len(set(meanings_of(several).tolist())) == 2
    assert len(set(meanings_of(replace(several, labels={})).tolist())) == 1
