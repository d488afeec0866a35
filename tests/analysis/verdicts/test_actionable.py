"""Whether a policy follows: along what an expert would do, by episodes, against a rewording, and not by jitter."""

import json

import numpy as np
import pytest

from mobile_vla.analysis.planted.store import PlantedStore, Policy, plant_store
from mobile_vla.analysis.planted.worlds import World
from mobile_vla.analysis.sample import take_sample
from mobile_vla.analysis.verdicts.actionable.verdict import judge_actionable
from mobile_vla.analysis.verdicts.rigour import Rigour

NARROW = World(episodes=40, width=16, action=3.0)  # contexts hold what the scene calls for
QUICK = Rigour(deals=3)


def judge(policy: Policy, world: World = NARROW, seed: int = 0):
    return judge_actionable(take_sample(plant_store(world, seed, policy)), rigour=QUICK)


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
    assert "following the instruction cannot be measured: " in part.why
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
    verdict = judge(Policy(instruction=0.8, image=0.8), World(episodes=12, width=16, action=3.0))
    assert verdict.parts["image"].verdict == "undecided"
    assert "6 pairs of episodes" in verdict.parts["image"].why


def test_a_policy_that_any_other_words_move_as_far_does_not_follow():
    """A policy that goes the other way at any other wording does not follow."""
    store = plant_store(NARROW, 0, Policy(instruction=0.8, image=0.8))
    predicted, variant = store.column("predicted"), store.column("variant")
    changed = predicted.copy()
    changed[variant == "paraphrase"] = predicted[variant == "swap"]
    part = judge_actionable(take_sample(edit(store, predicted=changed))).parts["instruction"]
    assert part.verdict == "no"
    assert part.statistic == pytest.approx(0, abs=1e-6)
    assert "paraphrase to swap" in part.why
    assert part.details["F"]["own instruction to swap"]["F"] == pytest.approx(0.8, abs=0.25)


def test_without_paraphrases_that_is_said():
    store = plant_store(NARROW, 0, Policy(instruction=0.8, image=0.8))
    variant = np.where(store.column("variant") == "paraphrase", "other", store.column("variant"))
    part = judge_actionable(take_sample(edit(store, variant=variant))).parts["instruction"]
    assert part.verdict == "yes"
    assert any("fewer than 8 episodes have a paraphrase stored" in note for note in part.notes)


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
    assert "rows compared does a number of context change when it is replaced" in verdict.parts["instruction"].why
    assert "rows compared" not in verdict.parts["image"].why


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


def test_a_policy_that_turns_one_way_only_is_no_yes_and_the_sentence_says_which():
    found = [judge(Policy(instruction=1.0, to_left=0.0), seed=seed).parts["instruction"] for seed in range(8)]
    assert all(part.ci[0] > part.margin for part in found)  # of both ways together it follows
    assert [part.verdict for part in found].count("yes") == 0
    assert all("told left, following is not shown" in part.why for part in found)
    assert not any("told right, following is not shown" in part.why for part in found)
    assert all(part.n_needed is None for part in found)


def test_a_swap_that_changes_nothing_beside_a_paraphrase_that_overshoots_is_no_yes():
    """Less the paraphrase's, F is .5 in all of them."""
    for seed in range(4):
        part = judge(Policy(instruction=0.0, reworded=-0.5), seed=seed).parts["instruction"]
        assert part.verdict != "yes"
        assert part.details["F"]["paraphrase to swap"]["F"] > 0.3


def test_the_best_policy_is_no_no_by_image_where_the_scene_explains_little():
    world = World(episodes=100, width=32, action=3.0)
    found = [judge(Policy(image=1.0, scene=0.2), world, seed).parts["image"].verdict for seed in range(2)]
    assert found.count("no") == 0
    assert found.count("yes") >= 1


def test_scenes_that_make_no_difference_that_is_seen_leave_the_image_undecided():
    """A policy that rightly ignores them is no no."""
    parts = [judge(Policy(image=0.0), World(episodes=40, width=16), seed).parts["image"] for seed in range(6)]
    assert [part.verdict for part in parts].count("undecided") >= 5
    unpredicted = [part for part in parts if part.statistic is None]
    assert len(unpredicted) >= 4
    assert all("is not shown by these 20 pairs of episodes" in part.why for part in unpredicted)
    assert all(part.n_needed is None and part.unit == "pairs of episodes" for part in unpredicted)


def test_a_no_says_how_much_following_is_shown_and_never_that_there_is_none():
    part = judge(Policy(instruction=0.0, image=0.1), World(episodes=100, width=16, action=3.0)).parts["image"]
    assert part.verdict == "no"
    assert "F is below 0.25: 0." in part.why
    assert "some following is shown" in part.why
    assert "do not go" not in part.why
    none = judge(Policy(instruction=0.0, image=0.0)).parts["instruction"]
    assert none.verdict == "no"
    assert "that it follows at all is not shown (p = " in none.why
    assert "90 % interval [" in none.why


def test_experts_that_hardly_differ_leave_the_instruction_undecided():
    """F divides by how differently drivers act: with noise that large its interval has no end."""
    store = plant_store(World(episodes=20, width=16), 0, Policy(instruction=0.8))
    noise = 6 * np.random.default_rng(0).standard_normal((20, 1, 2))
    names = sorted(set(store.column("episode")))
    of_row = np.array([names.index(name) for name in store.column("episode")])
    part = judge_actionable(take_sample(edit(store, action=store.column("action") + noise[of_row]))).parts
    assert part["instruction"].verdict == "undecided"


def test_still_pictures_decide_nothing():
    """`blank` and `mean` are unlike any picture of the data: they move policies that ignore the scene too."""
    store = plant_store(NARROW, 0, Policy(image=0.8))
    still = np.where(store.column("variant") == "donor", "blank", store.column("variant"))
    verdict = judge_actionable(take_sample(edit(store, variant=still)), rigour=QUICK)
    assert verdict.parts["image"].verdict == "undecided"
    assert "no rows of donor are stored" in verdict.parts["image"].why
