"""Cases about the next action chunk: nothing beyond text and progress, exactly the margin, and what is quoted."""

from functools import partial

from validation.case import Case, covered
from validation.outcome import NO, P_SMALL, YES
from validation.rates import COVERS, NULL, SIZE, floor
from validation.second.chunks import Driven, driven
from validation.second.recordings import Plan
from validation.second.spectrum import Spectrum

SIZES, NULLS, MARGINS, SOME = 2000, 200, 300, 30
GROUP = "second generator: {}"
DETECTABLE = "share of the chunk's variance that contexts hold"
BARE = partial(Driven, noise=0.05)  # contexts that hold text and progress and next to nothing else
QUOTED = {  # share that contexts hold -> episodes -> yes, of two other generators
    0.3: {12: 0.08, 20: 0.07, 40: 0.24, 100: 0.68},
    0.5: {12: 0.25, 20: 0.44, 40: 0.72, 100: 1.0},
}
AT_MARGIN = {episodes: Driven(plan=Plan(episodes=episodes), pixels=True) for episodes in (40, 100)}


def make_cases() -> list[Case]:
    return [*_nulls(), *_margins(), *_power()]


def _nulls() -> list[Case]:
    case = partial(Case, group=GROUP.format("chunks of which contexts hold nothing"), seconds=0.5)
    both = {YES: NULL, P_SMALL: SIZE}
    newcomer = {episodes: BARE(plan=Plan(episodes=episodes), predicted=True) for episodes in (10, 12, 14, 16, 20, 40)}
    worlds = {
        "40 episodes, 1,024 dimensions": (Driven(spectrum=Spectrum(width=1024)), NULLS),
        "40 episodes, drivers do not follow their instruction": (Driven(follow=False), NULLS),
        "16 episodes": (Driven(plan=Plan(episodes=16)), NULLS),
        "100 episodes": (Driven(plan=Plan(episodes=100)), 80),
        "40 episodes, contexts of the text alone, 8 texts x 5": (BARE(texts=8, clock=0.0, deviation=0.4), NULLS * 2),
        "40 episodes, contexts of text and progress, 8 texts x 5": (BARE(texts=8, deviation=0.4), NULLS),
        "40 episodes, light and speed drift over 5 days, days in the names only": (
            Driven(plan=Plan(days=5), light=2.0, deviation=0.25),
            NULLS,
        ),
    }
    return [
        case(
            name="40 episodes, much else in the contexts",
            simulate=partial(driven, world=Driven()),
            stores=300,
            asks=both,
        ),
        *(
            case(
                name=f"{episodes} episodes of a trained policy, contexts of text and progress, 2 texts",
                simulate=partial(driven, world=world),
                stores={12: SIZES, 40: SIZES // 2}.get(episodes, NULLS),
                asks=both,
                seconds=0.03 * episodes,
            )
            for episodes, world in newcomer.items()
        ),
        *(
            case(
                name=name,
                simulate=partial(driven, world=world),
                stores=stores,
                asks=both,
                seconds=3.0 if "100 episodes" in name else 1.3,
            )
            for name, (world, stores) in worlds.items()
        ),
    ]


def _margins() -> list[Case]:
    """A no needs pixels that tell the actions; where contexts hold nothing of what these do, it is expected."""
    return [
        *(
            Case(
                name=f"{episodes} episodes, pictures tell half of the chunk, contexts nothing",
                group=GROUP.format("chunks at the margin"),
                simulate=partial(driven, world=Driven(plan=Plan(episodes=episodes), held=0.5, scene=0.0, pixels=True)),
                stores=60,
                asks={YES: NULL},
                seconds=0.03 * episodes,
            )
            for episodes in (20, 40, 100)
        ),
        *(_at_margin(episodes, world) for episodes, world in AT_MARGIN.items()),
    ]


def _at_margin(episodes: int, world: Driven) -> Case:
    return Case(
        name=f"{episodes} episodes (exactly at the margin)",
        group=GROUP.format("chunks at the margin"),
        simulate=partial(driven, world=world),
        stores=MARGINS if episodes < 100 else 120,
        asks={YES: SIZE, NO: SIZE, covered("statistic"): COVERS},
        seconds=0.03 * episodes,
        at_margin=f"second preserving {episodes}",
        measured={"statistic": None},
    )


def _power() -> list[Case]:
    shares = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9)
    found = []
    for episodes in (12, 20, 40, 100):
        for share in shares if episodes > 12 else QUOTED:
            quoted = QUOTED.get(share, {}).get(episodes)
            bound = None if quoted is None else floor(quoted)
            found.append(
                Case(
                    name=f"chunk, {episodes} episodes, {100 * share:g} % held",
                    group=GROUP.format("minimum detectable effects"),
                    simulate=partial(driven, world=Driven(plan=Plan(episodes=episodes), held=share)),
                    stores=SOME if quoted is None else NULLS if episodes < 100 else 80,
                    asks={YES: bound} if bound else {},
                    seconds=0.03 * episodes,
                    episodes=episodes,
                    strength=share,
                    detectable=DETECTABLE,
                )
            )
    return found
