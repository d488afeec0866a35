"""Wilson's intervals, bounds, what cases count, the page; and a small sample of the first generator's rates."""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from mobile_vla.analysis.figures.power import load_power
from mobile_vla.analysis.pairs.reading import NOTHING, ONLY_PROGRESS, PARTLY, SAME, SINGLE, UNDECIDED
from mobile_vla.analysis.planted.store import Policy
from mobile_vla.analysis.planted.worlds import World
from mobile_vla.analysis.report.words import METHODS
from mobile_vla.analysis.sample import BINS
from mobile_vla.core.levels import ALPHA, DESCRIPTIONS, VERDICTS
from validation.case import Case, cover, covered
from validation.detectable import find_detectable
from validation.first.cases import spike_strength
from validation.first.pairs import (
    ALIKE,
    NOT_COMPARABLE,
    REFUSED,
    Shared,
    answer,
    decoding,
    drift,
    misaligned,
)
from validation.first.stores import actionable, copied_episodes, discriminative, one_class, preserving
from validation.outcome import P_SMALL, YES, Interval, Outcome, happened
from validation.rates import ALWAYS, COVERS, NEVER, NULL, SIZE, Bound, Rate, floor

DOCS = Path(__file__).parents[2] / "docs"


def read_page(file: Path) -> dict[str, dict[str, float]]:
    """ "group: case" of the first generator -> answer -> percent."""
    found: dict[str, dict[str, float]] = {}
    group, answers = "", []
    for line in file.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("## "):
            group = line[3:].lower()
        elif cells[0] == "stores":
            answers = cells[2:-1]
        elif line.startswith("| ") and not group.startswith("second generator"):
            shares = [float(cell.split(" ")[0]) if cell else None for cell in cells[2 : 2 + len(answers)]]
            found[f"{group}: {cells[0]}"] = dict(zip(answers, shares, strict=True))
    return found


def rate(count: int, total: int, bound: Bound = SIZE) -> Rate:
    return Rate(what="yes", count=count, total=total, bound=bound)


def test_wilson_by_its_formula():
    z, n, p = 1.959964, 200, 0.03
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    assert rate(6, 200).interval == pytest.approx((middle - reach, middle + reach), abs=1e-6)


@pytest.mark.parametrize(
    ("count", "total", "bound", "status"),
    [
        (100, 2000, SIZE, "kept"),  # 4.1 to 6.0 %
        (2, 40, SIZE, "not refuted"),  # 1.4 to 16.5 %: too few stores, however small the share
        (0, 20, SIZE, "not refuted"),
        (160, 2000, SIZE, "not refuted"),
        (200, 2000, SIZE, "broken"),  # 8.8 to 11.4 %
        (4, 200, NULL, "kept"),
        (5, 200, NULL, "broken"),
        (0, 40, NULL, "not refuted"),
        (5, 40, NULL, "broken"),  # more already than 200 may have
        (40, 2000, NULL, "kept"),
        (41, 2000, NULL, "broken"),
        (60, 200, Bound(least=0.14), "kept"),
        (40, 200, Bound(least=0.24), "not refuted"),
        (4, 200, Bound(least=0.14), "broken"),
        (0, 20, NEVER, "not refuted"),
        (0, 80, NEVER, "kept"),
        (1, 2000, NEVER, "broken"),
        (80, 80, ALWAYS, "kept"),
        (79, 80, ALWAYS, "broken"),
    ],
)
def test_a_bound_is_kept_only_if_the_far_end_of_the_interval_keeps_it(count, total, bound, status):
    assert rate(count, total, bound).status == status


def test_floors_are_what_is_quoted_less_ten_points():
    assert floor(0.68) == Bound(least=0.58)
    assert floor(0.08) is None
    assert rate(5, 10).status != rate(5, 10, None).status is None


def test_coverage_is_of_the_planted_truth_or_of_the_mean_of_all_estimates():
    given = [Interval(0.0, -1.0, 1.0), Interval(1.0, 0.5, 1.5), Interval(5.0, 4.0, 6.0)]  # mean 2
    assert cover(given, None) == (0, 3)
    assert cover(given, 1.0) == (2, 3)
    assert cover([], None) == (0, 0)


def test_a_case_counts_events_and_intervals():
    inside, outside = Interval(0.3, 0.2, 0.4), Interval(0.3, 0.26, 0.34)
    outcomes = [
        Outcome(events=frozenset({YES, P_SMALL}), intervals={"statistic": inside}),
        Outcome(events=frozenset({YES}), intervals={"statistic": outside}),
        happened("no"),
    ]
    case = Case(
        name="",
        group="",
        simulate=lambda seed: outcomes[seed],
        stores=3,
        asks={P_SMALL: SIZE, covered("statistic"): COVERS},
        measured={"statistic": 0.25},
    )
    counts = case.summarize(outcomes)
    assert (counts[YES], counts["no"], counts[P_SMALL]) == ((2, 3), (1, 3), (1, 3))
    assert counts[covered("statistic")] == (1, 2)
    rates = {rate.what: rate for rate in case.rates(counts)}
    assert rates[covered("statistic")].bound == COVERS
    assert rates[YES].bound is None


