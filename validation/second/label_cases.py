"""Cases about labels: nothing coded, something else than the scene coded, coded at the margin and at the spike."""

from dataclasses import replace
from functools import partial

from validation.case import Case, covered
from validation.outcome import NO, P_SMALL, UNDECIDED, YES
from validation.rates import ALWAYS, COVERS, HIGH_POWER, NEVER, NULL, SIZE, Bound
from validation.second.copies import COUNTED, MERGED, Copying, copied, unrelated
from validation.second.labels import (
    ANY_SMALL,
    ANY_YES,
    FALSE_NO,
    REPLACED,
    Labelled,
    half_stored,
    labelled,
    several_targets,
    stray_value,
    unique_sentences,
)
from validation.second.recordings import Plan
from validation.second.spectrum import Spectrum

SIZES, NULLS, MARGINS, SOME = 2000, 200, 400, 40
FOUR_DAYS = partial(Plan, days=4)
CONFOUNDED = Labelled(plan=FOUR_DAYS(episodes=100), follows="day", agree=0.9, day=1.0)
PLAIN = {episodes: Labelled(plan=Plan(episodes=episodes)) for episodes in (40, 100)}
WITHIN_DAYS = {episodes: Labelled(plan=FOUR_DAYS(episodes=episodes), day=1.0) for episodes in (40, 100)}
DETECTABLE = "a label's code, in sd along its component"
GROUP = "second generator: {}"


def make_cases() -> list[Case]:
    return [*_nulls(), *_followed(), *_margins(), *_copies(), *_power()]


def _nulls() -> list[Case]:
    case = partial(Case, group=GROUP.format("labels that nothing codes"), stores=NULLS, seconds=0.3)
    both = {YES: NULL, P_SMALL: SIZE}
    worlds = {
        "20 episodes, 1,024 dimensions": Labelled(plan=Plan(episodes=20), spectrum=Spectrum(width=1024)),
        "40 episodes, steep spectrum (k^-2)": Labelled(spectrum=Spectrum(decay=2.0)),
        "40 episodes, 10 of them of one class": Labelled(rare=0.25),
        "80 episodes, 4 classes": Labelled(plan=Plan(episodes=80), classes=4),
        "40 episodes, contexts t-distributed (3 degrees)": Labelled(tails=3.0),
        "40 episodes, days apart, label dealt within days": WITHIN_DAYS[40],
        "40 episodes, contexts drift over the day": Labelled(drift=3.0),
        "200 episodes": Labelled(plan=Plan(episodes=200)),
    }
    return [
        case(name="40 episodes", simulate=partial(labelled, world=Labelled()), stores=SIZES, asks=both),
        case(
            name="100 episodes on 4 days, 90 % of labels follow the day, days apart: within days nothing is coded",
            simulate=partial(labelled, world=CONFOUNDED),
            stores=SIZES,
            asks=both,
        ),
        case(
            name="100 episodes: a no that could have been a yes",
            simulate=partial(labelled, world=PLAIN[100]),
            asks={**both, NO: Bound(least=0.80)},
            seconds=0.2,
        ),
        *(
            case(
                name=name,
                simulate=partial(labelled, world=world),
                asks=both,
                seconds=1.5 if "200" in name else 0.6 if "1,024" in name else 0.3,
            )
            for name, world in worlds.items()
        ),
        case(
            name="40 episodes, 5 targets declared",
            simulate=partial(several_targets, world=Labelled()),
            asks={ANY_YES: NULL, ANY_SMALL: SIZE},
            stores=MARGINS,
            seconds=1.0,
        ),
    ]


