"""Cases about several models on the same episodes, and about what no answer may depend on."""

from functools import partial

from mobile_vla.analysis.pairs.reading import PARTLY, SAME
from validation.case import Case, covered
from validation.outcome import P_SMALL
from validation.rates import COVERS, NEVER, SIZE, STEADY, Bound, floor
from validation.second.chunks import Driven
from validation.second.models import ALIKE, CHUNK_BETTER, FIRST_BETTER, SOME_BETTER, SWAP_SMALL, Models, compared
from validation.second.recordings import Plan
from validation.second.stability import (
    ANY_DIFFERS,
    PIXELS,
    SECOND_DIFFERS,
    STORE,
    TAP,
    TARGET,
    Near,
    added,
    seeds,
)

GROUP = "second generator: {}"
MEASURES = dict.fromkeys(("cka", "mutual_knn", "decoding difference"))
QUOTED = 0.21  # of "better" at 40 episodes for a difference of .12
QUOTED_SWAP = 0.37  # of the swap test's p <= .05, likewise


def make_cases() -> list[Case]:
    return [*_equal(), *_unequal(), *_stable()]


def _equal() -> list[Case]:
    case = partial(Case, group=GROUP.format("equal models"), answers=(SAME, PARTLY, CHUNK_BETTER, P_SMALL))
    intervals = {covered(name): COVERS for name in MEASURES}
    return [
        *(
            case(
                name=f"2 equal models, each with noise of its own, {episodes} episodes",
                simulate=partial(
                    compared, models=Models(world=Driven(plan=Plan(episodes=episodes), held=0.5, codes=0))
                ),
                stores=stores,
                asks={P_SMALL: SIZE, CHUNK_BETTER: SIZE, SOME_BETTER: SIZE, SWAP_SMALL: SIZE, **intervals},
                seconds=0.07 * episodes,
                measured={**MEASURES, "decoding difference": 0.0},
            )
            for episodes, stores in ((20, 200), (40, 300), (100, 60))
        ),
        *(
            case(
                name=f"{number} equal models, each with noise of its own, 40 episodes",
                simulate=partial(compared, models=Models(number=number)),
                stores=stores,
                asks={SOME_BETTER: SIZE},
                seconds=2.5 * number,
            )
            for number, stores in ((3, 80), (5, 40))
        ),
    ]


def _unequal() -> list[Case]:
    case = partial(
        Case, group=GROUP.format("unequal models"), answers=(SAME, PARTLY, CHUNK_BETTER, FIRST_BETTER, ALIKE)
    )
    power = floor(QUOTED)
    better: dict[str, Bound | None] = {FIRST_BETTER: power, SWAP_SMALL: floor(QUOTED_SWAP)}
    return [
        case(
            name="the first holds .12 more of the next chunk, 40 episodes",
            simulate=partial(compared, models=Models(world=Driven(held=0.6, codes=0), faithful=(1.0, 0.8))),
            stores=150,
            asks=better,
            seconds=3.0,
            measured=dict.fromkeys(MEASURES),
        ),
        case(
            name="unrelated, three corrupted episodes in common, 40 episodes",
            simulate=partial(compared, models=Models(world=Driven(), share=0.0, corrupted=3)),
            stores=76,
            asks={SAME: NEVER, PARTLY: NEVER},
            seconds=3.0,
        ),
        case(
            name="unrelated, 40 episodes",
            simulate=partial(compared, models=Models(world=Driven(), share=0.0)),
            stores=76,
            asks={SAME: NEVER, PARTLY: SIZE},
            seconds=3.0,
        ),
    ]


def _stable() -> list[Case]:
    case = partial(Case, group=GROUP.format("what no answer may depend on"), answers=())
    near = (
        ("discriminative", "a label coded at 0 to 4 sd", (0.0, 4.0), 0.25),
        ("preserving", "0 to 80 % held", (0.0, 0.8), 0.6),
    )
    changes: tuple[tuple[int, str, int, dict[str, Bound | None]], ...] = (
        (2, "two", 200, {SECOND_DIFFERS: STEADY}),
        (10, "ten", 40, {ANY_DIFFERS: None}),
    )
    return [
        *(
            case(
                name=f"{verdict}, 40 episodes, {what}, {told} seeds of the folds",
                simulate=partial(seeds, near=Near(verdict=verdict, models=Models(), between=between), number=number),
                stores=stores,
                asks=asks,
                seconds=number * seconds,
            )
            for verdict, what, between, seconds in near
            for number, told, stores, asks in changes
        ),
        case(
            name="more beside two stores of 24 episodes",
            simulate=partial(added, models=Models(world=Driven(plan=Plan(episodes=24), held=0.5), label=2.0)),
            stores=76,
            asks={STORE: NEVER, TAP: NEVER, TARGET: NEVER, PIXELS: NEVER},
            seconds=12.0,
        ),
    ]
