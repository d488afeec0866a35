"""Whether a probe reads what is in the contexts or memorises them: a control task, which can only be memorised.

In: a judged target. Out: its verdict with the accuracy of both tasks, row by row. The control task (Hewitt and Liang
2019) gives each *type* of row, which is a progress bin with an instruction and a value of the target, one of the
classes at random; the types are the same in all episodes. A probe so strong that it learns this for any contexts tells
nothing by learning the target. Selectivity is the accuracy on the target minus that on the control.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int

from mobile_vla.analysis.sample import Sample
from mobile_vla.analysis.verdicts.discriminative.decoding import PENALTY
from mobile_vla.analysis.verdicts.discriminative.targets import Target
from mobile_vla.analysis.verdicts.folds import blocks_of, codes_of, deal_folds
from mobile_vla.analysis.verdicts.preserving.ridge import Ridge, leave_out, standardise
from mobile_vla.analysis.verdicts.rigour import Rigour
from mobile_vla.analysis.verdicts.verdict import Verdict
from mobile_vla.contexts.vectors import spread

MOST_EPISODES = 200  # that are looked at: an even sample of more
CONTROLS = 20  # random functions, the mean accuracy of which is reported


def add_selectivity(
    verdict: Verdict, sample: Sample, vectors: Float[np.ndarray, "N D"], target: Target, rigour: Rigour
) -> Verdict:
    """The verdict with `details["selectivity"]`, and a note where the probe learns anything at all as well."""
    if target.why_not is not None:
        return verdict
    found = measure_selectivity(sample, vectors, target, rigour.seed)
    notes = verdict.notes
    if found["selectivity"] <= 0:
        notes = (
            *notes,
            f"the probe learns random functions of progress, instruction and {target.name} as well as {target.name} "
            f"itself (balanced accuracy {found['control']:z.2f} and {found['target']:z.2f}, row by row)",
        )
    return replace(verdict, details={**verdict.details, "selectivity": found}, notes=notes)


def measure_selectivity(
    sample: Sample, vectors: Float[np.ndarray, "N D"], target: Target, seed: int
) -> Mapping[str, float]:
    """Balanced accuracies over the rows of held-out episodes: `target`, `control`, and the difference."""
    chosen = target.asked[spread(len(target.asked), MOST_EPISODES)]
    rows = np.isin(sample.episode, chosen)
    label, episode = target.codes[sample.episode[rows]], sample.episode[rows]
    folds = np.full(sample.num_episodes, -1)
    folds[chosen] = deal_folds(target.codes[chosen], seed)
    values = standardise(vectors[rows])
    hat = Ridge(values @ values.T, np.ones((len(values), 1))).hat(PENALTY)
    blocks = blocks_of(folds, episode)
    types = codes_of(np.asarray(sample.instruction, object)[episode], sample.bin[rows], label)
    real = _accuracy(hat, label, blocks)
    controls = [_accuracy(hat, control, blocks) for control in make_controls(types, len(target.classes), seed)]
    control = float(np.mean(controls))
    return {"target": real, "control": control, "selectivity": real - control}


def make_controls(types: Int[np.ndarray, " N"], num: int, seed: int) -> list[Int[np.ndarray, " N"]]:
    """Random functions from types to classes, each class of as many types as any other."""
    rng = np.random.default_rng([seed, 4])
    dealt = np.arange(types.max() + 1) % num
    return [rng.permutation(dealt)[types] for _ in range(CONTROLS)]


def _accuracy(hat: Float[np.ndarray, "N N"], labels: Int[np.ndarray, " N"], blocks: list[np.ndarray]) -> float:
    targets = 2.0 * np.eye(labels.max() + 1)[labels] - 1
    predicted = (targets - leave_out(hat, targets, blocks)).argmax(axis=1)
    return float(np.mean([(predicted[labels == code] == code).mean() for code in np.unique(labels)]))
