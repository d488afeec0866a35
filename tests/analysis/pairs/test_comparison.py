"""Stores whose difference is known, compared from their folders: what is said, and that it is what was planted."""

import json

import numpy as np
import pytest

from mobile_vla.analysis.pairs.comparison import MEASURES, compare_all, compare_pair
from mobile_vla.analysis.pairs.decoding_difference import compare_r2
from mobile_vla.analysis.pairs.reading import NOTHING, ONLY_PROGRESS, UNDECIDED
from tests.analysis.clouds import draw, turn
from tests.analysis.conftest import write_store

BASE = {"base": "abc"}
RAMP = 34 * np.linspace(0, 1, 5)


@pytest.fixture
def compare(tmp_path):
    def run(left, right, left_prints=BASE, right_prints=BASE, **settings):
        stores = [
            write_planted(tmp_path / name, vectors, prints)
            for name, vectors, prints in (("left", left, left_prints), ("right", right, right_prints))
        ]
        return compare_pair(*stores, **{"permutations": 49, **settings})

    return run


def write_planted(folder, vectors, prints=BASE):
    episodes, bins = vectors.shape[:2]
    frames = list(range(bins)) * episodes
    names = [f"e{e:03d}" for e in range(episodes) for _ in range(bins)]
    flat = vectors.reshape(episodes * bins, -1)
    return write_store(
        folder, {"context": flat}, names, frames, [frame / (bins - 1) for frame in frames], fingerprints=prints
    )


def test_a_turned_copy_is_the_same_and_its_drift_is_refused_where_the_basis_is_not_known(compare):
    left = draw(0)
    found = compare(left, turn(left), right_prints={})
    assert found.answer == "the same up to a rotation"
    assert {"cka", "mutual_knn", "procrustes"} <= found.measures.keys()
    assert all(found.measures[name].value > 0.99 for name in ("cka", "mutual_knn", "procrustes"))
    assert found.to_plain()["drift"] is None
    assert "no fingerprint of the base weights in B" in found.reasons["drift"]
    assert any("needs turning before it reads the other" in text for text in found.says)


def test_one_shape_with_less_in_it_is_not_called_the_same(compare):
    """Almost all of the variance may be shared, and the little that a policy needs be in one of the two alone."""
    rng = np.random.default_rng(0)
    base = rng.uniform(1, 2, 40)
    left = draw(0)
    found = compare(left, turn(left), decoding={"next action": compare_r2(0.2 * base, 0.9 * base, base, base)})
    assert found.answer == "the same up to a rotation, but A tells more of next action"
    assert found.says[0].startswith("The same up to a rotation, but A tells more of next action: CKA")


def test_a_turned_copy_in_a_shared_basis_moved_far(compare):
    left = draw(0)
    drift = compare(left, turn(left)).measures["drift"]
    assert drift.ci[0] > 0.9
    assert drift.ceiling.value == pytest.approx(np.sqrt(2), abs=0.2)


def test_little_further_training_moves_little(compare):
    left = draw(0)
    found = compare(left, left + 0.1 * draw(5))
    assert found.measures["drift"].value < 0.2 < 1 < found.measures["drift"].ceiling.value
    assert found.answer == "the same up to a rotation"


def test_independent_models_have_nothing_in_common(compare):
    found = compare(draw(0, episodes=150), draw(1, episodes=150))
    assert found.answer == NOTHING
    assert not any(found.measures[name].above_chance for name in ("cka", "cka_z", "mutual_knn", "procrustes"))
    assert found.says[0].startswith("Nothing in common is shown beyond permuted episodes: CKA ")
    assert "(90 % intervals; that one is above chance is not shown)" in found.says[0]


def test_what_shares_progress_alone_is_never_called_alike(compare):
    left, right = draw(0, episodes=150), draw(1, episodes=150)
    left[:, :, 7] += RAMP
    right[:, :, 3] += RAMP
    found = compare(left, right)
    assert found.answer == ONLY_PROGRESS
    assert found.progress[0] > 0.7
    assert found.progress[1] == pytest.approx(found.progress[0], abs=0.05)
    assert abs(found.measures["cka"].value) < 0.05
    assert any("Both follow progress" in text for text in found.says)


def test_one_massive_dimension_is_named_and_taken_out(compare):
    left, right = draw(0), draw(1)
    shared = 34 * np.random.default_rng(9).normal(size=(40, 1))
    left[:, :, 7] += shared
    right[:, :, 3] += shared
    found = compare(left, right)
    assert found.measures["cka"].value > 0.9
    assert abs(found.measures["cka_z"].value) < 0.1
    assert (list(found.dominance.left), list(found.dominance.right)) == ([7], [3])
    assert abs(found.dominance.without) < 0.1
    assert found.answer == "alike in single dimensions only"
    assert any("because of dimension 7 of A" in text and "without, raw CKA is" in text for text in found.says)


