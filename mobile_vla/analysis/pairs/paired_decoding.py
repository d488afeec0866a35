"""What can be decoded from two stores, each by the same probe on the same episodes and folds, side by side.

In: two aligned samples. Out: differences by target, for `comparison`, and in words why others are missing. Labels,
folds and true chunks are the first store's: the rows are the same, so only the vectors differ.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from mobile_vla.analysis.pairs.decoding_difference import Difference, compare_accuracy, compare_r2
from mobile_vla.analysis.pairs.matching import Matching
from mobile_vla.analysis.pairs.swap_test import run_swap_test
from mobile_vla.analysis.sample import Sample
from mobile_vla.analysis.verdicts.discriminative.decoding import decode
from mobile_vla.analysis.verdicts.discriminative.targets import Target, declare_targets
from mobile_vla.analysis.verdicts.preserving.baseline import make_baseline
from mobile_vla.analysis.verdicts.preserving.chunk_fit import MOST_EPISODES, fit
from mobile_vla.analysis.verdicts.preserving.chunks import TARGET, anything_left, make_chunks
from mobile_vla.analysis.verdicts.rigour import Rigour
from mobile_vla.analysis.verdicts.verdict import FEWEST
from mobile_vla.contexts.vectors import spread
from mobile_vla.core.plural import plural

Scores = dict[Hashable, np.ndarray]  # of one store's rows, by all that they depend on


def find_differences(
    matching: Matching, tap: str, targets: Sequence[str], rigour: Rigour, known_scores: Scores | None = None
) -> tuple[dict[str, Difference], dict[str, str]]:
    """By target, the primary ones first, then the next action chunk; and why what cannot be asked for is left out.

    known_scores  of stores that were compared with others before, on the same rows; those of these two are added
    """
    sample, names = matching.left, matching.names
    scores = {} if known_scores is None else known_scores
    sides = [(one, one.vectors(tap)) for one in (matching.left, matching.right)]
    known = [name for name in targets if name in sample.labels]
    declared = declare_targets(sample, known)
    found: dict[str, Difference] = {}
    reasons = {
        name: f"{name} is not one value an episode in the rows of {names[0]}" for name in targets if name not in known
    }
    for target in declared if known else declared[:1]:
        if target.why_not is not None or target.name in matching.contradicted:
            apart = matching.contradicted.get(target.name)
            reasons[target.name] = target.why_not or f"the two stores contradict each other on it in {apart} episodes"
            continue

        def correct(values: np.ndarray, target: Target = target) -> np.ndarray:
            return decode(sample.means(values), sample, target, rigour, tests=False).correct

        left, right = (
            _recall(
                scores,
                (_name_rows(one, tap, rigour), _name_task(sample), target.name, target.codes.tobytes()),
                partial(correct, values),
            )
            for one, values in sides
        )
        found[target.name] = compare_accuracy(left, right, target.codes, names=names)
    chunks = _compare_chunks(sample, sides, tap, rigour, names, scores)
    if isinstance(chunks, str):
        return found, {**reasons, TARGET: chunks}
    return {**found, TARGET: chunks}, reasons


def _compare_chunks(
    sample: Sample,
    sides: Sequence[tuple[Sample, np.ndarray]],
    tap: str,
    rigour: Rigour,
    names: tuple[str, str],
    scores: Scores,
) -> Difference | str:
    """In words, where there is nothing to compare."""
    kept = spread(sample.num_episodes, MOST_EPISODES)
    inside = np.isin(sample.episode, kept)
    few = sample.keep(kept)
    if few.actions is None:
        return f"{names[0]} holds no actions"
    if few.num_episodes < FEWEST:
        return f"{plural(few.num_episodes, 'episode')} in both; at least {FEWEST} are needed"
    baseline = make_baseline(few)
    chunks = make_chunks(few, baseline)
    if not anything_left(few, chunks, baseline):
        return "after progress and instruction no variance of these chunks is left to be decoded"

    def errors(values: np.ndarray) -> np.ndarray:
        found = fit(few, values, chunks, rigour, permute=False, baseline=baseline)
        return np.where(found.scored, [found.sse, found.base], np.nan)

    actions = np.nan_to_num(few.actions).tobytes()
    left, right = (
        _recall(
            scores,
            (_name_rows(one, tap, rigour), _name_task(few), TARGET, hash(actions)),
            partial(errors, values[inside]),
        )
        for one, values in sides
    )
    found = compare_r2(left[0], right[0], left[1], right[1], names=names)
    return replace(found, swap_test=run_swap_test(few, *(values[inside] for _, values in sides), rigour))


def _name_rows(sample: Sample, tap: str, rigour: Rigour) -> Hashable:
    """Which vectors are looked at, and how hard."""
    return id(sample.store), tap, sample.rows.tobytes(), rigour


def _name_task(sample: Sample) -> Hashable:
    """What folds and baselines are made of."""
    labels = tuple((name, tuple(values)) for name, values in sorted(sample.labels.items()))
    return sample.session.tobytes(), sample.instruction, sample.episodes, labels


def _recall(scores: Scores, key: Hashable, make: Callable[[], np.ndarray]) -> np.ndarray:
    if key not in scores:
        scores[key] = make()
    return scores[key]
