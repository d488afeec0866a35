"""Whether the episodes that a probe of a run looks into are enough to judge contexts on; where not, what helps.

In: the plan of the probe, its episodes, and the run's split. Out: sentences, said before the probe runs and stored with
it, so that a report of the store can repeat them.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from mobile_vla.probing.plans import SamplingPlan
from mobile_vla.sources.schema import UNKNOWN, Episode

CLASS = 8  # episodes: with fewer of a class the discriminative verdict is undecided whatever they hold
CALIBRATED = 40  # episodes: with fewer the interval of preserving is not calibrated
SITUATIONS = ("scenario", "task_type", "direction")  # what episodes are judged by first, as in `analysis`


def find_shortage(
    plan: SamplingPlan,
    episodes: Sequence[Episode],
    split: str | None,
    dealt: Mapping[str, int] | None,
) -> list[str]:
    """Nothing where they are enough. split: the part, `all`, or None for other data;  dealt: episodes of each part of
    the run's own split, None where it has none."""
    chosen = [episode for episode in episodes if episode.id in plan.frames]
    counts = _count_classes(chosen)
    few = {name: count for name, count in counts.items() if count < CLASS}
    if len(chosen) >= CALIBRATED and not few:
        return []
    held = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    where = {None: "these data", "all": "all that are there"}.get(split, f"the {split} part")
    told = f"{len(chosen)} episodes are looked into ({where}{': ' + held if held else ''})"
    lacks = []
    if few:
        names = " and ".join(f"{count} {name}" for name, count in sorted(few.items()))
        lacks.append(f"with {names}, fewer than {CLASS} of a class, `discriminative` stays undecided")
    if len(chosen) < CALIBRATED:
        lacks.append(f"below {CALIBRATED} episodes the interval of `preserving` is not calibrated")
    return [f"{told}; {'; '.join(lacks)}", *_find_remedies(len(chosen), counts, len(episodes), split, dealt)]


def _find_remedies(
    chosen: int, counts: Mapping[str, int], available: int, split: str | None, dealt: Mapping[str, int] | None
) -> list[str]:
    needed = max(CALIBRATED, CLASS * len(counts))
    found = []
    if available > chosen:
        found.append(f"plan.episodes={min(available, needed)} takes more of the {available} that are there")
    total = sum(dealt.values()) if dealt else 0
    if dealt and split not in (None, "all") and total > available:
        trained = dealt.get("train", 0)
        found.append(f"split=all takes all {total}, but {trained} of {total} were trained on, and flatter the result")
    if dealt and split not in (None, "all") and available < needed:
        if needed <= total / 2:
            share = math.ceil(100 * needed / total) / 100
            found.append(f"a training with data.split.validation={share:g} holds out {needed} of the {total} episodes")
        else:
            found.append(f"recording more: {total} episodes are too few to hold out {needed} and train on the others")
    elif available < needed:
        found.append(f"recording about {needed - available} more episodes")
    return ["what would help: " + "; or ".join(found)] if found else []


def _count_classes(episodes: Sequence[Episode]) -> Counter[str]:
    """Episodes by the values of the first label that tells some of them apart."""
    for name in SITUATIONS:
        counts = Counter(episode.label(name) for episode in episodes)
        counts.pop(UNKNOWN, None)
        if len(counts) > 1:
            return counts
    return Counter()
