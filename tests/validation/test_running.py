"""Which cases there are, how many stores they take, what is kept between runs, and the page."""

import json
from dataclasses import replace
from multiprocessing.pool import ThreadPool

import pytest

from mobile_vla.core.errors import UserError
from validation.calibration import Calibration, make_calibrations, solve
from validation.case import Case
from validation.outcome import Interval, Outcome, happened
from validation.rates import NULL
from validation.report import find_power, make_page, save_power
from validation.results import Found, Results
from validation.simulation import Amount, list_cases, simulate


def of_seed(seed: int) -> Outcome:
    return happened("yes" if seed % 2 else "no")


def at_strength(seed: int, strength: float) -> Outcome:
    return Outcome(events=frozenset(), intervals={"statistic": Interval(strength**2, 0.0, 1.0)})


def case(name: str, stores: int) -> Case:
    return Case(name=name, group="group", simulate=of_seed, stores=stores, asks={"yes": NULL})


def test_every_case_has_a_name_of_its_own_and_its_calibration():
    cases, known = list_cases(), make_calibrations()
    assert len({case.key for case in cases}) == len(cases) > 200
    assert {case.at_margin for case in cases if case.at_margin} == set(known)
    assert {case.key for case in list_cases("COPIES")} < {case.key for case in cases}


def test_a_quick_run_takes_every_case_and_few_stores():
    quick = [case.count(1.0, quick=True) for case in list_cases()]
    assert min(quick) == 1
    assert max(quick) <= 8
    seconds = sum(case.count(1.0, quick=True) * case.seconds for case in list_cases())
    assert seconds < 2 * 600


def test_the_planted_truths_of_the_independent_check_are_all_there():
    keys = " ; ".join(case.key for case in list_cases())
    for truth in (
        "the label is the recording day's, days in the names only",
        "light and speed drift over 5 days",
        "contexts of the text alone, 8 texts x 5",
        "10 episodes of a trained policy",
        "2 equal models",
        "3 equal models",
        "5 equal models",
        "2 sd along component 500 of 1,024",
        "the swap changes nothing, the paraphrase overshoots",
        "the best policy, the scene explains 10 %",
        "turns left into right, not right into left",
        "10 recordings, each stored 4 times",
        "which half of the episode was stored",
        "every sentence is unique",
        "90 % of labels follow the day",
        "stray value",
        "ten seeds of the folds",
        "three corrupted episodes in common",
        "more beside two stores",
    ):
        assert truth in keys


def test_an_interrupted_validation_continues(tmp_path):
    file = tmp_path / "results.jsonl"
    with ThreadPool(1) as pool:
        done = list(simulate([case("a", 6), case("b", 4)], pool, Results(file, keep=False), Amount()))
        assert [one.counts["yes"] for _, one in done] == [(3, 6), (2, 4)]
        lines = file.read_text().splitlines(keepends=True)
        file.write_text("".join(lines[:2]) + lines[2][:20])  # killed while the second case was written
        results = Results(file, keep=True)
        assert list(results.cases) == ["group: a"]
        again = {case.name: one for case, one in simulate([case("a", 6), case("b", 4)], pool, results, Amount())}
    assert again["b"].counts["yes"] == (2, 4)
    assert [json.loads(line).get("case") for line in file.read_text().splitlines()] == [None, "group: a", "group: b"]
    assert list(Results(file, keep=False).cases) == []


def test_only_stores_that_are_missing_are_simulated(tmp_path):
    results = Results(tmp_path / "results.jsonl", keep=False)
    asked = []
    with ThreadPool(1) as pool:
        for one in (Amount(quick=True), Amount()):
            list(
                simulate(
                    [replace(case("a", 99), simulate=lambda seed: asked.append(seed) or of_seed(seed))],
                    pool,
                    results,
                    one,
                )
            )
    assert sorted(asked) == list(range(99))
    assert results.cases["group: a"].counts["yes"] == (49, 99)


def test_a_mean_over_all_stores_is_that_of_all(tmp_path):
    def outcome(seed: int) -> Outcome:
        return Outcome(events=frozenset(), intervals={"it": Interval(seed, seed - 1.0, seed + 1.0)})

    results = Results(tmp_path / "results.jsonl", keep=False)
    measured = replace(case("a", 101), simulate=outcome, measured={"it": None})
    with ThreadPool(1) as pool:
        for one in (Amount(quick=True), Amount()):
            list(simulate([measured], pool, results, one))
    assert results.cases["group: a"].counts["it: interval covers"] == (3, 101)  # 49, 50 and 51


def test_results_of_other_code_are_refused(tmp_path):
    file = tmp_path / "results.jsonl"
    Results(file, keep=False)
    head = json.loads(file.read_text())
    file.write_text(json.dumps({**head, "sources": "of another version"}) + "\n")
    with pytest.raises(UserError, match="run it again without --continue"):
        Results(file, keep=True)


def test_a_calibration_finds_the_strength_at_the_margin():
    calibration = Calibration(simulate=at_strength, between=(0.0, 1.0), margin=0.25)
    with ThreadPool(1) as pool:
        assert solve(calibration, pool, 30) == pytest.approx(0.5, abs=0.01)


def test_the_page_names_every_case_and_what_is_broken(tmp_path):
    cases = list_cases()
    yes = [happened("yes", "p <= .05")] * 10
    found = [(case, Found(stores=10, counts=case.summarize(yes), seconds=5.0)) for case in cases]
    page = make_page(found, dict.fromkeys(make_calibrations(), 1.0), "python -m validation", 7200.0)
    assert all(f"| {case.name} |" in page for case in cases)
    assert "2.0 hours" in page
    assert "## What is not known" in page
    assert "**yes at most 4 of 200: broken**" in page
    assert (
        "- discriminative: 40 episodes, strength 0: yes in 100.0 (72.2 to 100.0) %, expected at most 4 of 200" in page
    )
    assert "episodes: 1.00" in page
    assert "From which strength on" in page
    assert {verdict: sorted(of) for verdict, of in find_power(found).items()} == {
        "discriminative": [20, 40, 100],
        "preserving": [20, 40, 100],
        "actionable": [9, 20, 40, 100],
    }
    save_power(found, tmp_path / "power.json")
    assert json.loads((tmp_path / "power.json").read_text())["actionable"]["9"][0] == [0.0, 1.0, 0.7225, 1.0]
