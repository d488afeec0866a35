"""Cases about what a policy follows: instructions and pictures, ignored, followed one way, at the margin."""

from collections.abc import Mapping
from functools import partial

from validation.case import Case, covered
from validation.outcome import NO, YES
from validation.rates import COVERS, HIGH_POWER, NULL, SIZE, Bound, floor
from validation.second.chunks import Driven
from validation.second.policies import IMAGE, INSTRUCTION, Follower, followed
from validation.second.recordings import Plan

NULLS, MARGINS, POWER, SOME = 200, 200, 80, 40
MARGIN = 0.25
GROUP = "second generator: {}"
DETECTABLE = "F of the instruction (0 ignores it, 1 follows)"
OPTIMAL = {0.1: 0.69, 0.2: 0.94}  # share of the actions' variance that the scene explains -> yes that was quoted


def make_cases() -> list[Case]:
    return [*_instruction(), *_image(), *_power()]


def _world(episodes: int, held: float = 0.0) -> Driven:
    return Driven(plan=Plan(episodes=episodes), held=held)


def _instruction() -> list[Case]:
    def case(name: str, episodes: int, stores: int, asks: Mapping[str, Bound], **policy: float) -> Case:
        at_margin = "at the margin" in name
        return Case(
            name=f"{episodes} episodes, {name}",
            group=GROUP.format("policies and instructions"),
            simulate=partial(followed, part=INSTRUCTION, policy=Follower(world=_world(episodes), **policy)),
            stores=stores,
            asks=asks,
            seconds=0.025 * episodes,
            measured={"statistic": MARGIN} if at_margin else {},
        )

    margin = {YES: SIZE, NO: SIZE, covered("statistic"): COVERS}
    return [
        *(case("ignored", episodes, NULLS, {YES: NULL}, swap=0.0) for episodes in (12, 20, 40)),
        *(
            case("followed by .25 (exactly at the margin)", episodes, MARGINS, margin, swap=MARGIN)
            for episodes in (20, 40)
        ),
        case("followed by .8", 20, POWER, {YES: HIGH_POWER}, swap=0.8),
        case("followed by .8", 40, POWER, {YES: HIGH_POWER}, swap=0.8),
        case("the swap changes nothing, the paraphrase overshoots", 40, NULLS, {YES: NULL}, swap=0.0, paraphrase=-0.5),
        case(
            "any other text moves it half way, the paraphrase as well", 40, NULLS, {YES: NULL}, swap=0.5, paraphrase=0.5
        ),
        case("turns left into right, not right into left", 40, NULLS, {YES: NULL}, swap=1.0, back=0.0),
        case("ignored, predictions jitter", 40, NULLS, {YES: NULL}, swap=0.0, jitter=0.3),
    ]


def _image() -> list[Case]:
    def case(name: str, episodes: int, stores: int, asks: Mapping[str, Bound], held: float, picture: float) -> Case:
        return Case(
            name=f"{episodes} episodes, {name}",
            group=GROUP.format("policies and pictures"),
            simulate=partial(followed, part=IMAGE, policy=Follower(world=_world(episodes, held), picture=picture)),
            stores=stores,
            asks=asks,
            seconds=0.05 * episodes,
            measured={"statistic": MARGIN} if picture == MARGIN else {},
        )

    margin = {YES: SIZE, NO: SIZE, covered("statistic"): COVERS}
    found = []
    for episodes, stores in ((40, NULLS), (100, 60)):
        found += [
            case("the scene explains 50 %, ignored", episodes, stores, {YES: NULL}, 0.5, 0.0),
            case("50 %, followed by .25 (exactly at the margin)", episodes, stores, margin, 0.5, MARGIN),
        ]
        for held, quoted in OPTIMAL.items():
            yes = floor(quoted) if episodes == 100 else None
            asks = {NO: SIZE} | ({YES: yes} if yes else {})
            found.append(
                case(f"the best policy, the scene explains {100 * held:g} %", episodes, stores, asks, held, 1.0)
            )
    return found


def _power() -> list[Case]:
    return [
        Case(
            name=f"instruction, {episodes} episodes, F = {strength:g}",
            group=GROUP.format("minimum detectable effects"),
            simulate=partial(followed, part=INSTRUCTION, policy=Follower(world=_world(episodes), swap=strength)),
            stores=SOME,
            seconds=0.025 * episodes,
            episodes=episodes,
            strength=strength,
            detectable=DETECTABLE,
        )
        for episodes in (20, 40)
        for strength in (0.35, 0.5, 0.7)
    ]