@pytest.mark.parametrize(
    ("shares", "needed"),
    [((0.0, 0.4, 1.0), 2 + 2 / 3), ((0.9, 1.0, 0.9), 1.0), ((0.0, 0.9, 0.7), None), ((0.0, 0.8, 0.9), 2.0)],
)
def test_the_minimum_detectable_effect(shares, needed):
    assert find_detectable((1.0, 2.0, 3.0), shares) == (None if needed is None else pytest.approx(needed))


def test_the_spike_is_two_standard_deviations_of_the_contexts():
    assert 2.05 < spike_strength(episode_mean=True) < spike_strength(episode_mean=False) < 2.1


def find_shares(text: str) -> set[float]:
    """Every share in percent, also of ranges and lists ("4 to 7 %")."""
    runs = re.findall(r"[\d.]+(?:(?:, | to | or | and )[\d.]+)* %", text)
    return {float(number) for run in runs for number in re.findall(r"\d+(?:\.\d+)?", run)}


def test_the_methods_leave_the_rates_to_the_page_that_holds_them():
    """A rate in the report's text would be wrong as soon as a rule changes: only levels and places in an episode."""
    assert find_shares("p in 4 to 7 % of them, in 0, 2.5 and 3 %, F of .9") == {0, 2.5, 3, 4, 7}
    bins = {100 * bin / (BINS - 1) for bin in range(BINS)}
    levels = {100 * level for level in (ALPHA, VERDICTS, DESCRIPTIONS)}
    methods = dict(METHODS)
    assert {title: rates for title, text in methods.items() if (rates := find_shares(text) - bins - levels)} == {}
    assert "docs/validation.md" in methods["How often these are wrong"]


def test_the_figure_of_power_holds_the_rates_that_were_simulated():
    rates = read_page(DOCS / "validation.md")
    power = load_power()
    for verdict, name in (
        ("discriminative", "{} episodes, strength {:.3g}"),
        ("preserving", "{} episodes, strength {:.3g}"),
        ("actionable", "by instruction, {} episodes, F = {:g}"),
    ):
        for episodes, points in power[verdict].items():
            for point in points:
                of = rates[f"{verdict}: {name.format(episodes, point.strength)}"]
                assert 100 * point.share == pytest.approx(of["yes"], abs=0.051)


SPIKE = spike_strength(episode_mean=True)
BARE = World(episodes=30, width=64, progress=False, massive=False)
PROGRESS = replace(BARE, progress=True, nuisance=False, episode_sd=0.1)


@pytest.mark.parametrize(
    ("simulate", "expected"),
    [
        (partial(answer, shared=Shared(world=BARE, share=1.0)), {SAME}),
        (partial(answer, shared=Shared(world=BARE, share=0.6)), {PARTLY}),
        (partial(answer, shared=Shared(world=BARE)), {UNDECIDED, NOTHING}),
        (partial(answer, shared=Shared(world=PROGRESS)), {UNDECIDED, ONLY_PROGRESS}),
        (partial(answer, shared=Shared(world=BARE, massive=True)), {SINGLE}),
        (partial(drift, shared=Shared(world=BARE, share=1.0)), {REFUSED}),
        (partial(decoding, shared=Shared(world=replace(BARE, label=4.0, action=2.0), share=1.0)), {ALIKE}),
        (partial(misaligned, episodes=16), {NOT_COMPARABLE}),
    ],
)
def test_a_small_sample_of_what_two_stores_are_called(simulate, expected):
    assert {event for seed in range(1) for event in simulate(seed).events} <= expected


@pytest.mark.parametrize(
    ("simulate", "what", "least", "most"),
    [
        (partial(discriminative, world=World(episodes=30, width=64)), P_SMALL, 0, 2),
        (partial(discriminative, world=World(episodes=40, width=64, label=6.0)), "yes", 3, 4),
        (partial(preserving, world=World(episodes=24, width=32, action=3.0)), "yes", 3, 4),
        (partial(actionable, episodes=9, part="image", policy=Policy(image=0.0)), "yes", 0, 1),
        (partial(actionable, episodes=12, part="instruction", policy=Policy(instruction=1.0)), "yes", 3, 4),
        (partial(discriminative, world=World(episodes=40, width=64, label=SPIKE)), "no", 0, 2),
        (partial(discriminative, world=World(episodes=5, width=64, label=6.0)), "undecided", 4, 4),
        (partial(one_class, episodes=20), "undecided", 4, 4),
        (partial(copied_episodes, episodes=6, copies=5), "undecided", 4, 4),
    ],
)
def test_a_small_sample_of_the_rates(simulate, what, least, most):
    outcomes = [simulate(seed) for seed in range(4)]
    assert least <= sum(what in outcome.events for outcome in outcomes) <= most
