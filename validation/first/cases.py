"""What is simulated with the first generator: kinds of store, how many of each, and the rates they have to keep."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from mobile_vla.analysis.planted.store import Policy
from mobile_vla.analysis.planted.worlds import NOISE_AR, NOISE_SD, PREDICTED_NOISE, World
from mobile_vla.analysis.verdicts.rigour import SPIKE_SD
from validation.case import Case
from validation.first.stores import (
    actionable,
    copied_episodes,
    discriminative,
    judged,
    one_class,
    only_progress,
    preserving,
)
from validation.outcome import MISSES, NO, P_SMALL, UNDECIDED, YES
from validation.rates import ALWAYS, HIGH_POWER, NEVER, NULL, SIZE, Bound

SIZES, MANY, SOME = 2000, 400, 40  # stores of a case
AT_MARGIN, AT_SPIKE = " (exactly at the margin)", " (exactly at the spike)"
WIDTH = 512  # of contexts; simulated as 2,048 before, which takes twice as long
SECONDS = {"discriminative": 0.0075, "preserving": 0.03}  # of one store, by episode
SIGNALS = {"discriminative": (discriminative, "label"), "preserving": (preserving, "action")}


def make_cases() -> list[Case]:
    """Those with a bound to keep first."""
    cases = [*_discriminative(), *_preserving(), *_actionable(), *_whole()]
    return sorted(cases, key=lambda case: not case.asks)


def spike_strength(episode_mean: bool, frames: int = 5) -> float:
    """As many standard deviations of contexts as a spike has, or of their episode means, along a planted axis."""
    lags = np.abs(np.subtract.outer(np.arange(frames), np.arange(frames)))
    noise = NOISE_SD**2 * ((NOISE_AR**lags).mean() if episode_mean else 1.0)
    return SPIKE_SD * float(np.sqrt(1 + noise))


def _planted(verdict: str, episodes: int, strength: float, stores: int, what: str = "", **asks: Bound) -> Case:
    """Stores in which the signal of the verdict is planted. what: why this strength, where it is no point of a
    curve."""
    simulate, signal = SIGNALS[verdict]
    return Case(
        name=f"{episodes} episodes, strength {strength:.3g}{what}",
        group=verdict,
        simulate=partial(simulate, world=World(**{"episodes": episodes, "width": WIDTH, signal: strength})),
        stores=stores,
        asks={P_SMALL if name == "p" else name: bound for name, bound in asks.items()},
        seconds=SECONDS[verdict] * episodes,
        episodes=None if what else episodes,
        strength=None if what else strength,
    )


def _at_margin(verdict: str, episodes: int, stores: int, asks: Sequence[str]) -> Case:
    return Case(
        name=f"{episodes} episodes{AT_MARGIN}",
        group=verdict,
        simulate=partial(SIGNALS[verdict][0], world=World(episodes=episodes, width=WIDTH)),
        stores=stores,
        asks=dict.fromkeys(asks, SIZE),
        seconds=SECONDS[verdict] * episodes,
        at_margin=f"first {verdict} {episodes}",
    )


def _discriminative() -> list[Case]:
    case = partial(_planted, "discriminative")
    spike = spike_strength(episode_mean=True)
    return [
        case(40, 0.0, SIZES, p=SIZE, yes=NULL),
        case(100, 0.0, MANY, p=SIZE, yes=NULL),
        case(20, 0.0, MANY, p=SIZE, yes=NULL),
        *(case(episodes, strength, SOME) for episodes in (20, 40) for strength in (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)),
        *(case(100, strength, SOME) for strength in (1.0, 2.0, 3.0)),
        case(100, 4.0, 100, yes=HIGH_POWER),
        case(100, 6.0, SOME, yes=HIGH_POWER),
        _at_margin("discriminative", 40, MANY, (YES, NO)),
        _at_margin("discriminative", 100, 200, (YES, NO)),
        case(40, spike, 300, AT_SPIKE, no=SIZE),
        case(100, spike, 200, AT_SPIKE, no=SIZE),
        Case(
            name="100 episodes, coded as XOR of two axes, strength 6",
            group="discriminative",
            simulate=partial(discriminative, world=World(episodes=100, width=WIDTH, xor=6.0)),
            stores=SOME,
            asks={MISSES: HIGH_POWER, NO: SIZE, YES: SIZE},
        ),
    ]


def _preserving() -> list[Case]:
    case = partial(_planted, "preserving")
    spike = spike_strength(episode_mean=False)
    return [
        case(40, 0.0, SIZES // 2, p=SIZE, yes=NULL),
        case(20, 0.0, MANY, p=SIZE, yes=NULL),
        case(100, 0.0, SOME, p=SIZE, yes=NULL),
        *(case(episodes, strength, SOME) for episodes in (20, 40) for strength in (0.5, 1.0, 1.5, 2.0)),
        *(case(100, strength, SOME // 2) for strength in (0.5, 1.0, 1.5)),
        case(100, 2.0, SOME, yes=HIGH_POWER),
        _at_margin("preserving", 40, MANY, (YES, NO)),
        _at_margin("preserving", 100, 100, (YES, NO)),
        case(40, spike, 200, AT_SPIKE, no=SIZE),
        case(100, spike, SOME, AT_SPIKE, no=SIZE),
        *(
            Case(
                name=f"60 episodes {of} that hold progress and nothing else",
                group="preserving",
                simulate=partial(only_progress, episodes=60, differ=differ),
                stores=SOME,
                asks={YES: NULL},
            )
            for of, differ in (("of equal lengths", False), ("of different lengths", True))
        ),
    ]


def _actionable() -> list[Case]:
    def case(part: str, episodes: int, strength: float, stores: int, **asks: Bound) -> Case:
        return Case(
            name=f"by {part}, {episodes} episodes, F = {strength:g}",
            group="actionable",
            simulate=partial(
                actionable, episodes=episodes, part=part, policy=Policy(instruction=strength, image=strength)
            ),
            stores=stores,
            asks=dict(asks),
            seconds=0.03 * episodes,
            episodes=episodes if part == "instruction" else None,
            strength=strength if part == "instruction" else None,
        )

    found = []
    for part in ("instruction", "image"):
        for episodes in (9, 20, 40, 100):
            stores = 80 if episodes == 100 else 100
            found += [
                case(part, episodes, 0.0, 200 if episodes < 100 else 100, yes=NULL),
                case(part, episodes, 0.25, 200 if episodes < 100 else 80, yes=SIZE, no=SIZE),
                *(case(part, episodes, strength, SOME) for strength in (0.4, 0.6) if part == "instruction"),
                case(part, episodes, 0.8, stores, **({"yes": HIGH_POWER} if episodes == 100 else {})),
            ]
    ignored = Policy(instruction=0.0, image=0.0, jitter=10 * PREDICTED_NOISE)
    untold = Policy(instruction=0.0, image=0.8, told=False)
    return [
        *found,
        Case(
            name="by instruction, 40 episodes, ignored, actions jitter ten times as much",
            group="actionable",
            simulate=partial(actionable, episodes=40, part="instruction", policy=ignored),
            stores=MANY,
            asks={YES: NULL},
        ),
        Case(
            name="by instruction, 40 episodes, drivers do not follow their instruction",
            group="actionable",
            simulate=partial(actionable, episodes=40, part="instruction", policy=untold),
            stores=200,
            asks={UNDECIDED: HIGH_POWER},
        ),
    ]


def _whole() -> list[Case]:
    unused = partial(
        judged, world=World(episodes=100, width=WIDTH, label=4.0), policy=Policy(instruction=0.0, image=0.0)
    )
    as_xor = partial(
        judged, world=World(episodes=100, width=WIDTH, xor=6.0, action=3.0), policy=Policy(instruction=0.8, image=0.8)
    )
    whole = partial(Case, group="whole stores", stores=SOME, seconds=4.0)
    structural = partial(Case, group="whole stores", stores=80, asks={UNDECIDED: ALWAYS, YES: NEVER})
    return [
        whole(
            name="decodable but unused by the head: discriminative",
            simulate=partial(unused, verdict="discriminative"),
            asks={YES: HIGH_POWER},
        ),
        whole(
            name="decodable but unused by the head: actionable",
            simulate=partial(unused, verdict="actionable"),
            asks={NO: HIGH_POWER},
        ),
        whole(
            name="used, coded as XOR: actionable",
            simulate=partial(as_xor, verdict="actionable"),
            asks={YES: HIGH_POWER, MISSES: HIGH_POWER},
        ),
        structural(
            name="5 episodes, strength 6",
            simulate=partial(discriminative, world=World(episodes=5, width=WIDTH, label=6.0)),
        ),
        structural(name="all 40 episodes of one class", simulate=partial(one_class, episodes=40)),
        structural(
            name="6 recordings, each stored 5 times, strength 6",
            simulate=partial(copied_episodes, episodes=6, copies=5),
        ),
    ]