def test_a_turned_copy_with_a_massive_dimension_is_still_the_same(compare):
    left = draw(0)
    left[:, :, 7] += 34 * np.random.default_rng(9).normal(size=(40, 1))
    found = compare(left, turn(left))
    assert found.measures["cka"].value - found.measures["cka_z"].value > 0.1
    assert not found.dominance.explains
    assert found.answer == "the same up to a rotation"


def test_a_massive_dimension_of_one_side_hides_what_both_share(compare):
    left = draw(0)
    right = left.copy()
    right[:, :, 3] += 60 * np.random.default_rng(9).normal(size=(40, 1))
    found = compare(left, right)
    assert found.dominance.raw < 0.3 < 0.9 < found.dominance.z
    assert (found.dominance.left, list(found.dominance.right), found.dominance.explains) == ({}, [3], True)
    assert found.answer == "partly alike"


def test_models_that_agree_in_part_say_so(compare):
    shared = draw(3, episodes=80)
    found = compare(shared + draw(0, episodes=80), turn(shared + draw(1, episodes=80)))
    assert found.answer == "partly alike"
    assert 0.1 < found.measures["cka"].value < 0.6


def test_json_holds_every_measure_or_a_reason(compare):
    rng = np.random.default_rng(0)
    difference = compare_r2(rng.gamma(5, 1, 40), rng.gamma(5, 1, 40), np.full(40, 9.0), np.full(40, 9.0))
    plain = json.loads(json.dumps(compare(draw(0), draw(1), decoding={"next action": difference}).to_plain()))
    for name in (*MEASURES, "decoding_difference"):
        assert {"value", "ci", "floor", "ceiling"} <= plain[name].keys()
        assert plain[name]["ci"][0] <= plain[name]["value"] <= plain[name]["ci"][1]
    assert plain["matching"]["rows"] == {"matched": 200, "left": 200, "right": 200}
    assert plain["reasons"] == {}
    assert any(text.startswith("Decoding next action:") for text in plain["says"])


def test_without_a_measure_its_place_is_null_and_the_reason_is_there(compare):
    plain = json.loads(json.dumps(compare(draw(0, episodes=9), draw(1, episodes=9), tap="pixels").to_plain()))
    assert all(plain[name] is None and "no tap 'pixels'" in plain["reasons"][name] for name in MEASURES)
    assert plain["reasons"]["decoding_difference"].startswith("nothing was decoded")


def test_a_store_without_structure_has_reasons_instead(compare):
    found = compare(draw(0), np.arange(40, dtype=np.float32)[:, None, None] * 0 + np.ones((40, 5, 96), np.float32))
    assert "at least 8 episodes" in found.reasons["cka"]  # forty exact copies are one episode


def test_several_stores_are_compared_two_by_two(tmp_path):
    stores = [write_planted(tmp_path / str(seed), draw(seed, episodes=12, width=10)) for seed in range(3)]
    found = compare_all(stores, permutations=19)
    assert [(one.left[-1], one.right[-1]) for one in found] == [("0", "1"), ("0", "2"), ("1", "2")]


def test_unrelated_stores_that_share_broken_recordings_are_not_called_alike(compare):
    left, right = draw(0, episodes=100), draw(1, episodes=100)
    far = 12 * np.random.default_rng(9).normal(size=(2, 96)).astype(np.float32)
    left[:3] = far[0] + 0.3 * left[:3]
    right[:3] = far[1] + 0.3 * right[:3]
    found = compare(left, right)
    assert found.measures["cka"].value > 0.8
    assert found.answer in (NOTHING, UNDECIDED)
    assert found.outliers.episodes == ("e000", "e001", "e002")
    plain = json.loads(json.dumps(found.to_plain()))["outliers"]
    assert abs(plain["cka_without"]["value"]) < 0.1
    assert any(text.startswith("3 episodes lie (e000, e001, e002) far from all others") for text in found.says)


def test_sentences_call_the_stores_by_their_names(compare):
    rng = np.random.default_rng(0)
    base = rng.uniform(1, 2, 40)
    difference = compare_r2(0.2 * base, 0.9 * base, base, base, names=("run_7", "run_8"))
    left, right = draw(0), draw(1)
    left[:, :, 7] += 34 * rng.normal(size=(40, 1))
    found = compare(left, right, right_prints={}, names=("run_7", "run_8"), decoding={"next action": difference})
    told = [*found.says, found.answer, found.matching.sentence, *found.reasons.values()]
    told += [measure.floor.how + measure.ceiling.how for measure in found.measures.values()]
    told += [one.of for one in found.familiar.values()]
    assert "run_7 tells more of next action" in found.answer
    assert not any("left" in text.replace("left out", "") or "right" in text for text in told)
