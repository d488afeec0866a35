"""Whether a policy follows: along what an expert would do, by episodes, against a rewording, and not by jitter."""

import json

import numpy as np
import pytest

from mobile_vla.analysis.planted.store import PlantedStore, Policy, plant_store
from mobile_vla.analysis.planted.worlds import World
from mobile_vla.analysis.sample import take_sample
from mobile_vla.analysis.verdicts.actionable import judge_actionable

NARROW = World(episodes=40, width=16)


def judge(policy: Policy, world: World = NARROW, seed: int = 0):
    return judge_actionable(take_sample(plant_store(world, seed, policy)))


def edit(store: PlantedStore, **columns) -> PlantedStore:
    """Columns of the store replaced, whatever the table says."""
    own = store.column

    def column(name: str) -> np.ndarray:
        return columns[name] if name in columns else own(name)

    store.column = column  # type: ignore[method-assign]
    return store


def test_a_policy_that_follows_is_a_yes_one_that_ignores_a_no():
    follows = judge(Policy(instruction=0.8, image=0.8))
    assert follows.verdict == "yes"
    assert {name: part.verdict for name, part in follows.parts.items()} == {"image": "yes", "instruction": "yes"}
    assert follows.parts["instruction"].statistic == pytest.approx(0.8, abs=0.25)
    ignores = judge(Policy(instruction=0.0, image=0.0))
    assert {part.verdict for part in ignores.parts.values()} == {"no"}


def test_the_part_that_is_not_followed_decides():
    verdict = judge(Policy(instruction=0.0, image=0.8))
    assert (verdict.verdict, verdict.target) == ("no", "instruction")
    assert "by image yes" in verdict.why
    assert "by instruction no" in verdict.why


def test_jitter_is_not_following():
    """How far the actions move would say yes of every one of them."""
    for seed in range(4):
        assert judge(Policy(instruction=0.0, image=0.0, jitter=0.3), seed=seed).verdict != "yes"


def test_what_the_data_cannot_show_is_undecided():
    verdict = judge(Policy(instruction=0.8, image=0.8, told=False))
    part = verdict.parts["instruction"]
    assert part.verdict == verdict.verdict == "undecided"
    assert "the recorded actions do not depend on the instruction" in part.why
    assert verdict.parts["image"].verdict == "yes"


def test_a_part_without_rows_is_left_to_the_other_and_named():
    verdict = judge(Policy(instruction=0.8))
    assert (verdict.verdict, verdict.parts["image"].verdict) == ("yes", "undecided")
    assert any("by image: no rows of donor are stored" in note for note in verdict.notes)
    assert "no rows" in judge(Policy()).why


def test_without_predictions_nothing_can_be_said():
    verdict = judge_actionable(take_sample(plant_store(NARROW, 0)))
    assert verdict.verdict == "undecided"
    assert {name: part.verdict for name, part in verdict.parts.items()} == {
        "image": "undecided",
        "instruction": "undecided",
    }
    assert "no predicted chunks" in verdict.why


def test_few_episodes_are_undecided():
    verdict = judge(Policy(instruction=0.8, image=0.8), World(episodes=12, width=16))
    assert verdict.parts["image"].verdict == "undecided"
    assert "6 pairs of episodes" in verdict.parts["image"].why


def test_what_other_words_do_is_subtracted():
    """A policy that goes the other way at any other wording does not follow."""
    store = plant_store(NARROW, 0, Policy(instruction=0.8, image=0.8))
    predicted, variant = store.column("predicted"), store.column("variant")
    changed = predicted.copy()
    changed[variant == "paraphrase"] = predicted[variant == "swap"]
    part = judge_actionable(take_sample(edit(store, predicted=changed))).parts["instruction"]
    assert part.verdict == "no"
    assert part.statistic == pytest.approx(0, abs=1e-6)
    assert part.baselines["paraphrase"] == pytest.approx(0.8, abs=0.25)


def test_without_paraphrases_that_is_said():
    store = plant_store(NARROW, 0, Policy(instruction=0.8, image=0.8))
    variant = np.where(store.column("variant") == "paraphrase", "other", store.column("variant"))
    part = judge_actionable(take_sample(edit(store, variant=variant))).parts["instruction"]
    assert part.verdict == "yes"
    assert any("hardly any paraphrase is stored" in note for note in part.notes)


def test_contexts_that_do_not_change_at_all_are_not_wired():
    store = plant_store(NARROW, 0, Policy(instruction=0.0, image=0.0, jitter=0.0))
    keys = list(zip(store.column("episode"), store.column("frame").tolist(), store.column("variant"), strict=True))
    place = {key: row for row, key in enumerate(keys)}
    vectors = store.vectors().copy()
    for row, (name, frame, variant) in enumerate(keys):
        if variant == "swap":
            vectors[row] = vectors[place[name, frame, "own"]]
    store._vectors = {"context": vectors}
    verdict = judge_actionable(take_sample(store))
    assert "not wired" in verdict.parts["instruction"].why
    assert "not wired" not in verdict.parts["image"].why


def test_a_donor_of_all_is_one_group_and_decides_nothing():
    store = plant_store(NARROW, 0, Policy(image=0.8))
    shown = store.column("shown_episode")
    changed = np.array([None if name is None else "episode_0000" for name in shown], object)
    part = judge_actionable(take_sample(edit(store, shown_episode=changed))).parts["image"]
    assert (part.verdict, part.n) == ("undecided", 1)


def test_the_interval_covers_the_truth_with_experts_learnt_from_few():
    """A t on the episodes' values would miss that all share the experts' errors: it covers about 70 %."""
    covered = []
    for seed in range(16):
        part = judge(Policy(instruction=0.8), World(episodes=20, width=16), seed).parts["instruction"]
        if part.ci is not None:
            covered.append(part.ci[0] <= 0.8 <= part.ci[1])
    assert len(covered) > 11
    assert np.mean(covered) > 0.75


@pytest.mark.parametrize("policy", [None, Policy(), Policy(instruction=0.0), Policy(instruction=0.8, image=0.3)])
def test_every_verdict_is_plain_json(policy):
    for episodes in (5, 14, 24):
        verdict = judge_actionable(take_sample(plant_store(World(episodes=episodes, width=16), 0, policy)))
        json.dumps(verdict.to_plain(), allow_nan=False)
