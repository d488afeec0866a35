"""Actions beyond progress and instruction: found where they are planted, and in nothing that merely knows the time."""

import json
from dataclasses import replace

import numpy as np
import pytest

from mobile_vla.analysis.planted.store import Policy, as_store
from mobile_vla.analysis.planted.worlds import World, plant
from mobile_vla.analysis.sample import take_sample
from mobile_vla.analysis.verdicts.preserving.verdict import judge_preserving
from mobile_vla.analysis.verdicts.rigour import Rigour
from tests.analysis.verdicts.planted_sample import plant_sample, with_actions

RIGOUR = Rigour(permutations=199, spikes=60, deals=4)


def telling(sample) -> dict[str, np.ndarray]:
    """Pixels that show what the actions depend on."""
    actions = np.asarray(sample.actions)[:, 0]
    return {"pixels": actions + 0.1 * np.random.default_rng(0).standard_normal(actions.shape)}


def test_planted_actions_are_a_yes_and_none_are_a_no():
    yes, found = judge_preserving(*plant_sample(World(episodes=40, width=256, action=2.0)), RIGOUR)
    assert (yes.verdict, yes.p_yes, yes.n) == ("yes", 1 / 200, 40)
    assert found is not None
    sample, vectors = plant_sample(World(episodes=40, width=256))
    no, _ = judge_preserving(sample, vectors, RIGOUR, telling(sample))
    assert no.verdict == "no"
    assert "a linear probe on 40 episodes" in no.why
    assert no.p_no is not None
    assert no.p_no <= 0.05


def test_a_component_that_never_changes_is_no_number_in_json():
    sample, vectors = plant_sample(World(episodes=20, width=64, action=2.0))
    actions = np.asarray(sample.actions).copy()
    actions[..., 0] = 1.0
    verdict, _ = judge_preserving(with_actions(sample, actions), vectors, RIGOUR)
    assert verdict.details["by_component"][0] is None
    json.dumps(verdict.to_plain(), allow_nan=False)


@pytest.mark.parametrize("differ", [False, True], ids=["equal lengths", "different lengths"])
def test_contexts_that_only_know_progress_are_never_a_yes(differ):
    """Actions that follow from progress up to a little noise. Of episodes of different lengths, frames lie off the
    bins' middles, and a context knows by how much."""
    rng = np.random.default_rng(0)
    planted = plant(World(episodes=40, width=64, nuisance=False, episode_sd=0.05), 0)
    shift = differ * rng.uniform(-0.1, 0.1, (40, 1)) * np.sin(np.pi * planted.progress)
    progress = planted.progress + shift
    direction = rng.standard_normal(64).astype(np.float32)
    planted = replace(
        planted,
        vectors=planted.vectors + 10 * shift[..., None].astype(np.float32) * direction,
        actions=np.stack([progress, -progress], axis=-1) + 0.02 * rng.standard_normal((40, 5, 2)),
    )
    sample = take_sample(as_store(planted, 0, Policy(told=False), progress))
    verdict, found = judge_preserving(sample, sample.vectors("context"), RIGOUR)
    assert found is not None
    assert verdict.verdict != "yes"
    assert found.r2 < 0.1


def test_missing_bins_and_episodes_of_three_frames():
    planted = plant(World(episodes=40, width=64, action=2.0), 0)
    store = as_store(planted, 0)
    sample = take_sample(store)
    kept = ~((sample.bin == 1) & (sample.episode > 2)) & ~((sample.bin > 2) & (sample.episode % 3 == 0))
    sample = replace(sample, rows=sample.rows[kept], episode=sample.episode[kept], bin=sample.bin[kept])
    verdict, found = judge_preserving(sample, sample.vectors("context"), RIGOUR)
    assert found is not None
    assert np.isfinite(found.r2)
    assert verdict.verdict == "yes"


def test_without_pixels_no_is_out_of_reach_and_other_taps_change_nothing():
    sample, vectors = plant_sample(World(episodes=40, width=256))
    blind = {"image_tokens": np.random.default_rng(0).standard_normal((200, 30))}
    for images in ({}, blind):
        verdict, _ = judge_preserving(sample, vectors, RIGOUR, images)
        assert (verdict.verdict, verdict.at_double, verdict.n_needed) == ("undecided", "undecided", None)
        assert "probe again (pixels are stored by default)" in verdict.why
    both = telling(sample) | blind
    assert judge_preserving(sample, vectors, RIGOUR, both)[0].verdict == "no"


def test_pixels_that_tell_no_more_make_a_no_undecided():
    sample, vectors = plant_sample(World(episodes=40, width=256))
    verdict, _ = judge_preserving(sample, vectors, RIGOUR, {"pixels": np.random.default_rng(0).random((200, 30))})
    assert verdict.verdict == "undecided"
    assert verdict.at_double == "undecided"
    assert "the pixels themselves are not shown to tell more" in verdict.why
    verdict, _ = judge_preserving(sample, vectors, RIGOUR, telling(sample))
    assert verdict.verdict == "no"
    assert verdict.baselines["pixels"] > 0.5


