"""What variants add to a probe, told before it runs: rows to store, and passes of the decoder, where the time goes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mobile_vla.core.batch import OWN
from mobile_vla.data.requests import WindowRequest
from mobile_vla.interventions.catalog import MISSING, WIRING, Variant
from mobile_vla.probing.plans import SamplingPlan
from mobile_vla.sources.schema import Episode
from mobile_vla.taps.places import starts_of

MEAN_ROW = "mean row"  # as the source of a subspace's part: all own contexts once more


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of the variants that were asked for together, as one name.

    variants  how many they are;  episodes, of_episodes  of the plan that they can be had of, and all
    rows      that are stored on top of the own ones
    passes    (frame, text) pairs that the decoder runs for on top; overlapping windows of two passes count once
    """

    spelled: str
    variants: int
    episodes: int
    of_episodes: int
    rows: int
    passes: int
    missing: str = ""

    def tell(self) -> str:
        several = f" ({self.variants} variants)" if self.variants > 1 else ""
        several += " (tests wiring, not use)" if self.spelled in WIRING else ""
        lost = self.of_episodes - self.episodes
        without = f"; {lost} without: {self.missing}" if lost else ""
        return (
            f"{self.spelled}{several}: {self.rows} rows, {self.passes} decoder passes, of {self.episodes} of "
            f"{self.of_episodes} episodes{without}"
        )


def count_costs(
    variants: Mapping[str, Variant], plan: SamplingPlan, episodes: Sequence[Episode], window: int
) -> list[Cost]:
    """One for each name that was typed, in their order; episodes: those of the assembler that the variants are of."""
    index = {episode.id: i for i, episode in enumerate(episodes)}
    needed = {  # frames that the decoder runs for
        id: {frame for start in starts_of(frames, window) for frame in range(start, start + window)}
        & set(range(episodes[index[id]].num_frames))
        for id, frames in plan.frames.items()
    }
    costs, computed = [], {OWN, *variants}  # whose contexts are there already
    for spec in dict.fromkeys(variant.spec for variant in variants.values()):
        mine = [variant for variant in variants.values() if variant.spec == spec]
        first = {id: mine[0](WindowRequest(episode=index[id], start=0)) for id in plan.frames}
        there = [id for id, changed in first.items() if changed is not None]
        source = OWN if mine[0].subspace is None else mine[0].subspace.source or MEAN_ROW
        own = sum(len(needed[id]) for id in there)
        each = own if source in computed else 2 * own
        computed.add(source)
        costs.append(
            Cost(
                spelled=spec.spelled,
                variants=len(mine),
                episodes=len(there),
                of_episodes=len(first),
                rows=len(mine) * sum(len(plan.frames[id]) for id in there),
                passes=len(mine) * each,
                missing=MISSING.get(spec.kind if source == OWN else source, ""),
            )
        )
    return costs


def describe(
    variants: Mapping[str, Variant], plan: SamplingPlan, episodes: Sequence[Episode], window: int
) -> list[str]:
    """The costs in words, for a user to read before they arise; nothing where there are no variants."""
    costs = count_costs(variants, plan, episodes, window)
    if not costs:
        return []
    total = (
        f"variants add {sum(cost.rows for cost in costs)} rows and {sum(cost.passes for cost in costs)} decoder passes"
    )
    return [
        f"{total}, in passes of at most probe.batch_size windows",
        *(f"  {cost.tell()}" for cost in costs),
    ]
