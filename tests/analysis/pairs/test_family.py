"""More questions make it harder to call a store better, and only those that were declared count."""

import numpy as np
import pytest

from mobile_vla.analysis.pairs.decoding_difference import Difference, compare_r2
from mobile_vla.analysis.pairs.family import adjust


def difference(rng: np.random.Generator, better: float = 0.0) -> Difference:
    """Errors whose paired t has the null distribution after widening by 1.5, where better is 0."""
    apart = np.random.default_rng(rng.integers(2**32)).standard_normal(30)
    apart += 1.5 * apart.std(ddof=1) / np.sqrt(30) * rng.standard_t(29) - apart.mean() + better
    return compare_r2(10 - apart / 2, 10 + apart / 2, np.full(30, 20.0), np.full(30, 20.0))


def report(rng: np.random.Generator, stores: int, targets: int = 2) -> dict:
    names = [f"s{place}" for place in range(stores)]
    return {
        (one, other): {f"t{target}": difference(rng) for target in range(targets)}
        for place, one in enumerate(names)
        for other in names[place + 1 :]
    }


@pytest.mark.parametrize("stores", [2, 3, 5])
def test_of_equal_stores_hardly_a_report_calls_any_better(stores):
    rng = np.random.default_rng(stores)
    found = [adjust(report(rng, stores)) for _ in range(60)]
    better = [any(one.verdict.endswith("better") for pair in told.values() for one in pair.values()) for told in found]
    assert np.mean(better) <= 0.08
    alone = [any(one.p_raw <= 0.05 for pair in told.values() for one in pair.values()) for told in found]
    assert np.mean(alone) > (0.05 if stores == 2 else 0.2)


def test_the_adjustment_is_holms_over_pairs_and_targets():
    told = adjust(report(np.random.default_rng(0), 3))
    flat = sorted((one for pair in told.values() for one in pair.values()), key=lambda one: one.p_raw)
    expected = np.minimum(np.maximum.accumulate([one.p_raw * (6 - rank) for rank, one in enumerate(flat)]), 1)
    assert [one.p for one in flat] == pytest.approx(expected.tolist())
    assert {one.questions for one in flat} == {6}


def test_a_store_outside_of_the_declared_ones_changes_nothing():
    rng = np.random.default_rng(1)
    few = {("s0", "s1"): {"t0": difference(rng, 0.8), "t1": difference(rng)}}
    alone = adjust(few)[("s0", "s1")]
    more = adjust({**report(rng, 4), **few}, ["s0", "s1"])
    assert alone["t0"].verdict == "left better"
    assert more["s0", "s1"] == alone
    others = [one for pair, told in more.items() if pair != ("s0", "s1") for one in told.values()]
    assert {(one.verdict, one.exploratory) for one in others} == {("undecided", True)}


def test_what_could_not_be_asked_does_not_count():
    few = np.ones(5)
    found = {("a", "b"): {"t0": difference(np.random.default_rng(0), 0.8), "t1": compare_r2(few, few, few, few)}}
    told = adjust(found)["a", "b"]
    assert told["t0"].p == told["t0"].p_raw
    assert told["t1"].value is None
    assert "5 episodes" in told["t1"].why
