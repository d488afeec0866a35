"""What the measures of a comparison say together, in words that a reader can quote.

In: the measures, and why some are missing. Out: one answer, and sentences, each with the numbers that it rests on.

No number alone makes two stores alike: a measure counts where its interval lies above what permuted episodes give, and
one that rests on progress or on a single dimension is called by that name.
"""

from collections.abc import Mapping

from mobile_vla.analysis.pairs.decoding_difference import Difference
from mobile_vla.analysis.pairs.dominance import Dominance
from mobile_vla.analysis.pairs.leverage import Outliers
from mobile_vla.analysis.pairs.matching import NAMES
from mobile_vla.analysis.pairs.measure import Measure

SAME_CKA, SAME_R2 = 0.95, 0.9  # from here on two spaces are the same, whatever their axes
SIDES = ("left", "right")
LITTLE = 0.1  # a CKA below it is not worth the name of a resemblance
PROGRESS_ALONE = 0.3  # pooled CKA that progress alone gives: from here on worth a warning
# How often each answer comes where it should not: docs/validation.md, two stores.
SAME, PARTLY = "the same up to a rotation", "partly alike"
SINGLE = "alike in single dimensions only"
NOTHING = "nothing in common is shown beyond permuted episodes"
ONLY_PROGRESS = "nothing in common is shown beyond progress"
UNDECIDED, NOT_COMPARABLE = "undecided", "not comparable"
TITLES = {"cka": "CKA", "cka_z": "z-scored CKA", "mutual_knn": "mutual neighbours", "procrustes": "held-out Procrustes"}


def read_together(
    measures: Mapping[str, Measure],
    reasons: Mapping[str, str],
    decoding: Mapping[str, Difference],
    dominance: Dominance | None,
    progress: tuple[float, float] | None,
    names: tuple[str, str] = NAMES,
    outliers: Outliers | None = None,
    without: Mapping[str, Measure] | None = None,
) -> tuple[str, tuple[str, ...]]:
    """The answer and the sentences, in which the two are called by their names. Where the resemblance rests on a few
    outlying episodes, the answer is that of the measures without them."""
    shape = {name: measures[name] for name in TITLES if name in measures}
    if "cka" not in shape:
        return NOT_COMPARABLE, (f"The two cannot be compared: {reasons.get('cka')}.",)
    answer = name_answer(shape, dominance, progress) if outliers is None else outliers.answer
    decided = answer + _on_decoding(decoding, names)
    says = [_headline(decided, (without or {}) if outliers else shape)]
    told = (outliers and outliers.sentence, _on_progress(shape, progress), _on_dominance(shape, dominance, names))
    says += [text for text in told if text]
    says += _on_neighbours(shape)
    says.append(_on_drift(measures.get("drift"), reasons, answer))
    for target, found in decoding.items():
        beside = "" if found.swap_test.p is None else f" Beside it a {found.swap_test.sentence}."
        says.append(f"Decoding {target}: {found.words}; {found.why}.{beside}")
    if decoding:
        says.append(f"What is decoded is of these runs, {names[0]} and {names[1]}: another seed of either may differ.")
    return decided, tuple(says)


def name_answer(shape: Mapping[str, Measure], dominance: Dominance | None, progress: tuple[float, float] | None) -> str:
    """The shortest form of what the measures of similarity say."""
    if "cka" not in shape:
        return NOT_COMPARABLE
    cka = shape["cka"]
    if dominance is not None and dominance.explains and dominance.raw > dominance.z:
        return SINGLE
    if cka.ci[0] > SAME_CKA and "procrustes" in shape and shape["procrustes"].value > SAME_R2:
        return SAME
    if any(shape[name].above_chance for name in TITLES if name in shape):
        return PARTLY
    if cka.ci[1] >= LITTLE:
        return UNDECIDED
    return ONLY_PROGRESS if progress is not None and progress[1] > PROGRESS_ALONE else NOTHING


def _on_decoding(decoding: Mapping[str, Difference], names: tuple[str, str]) -> str:
    """What decides: two spaces of one shape may still differ in the little that a policy needs."""
    better = [[target for target, one in decoding.items() if one.verdict == f"{side} better"] for side in SIDES]
    told = [
        f"{name} tells more of {' and '.join(targets)}" for name, targets in zip(names, better, strict=True) if targets
    ]
    return f", but {' and '.join(told)}" if told else ""


def _headline(answer: str, shape: Mapping[str, Measure]) -> str:
    told = "; ".join(f"{TITLES[name]} {_tell(measure)}" for name, measure in shape.items())
    above = [TITLES[name] for name, measure in shape.items() if measure.above_chance]
    chance = f"above chance: {', '.join(above)}" if above else "that one is above chance is not shown"
    return f"{answer[0].upper()}{answer[1:]}: {told} (90 % intervals; {chance})."


def _tell(measure: Measure) -> str:
    low, high = measure.ci
    told = f"{measure.value:z.2f} [{low:z.2f}, {high:z.2f}]"
    told += "" if measure.floor is None else f", floor {measure.floor.value:z.2f}"
    return told + ("" if measure.ceiling is None else f", ceiling {measure.ceiling.value:z.2f}")


def _on_progress(shape: Mapping[str, Measure], progress: tuple[float, float] | None) -> str | None:
    if progress is None or progress[1] <= PROGRESS_ALONE:
        return None
    pooled, alone = progress
    return (
        f"Both follow progress: over all bins together CKA is {pooled:z.2f}, and still {alone:z.2f} with whole "
        f"episodes permuted, where nothing but progress is shared; within the bins it is {shape['cka'].value:z.2f}, "
        "which counts."
    )


def _on_dominance(shape: Mapping[str, Measure], dominance: Dominance | None, names: tuple[str, str]) -> str | None:
    if dominance is None:
        return None
    told = f"Raw and z-scored CKA disagree ({dominance.raw:z.2f} and {dominance.z:z.2f})"
    if not dominance.explains:
        return (
            f"{told}, and no single dimension is found that explains it: the two may weigh directions differently, and "
            "z-scoring depends on the axes, as a rotation shows."
        )
    parts = [
        f"dimension {index} of {side} ({share:.0%} of its variance)"
        for side, found in zip(names, (dominance.left, dominance.right), strict=True)
        for index, share in found.items()
    ]
    return f"{told} because of {' and '.join(parts)}: without, raw CKA is {dominance.without:z.2f}."


def _on_neighbours(shape: Mapping[str, Measure]) -> list[str]:
    knn = shape["mutual_knn"]
    if knn.above_chance == shape["cka"].above_chance:
        return []
    if knn.above_chance:
        return [
            "Neighbours agree beyond chance, and raw CKA is not shown to: what is shared may be small next to the "
            "largest directions, or bent."
        ]
    return [
        "Raw CKA agrees beyond chance: the two share large directions; that the same episodes are close is not shown."
    ]


def _on_drift(drift: Measure | None, reasons: Mapping[str, str], answer: str) -> str:
    if drift is None:
        more = "; what reads one needs turning before it reads the other" if answer == SAME else ""
        return f"Drift is not measured: {reasons['drift']}{more}."
    far = "" if drift.ceiling is None else f" (row of another episode: {drift.ceiling.value:z.2f})"
    turned = drift.value > LITTLE and answer == SAME
    more = "; their structure agrees, so that this may be a rotation and no more" if turned else ""
    return (
        f"Drift: mean displacement {drift.value:z.2f} [{drift.ci[0]:z.2f}, {drift.ci[1]:z.2f}]{far}, in units of the "
        f"mean distance from the centroid{more}."
    )
