"""The paired difference on matched stores: the same probe, the same folds, whatever the order of the rows."""

from dataclasses import replace

import numpy as np
import pytest

from mobile_vla.analysis.pairs.matching import Matching, match_stores
from mobile_vla.analysis.pairs.paired_decoding import find_differences
from mobile_vla.analysis.verdicts.rigour import Rigour
from tests.analysis.conftest import write_store
from tests.analysis.planted_store import Wanted, write_planted

RIGOUR = Rigour(permutations=99, spikes=60, deals=2)


def differences(left, right):
    matching = match_stores(left, right)
    assert isinstance(matching, Matching), matching
    return find_differences(matching, "context", ("scenario",), RIGOUR)[0]


def test_what_only_one_store_holds(tmp_path):
    full = write_planted(tmp_path / "full", Wanted(swap=False))
    empty = write_planted(tmp_path / "empty", Wanted(label=0, action=0, swap=False))
    found = differences(full, empty)
    assert list(found) == ["scenario", "next action chunk"]
    assert {one.verdict for one in found.values()} == {"left better"}
    turned = differences(empty, full)
    assert {one.verdict for one in turned.values()} == {"right better"}
    swaps = [of["next action chunk"].swap_test for of in (found, turned)]
    assert [one.p for one in swaps] == [0.01, 0.01]  # none of 99 exchanges
    assert swaps[0].value == pytest.approx(-swaps[1].value)
    assert swaps[0].value > 0.1


def test_where_the_actions_follow_from_progress_nothing_is_compared(tmp_path):
    """Rounding leaves squares that are not zero, and one of two models explains more of them."""
    names, progress = np.repeat([f"e{index:02d}" for index in range(20)], 5), np.tile(np.linspace(0, 1, 5), 20)
    actions = np.broadcast_to(np.sqrt(progress)[:, None, None], (100, 3, 2))
    rng = np.random.default_rng(0)

    def write(name):
        vectors = {"context": rng.standard_normal((100, 16))}
        return write_store(tmp_path / name, vectors, names, np.tile(range(5), 20), progress, actions=actions)

    matching = match_stores(write("a"), write("b"))
    assert isinstance(matching, Matching)
    found, reasons = find_differences(matching, "context", (), RIGOUR)
    assert not found
    assert "no variance of these chunks is left" in reasons["next action chunk"]


def test_a_label_on_which_the_two_contradict_each_other_is_not_compared(tmp_path):
    stores = [write_planted(tmp_path / name, Wanted(swap=False)) for name in "ab"]
    matching = match_stores(*stores)
    assert isinstance(matching, Matching)
    found, reasons = find_differences(replace(matching, contradicted={"scenario": 3}), "context", ("scenario",), RIGOUR)
    assert "scenario" not in found
    assert "contradict each other on it in 3 episodes" in reasons["scenario"]


def test_a_store_with_itself_differs_in_nothing(tmp_path):
    full = write_planted(tmp_path / "full", Wanted(swap=False))
    found = differences(full, write_planted(tmp_path / "again", Wanted(swap=False)))
    assert [one.value for one in found.values()] == [0, 0]
    assert {one.verdict for one in found.values()} == {"alike"}
    assert found["next action chunk"].swap_test.p == 1


def test_scores_that_are_known_change_nothing(tmp_path):
    quick = replace(RIGOUR, deals=1)
    stores = [
        write_planted(tmp_path / str(label), Wanted(episodes=20, width=16, label=label, swap=False))
        for label in (4, 2, 1)
    ]
    scores = {}
    for left, right in ((0, 1), (0, 2), (1, 2)):
        matching = match_stores(stores[left], stores[right])
        assert isinstance(matching, Matching)
        together = find_differences(matching, "context", ("scenario",), quick, scores)[0]
        alone = find_differences(matching, "context", ("scenario",), quick)[0]
        assert {target: one.value for target, one in together.items()} == {t: one.value for t, one in alone.items()}
    assert len(scores) == 3 * len(together)  # of each store and target once