def only_texts(num_texts: int, seed: int):
    """Contexts that are a function of text and progress and nothing else, actions that depend on both."""
    sample, _ = plant_sample(World(episodes=40, width=16), seed)
    rng = np.random.default_rng(seed)
    texts = rng.permutation(np.arange(40) % num_texts)
    sample = replace(sample, instruction=tuple(f"text {text}" for text in texts), labels={})
    of_text = texts[sample.episode]
    steps = np.stack([np.ones_like(sample.progress), sample.progress, sample.progress**2], axis=1)
    vectors = np.einsum("nf,nfd->nd", steps, rng.standard_normal((num_texts, 3, 32))[of_text])
    actions = np.einsum("nf,nfa->na", steps, rng.standard_normal((num_texts, 3, 2))[of_text])
    actions = actions + 0.5 * rng.standard_normal((40, 2))[sample.episode]
    return with_actions(sample, actions[:, None]), vectors.astype(np.float32)


@pytest.mark.parametrize("num_texts", [2, 8, 20])
def test_contexts_of_the_text_alone_are_never_a_yes(num_texts):
    for seed in range(3):
        verdict, found = judge_preserving(*only_texts(num_texts, seed), RIGOUR)
        assert verdict.verdict != "yes"
        assert found is not None
        assert found.ci[0] < 0.05


def test_unique_texts_are_exploratory():
    sample, vectors = plant_sample(World(episodes=40, width=128, action=3.0))
    unique = replace(sample, instruction=tuple(f"{text} {index}" for index, text in enumerate(sample.instruction)))
    verdict, found = judge_preserving(unique, vectors, RIGOUR, telling(sample))
    assert verdict.verdict == "undecided"
    assert "exploratory" in verdict.why
    assert found is not None
    assert found.r2 > 0.3
    some = replace(sample, instruction=("one of its own", *sample.instruction[1:]))
    verdict, _ = judge_preserving(some, vectors, RIGOUR)
    assert (verdict.verdict, verdict.n) == ("yes", 39)
    assert any(note.startswith("1 of 40 episodes left out") for note in verdict.notes)


def drifting(known: bool):
    """Light and speed drift from day to day, within days nothing depends on anything."""
    sample, vectors = plant_sample(World(episodes=40, width=64))
    day = np.arange(40) // 8
    effect = np.array([-1.5, 1.0, -0.5, 1.5, 0.0])[day][sample.episode]
    vectors = vectors + 3 * effect[:, None] * np.random.default_rng(0).standard_normal(64)
    sample = with_actions(
        replace(sample, session=day, sessions_known=known, order=np.arange(40)),
        np.asarray(sample.actions) + effect[:, None, None],
    )
    return sample, vectors.astype(np.float32)


def test_drift_over_days_is_no_content():
    verdict, found = judge_preserving(*drifting(known=True), RIGOUR)
    assert verdict.verdict != "yes"
    assert found is not None
    assert found.r2 < 0.1
    verdict, found = judge_preserving(*drifting(known=False), RIGOUR)
    assert found is not None
    assert found.ci[0] > 0.1
    assert verdict.verdict == "undecided"
    assert "not separable from the recording order" in verdict.why


def test_what_is_not_known_is_in_the_sentence():
    sample, vectors = plant_sample(World(episodes=40, width=128, action=3.0), policy=Policy(told=False))
    verdict, _ = judge_preserving(replace(sample, instruction=("",) * 40, labels={}), vectors, RIGOUR)
    assert verdict.verdict == "yes"
    assert "of what progress leaves (the instructions are not known)" in verdict.why
    assert any("recording sessions are not known" in note for note in verdict.notes)


@pytest.mark.parametrize(
    ("episodes", "change", "why"),
    [
        (7, {}, "7 episodes; at least 8 are needed"),
        (40, {"session": np.arange(40), "sessions_known": True}, "there is nothing to permute"),
    ],
)
def test_what_cannot_be_measured_is_undecided(episodes, change, why):
    sample, vectors = plant_sample(World(episodes=episodes, width=32, action=2.0))
    verdict, found = judge_preserving(replace(sample, **change), vectors, RIGOUR)
    assert (verdict.verdict, found) == ("undecided", None)
    assert why in verdict.why


def test_actions_that_follow_from_progress_leave_nothing():
    sample, vectors = plant_sample(World(episodes=20, width=32))
    same = np.repeat(sample.bin.astype(float), 2).reshape(-1, 1, 2)
    verdict, _ = judge_preserving(with_actions(sample, same), vectors, RIGOUR)
    assert "no variance of these chunks is left" in verdict.why
    verdict, _ = judge_preserving(with_actions(sample, None), vectors, RIGOUR)
    assert "the store holds no actions" in verdict.why