def _followed() -> list[Case]:
    case = partial(Case, group=GROUP.format("labels that follow something else"), stores=NULLS, seconds=0.3)
    false = {YES: NULL}
    days = FOUR_DAYS(episodes=40)
    by_order = Plan(episodes=40, naming="number")
    return [
        case(
            name="the label is the recording day's, days in the names only",
            simulate=partial(labelled, world=Labelled(plan=days, follows="day", day=1.0)),
            asks=false,
        ),
        case(
            name="the label is that of the first half of the recordings, contexts drift, names are numbers",
            simulate=partial(labelled, world=Labelled(plan=by_order, follows="order", drift=3.0)),
            asks=false,
        ),
        case(
            name="the label is that of the first half of the recordings, contexts drift, names hold the time",
            simulate=partial(labelled, world=Labelled(follows="order", drift=3.0)),
            asks=false,
        ),
        case(
            name="the label is dealt by chance, names are numbers, coded at 5 sd: power where no session is known",
            simulate=partial(labelled, world=Labelled(plan=by_order, strength=5.0)),
            asks={YES: Bound(least=0.84)},  # the rule fires on 5 to 6 % of such data
        ),
        case(
            name="100 episodes on 4 days, the label is dealt within days, coded at 4 sd: power within days",
            simulate=partial(labelled, world=replace(WITHIN_DAYS[100], strength=4.0)),
            asks={YES: HIGH_POWER},
            stores=100,
        ),
        case(
            name="the label is which half of the episode was stored",
            simulate=partial(half_stored, world=Labelled(clock=12.0)),
            asks=false,
        ),
        case(
            name="every sentence is unique, the label is one of its words",
            simulate=partial(unique_sentences, world=Labelled()),
            asks=false,
        ),
        case(
            name="90 % of labels follow the day, own code .7 sd",
            simulate=partial(labelled, world=replace(CONFOUNDED, strength=0.7, at=2)),
            asks=false,
        ),
        case(
            name="no label follows the day, own code .7 sd",
            simulate=partial(labelled, world=Labelled(plan=FOUR_DAYS(episodes=100), day=1.0, strength=0.7, at=2)),
            asks=false,
        ),
        case(
            name="one of about 240 rows holds a stray value of the scenario",
            simulate=partial(stray_value, world=Labelled(plan=Plan(stored=5))),
            asks={REPLACED: NEVER},
            stores=100,
        ),
    ]


def _margins() -> list[Case]:
    group = GROUP.format("labels at the margin and at the spike")
    case = partial(Case, group=group, asks={YES: SIZE, NO: SIZE, covered("statistic"): COVERS})
    weak = Spectrum(width=1024)
    return [
        *(
            case(
                name=f"{episodes} episodes, {what} (exactly at the margin)",
                simulate=partial(labelled, world=worlds[episodes]),
                stores=MARGINS,
                seconds=0.0075 * episodes,
                at_margin=f"{name} {episodes}",
                measured={"statistic": None},
            )
            for what, name, worlds in (
                ("one day", "second discriminative", PLAIN),
                ("four days", "second sessions", WITHIN_DAYS),
            )
            for episodes in (40, 100)
        ),
        case(
            name="100 episodes, 2 sd along component 500 of 1,024",
            simulate=partial(labelled, world=Labelled(plan=Plan(episodes=100), spectrum=weak, at=499, strength=2.0)),
            asks={FALSE_NO: SIZE},
            stores=120,
            seconds=5.0,
        ),
        *(
            case(
                name=f"{episodes} episodes, 2 sd along component {at} of 96",
                simulate=partial(labelled, world=Labelled(plan=Plan(episodes=episodes), at=at - 1, strength=2.0)),
                asks={FALSE_NO: SIZE},
                stores=MARGINS,
                seconds=0.0075 * episodes,
            )
            for episodes, at in ((40, 4), (40, 32), (100, 32))
        ),
    ]


def _copies() -> list[Case]:
    case = partial(Case, group=GROUP.format("copies"), seconds=0.3)
    kinds = {
        "2 % noise": Copying(),
        "10 % noise": Copying(noise=0.1),
        "2 % noise, all begin at the same frame": Copying(shift=0),
        "2 % noise, 30 % cut from the end": Copying(cut=0.3),
    }
    return [
        *(
            case(
                name=f"10 recordings, each stored 4 times, begun up to {how.shift} frames later, {what}"
                if how.shift
                else f"10 recordings, each stored 4 times, {what}",
                simulate=partial(copied, how=how),
                stores=100,
                asks={YES: NEVER, COUNTED: HIGH_POWER},
            )
            for what, how in kinds.items()
        ),
        *(
            case(
                name=f"40 unrelated episodes, every frame stored, {what}",
                simulate=partial(unrelated, episodes=40, width=width, decay=decay),
                stores=NULLS,
                asks={MERGED: NULL},
                seconds=0.2,
            )
            for what, width, decay in (
                ("96 dimensions", 96, 1.0),
                ("256 dimensions", 256, 1.0),
                ("2 effective dimensions", 96, 2.5),
            )
        ),
        case(
            name="10 episodes, coded at 6 sd: fewer than 8 a class",
            simulate=partial(labelled, world=Labelled(plan=Plan(episodes=10), strength=6.0)),
            stores=100,
            asks={UNDECIDED: ALWAYS},
        ),
    ]


def _power() -> list[Case]:
    return [
        Case(
            name=f"label, {episodes} episodes, {strength:g} sd",
            group=GROUP.format("minimum detectable effects"),
            simulate=partial(labelled, world=Labelled(plan=Plan(episodes=episodes), strength=strength)),
            stores=SOME,
            asks={YES: HIGH_POWER} if strength >= 8 and episodes >= 40 else {},
            seconds=0.0075 * episodes,
            episodes=episodes,
            strength=strength,
            detectable=DETECTABLE,
        )
        for episodes in (20, 40, 100)
        for strength in (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
    ]
