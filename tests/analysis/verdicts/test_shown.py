"""F by pairs of episodes that lent each other their pictures, along what the judged tap predicts."""

import numpy as np
import pytest

from mobile_vla.analysis.planted.store import PlantedStore, Policy, plant_store
from mobile_vla.analysis.planted.worlds import World
from mobile_vla.analysis.sample import take_sample
from mobile_vla.analysis.verdicts.actionable.following import match_variant
from mobile_vla.analysis.verdicts.actionable.shown import NOT_STORED, NOT_THE_SAME, measure_image
from mobile_vla.analysis.verdicts.rigour import Rigour

SEEN = World(episodes=40, width=32, action=3.0)
RIGOUR = Rigour(deals=2)


def measure(store: PlantedStore):
    sample = take_sample(store)
    return measure_image(sample, match_variant(sample, "donor"), "context", RIGOUR)


def edit(store: PlantedStore, **columns) -> PlantedStore:
    own = store.column
    store.column = lambda name: columns[name] if name in columns else own(name)
    return store


def test_episodes_that_lend_to_each_other_count_once():
    found = measure(plant_store(SEEN, 0, Policy(image=0.8)))
    assert len(found.units) == 20
    assert all(" and " in unit for unit in found.units)
    assert not found.dropped


def test_the_best_policy_scores_1_however_little_the_scene_explains():
    """Along one donor's recorded chunk, which is mostly this driver's own reasons, it would score .2."""
    found = [
        measure(plant_store(World(episodes=80, width=32, action=3.0), seed, Policy(image=1.0, scene=0.2)))
        for seed in range(4)
    ]
    estimates = [one.ratio.estimate for one in found]
    assert np.mean(estimates) == pytest.approx(1.0, abs=0.25)
    assert np.mean([one.explained for one in found]) < 0.3


def test_contexts_without_the_scene_predict_nothing():
    found = [measure(plant_store(World(episodes=40, width=32), seed, Policy(image=0.8))) for seed in range(6)]
    assert sum(one.ratio.measurable for one in found) <= 2
    assert abs(np.mean([one.explained for one in found])) < 0.1


def test_another_tap_changes_nothing():
    store = plant_store(SEEN, 0, Policy(image=0.8))
    alone = measure(store)
    store._vectors = {**store._vectors, "pixels": np.random.default_rng(0).standard_normal((len(store), 8))}
    beside = measure(store)
    assert beside.ratio.above == alone.ratio.above
    np.testing.assert_array_equal(beside.ratio.covariance, alone.ratio.covariance)


def test_donors_that_are_not_stored_or_were_asked_for_something_else_are_left_out_and_counted():
    store = plant_store(SEEN, 0, Policy(image=0.8))
    shown = store.column("shown_episode").copy()
    rows = np.flatnonzero([name is not None for name in shown])
    names, texts = store.column("episode"), store.column("instruction")
    other = next(name for name, text in zip(names, texts, strict=True) if text != texts[rows[0]])
    shown[rows[:5]], shown[rows[5:10]] = "elsewhere", other if texts[rows[5]] == texts[rows[0]] else names[rows[0]]
    found = measure(edit(store, shown_episode=shown))
    assert found.dropped == {NOT_STORED: 5, NOT_THE_SAME: 5}


def test_of_a_donor_the_stored_row_nearest_to_the_frame_shown_is_used():
    """A probe of a picture between two stored frames: a frame off by one is still the same row."""
    exact = measure(plant_store(SEEN, 0, Policy(image=0.8)))
    store = plant_store(SEEN, 0, Policy(image=0.8))
    frames = store.column("shown_frame").copy()
    known = np.array([name is not None for name in store.column("shown_episode")])
    frames[known] = frames[known] + 1
    near = measure(edit(store, shown_frame=frames))
    assert near.ratio.estimate == pytest.approx(exact.ratio.estimate)
