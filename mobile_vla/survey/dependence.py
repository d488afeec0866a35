"""Whether the recorded actions depend on the instruction at all, and what the instructions mean.

Where they do not, no loss and no effect that is measured on this data can show that a policy reads its instruction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from mobile_vla.core.dependence import Dependence as DependenceTest
from mobile_vla.data.dataset import DataConfig, fit_actions
from mobile_vla.data.meaning import find_dependence, find_meanings
from mobile_vla.sources.schema import Episode
from mobile_vla.survey.actions import Actions
from mobile_vla.survey.balance import cross_table

BINS = 12  # of progress
DEALINGS = 20  # of the instructions to the episodes


@dataclass(frozen=True, kw_only=True)
class Course:
    """Mean and standard deviation of the actions over progress, by what the instruction asks for; NaN without frames.

    names  meanings;  components  of the action, in the order of the last axis
    """

    names: tuple[str, ...]
    components: tuple[str, ...]
    mean: Float[np.ndarray, "meanings bins A"]
    std: Float[np.ndarray, "meanings bins A"]


@dataclass(frozen=True, kw_only=True)
class Dependence:
    """depends           whether the episodes show that the actions depend on the instruction
    sentence          the answer in words;  test  in numbers
    share             of the variance of the actions around their mean course over progress, how much goes with what
                      the instruction asks for (None where there is nothing to explain)
    share_by_chance   the same with the instructions dealt anew to the episodes, on average: many texts and few
                      episodes explain something, whatever they are
    label             `data.instruction_label`;  predicts_label  whether the text of an instruction gives it away
    meanings          text -> what it asks for: a value of the label, or the text itself
    table             text -> value of the label -> episodes
    """

    depends: bool
    sentence: str
    test: DependenceTest
    share: float | None
    share_by_chance: float | None
    label: str
    predicts_label: bool
    meanings: Mapping[str, str]
    table: Mapping[str, Mapping[str, int]]


def examine_dependence(config: DataConfig, episodes: Sequence[Episode], actions: Actions) -> tuple[Dependence, Course]:
    """By the test that training applies, over all good episodes; components that never vary are left out."""
    label = config.instruction_label
    meanings = find_meanings(episodes, label)
    # Training refuses a component without a range; the question can be asked of the others.
    varying = tuple(name for name, part in actions.components.items() if part.chosen and part.varies)
    asked = [meanings.of[episode.instruction] for episode in episodes]
    course, share = _course(episodes, asked, varying)
    rng = np.random.default_rng(0)
    dealt = [_course(episodes, [asked[i] for i in rng.permutation(len(asked))], varying)[1] for _ in range(DEALINGS)]
    if varying:
        free = {name: bound for name, bound in config.bounds.items() if name in varying}
        space = fit_actions(replace(config, components=varying, bounds=free), list(episodes))
        test = find_dependence(episodes, space, meanings)
    else:
        test = DependenceTest.impossible("no component of the action varies", len(episodes))
    told = f"{label} is known from the text" if meanings.known else "each text is taken for a meaning of its own"
    return Dependence(
        depends=test.depends,
        sentence=f"{test.sentence}; {told}" if test.depends else test.sentence,
        test=test,
        share=share,
        share_by_chance=None if share is None else float(np.mean([one for one in dealt if one is not None])),
        label=label,
        predicts_label=meanings.known,
        meanings=meanings.of,
        table=cross_table([e.instruction for e in episodes], [e.label(label) for e in episodes]),
    ), course


def _course(
    episodes: Sequence[Episode], asked: Sequence[str], components: tuple[str, ...]
) -> tuple[Course, float | None]:
    """The course by what each episode's instruction asks for, and the share of variance that it takes up beyond the
    common course."""
    names = sorted(set(asked))
    values = np.concatenate([e.components(components)[e.action_known] for e in episodes]).astype(np.float64)
    bins = np.concatenate([(np.arange(e.num_frames) * BINS // e.num_frames)[e.action_known] for e in episodes])
    groups = np.repeat([names.index(name) for name in asked], [int(e.action_known.sum()) for e in episodes])
    cells = groups * BINS + bins
    mean, std = _moments(values, cells, len(names) * BINS)
    common, _ = _moments(values, bins, BINS)
    scale = values.std(axis=0) if len(values) else np.ones(len(components))  # components weigh the same
    around_common = float((((values - common[bins]) / np.where(scale > 0, scale, 1)) ** 2).sum())
    around_own = float((((values - mean[cells]) / np.where(scale > 0, scale, 1)) ** 2).sum())
    shape = (len(names), BINS, len(components))
    course = Course(names=tuple(names), components=components, mean=mean.reshape(shape), std=std.reshape(shape))
    return course, 1 - around_own / around_common if around_common > 0 else None


def _moments(values: np.ndarray, cells: np.ndarray, num_cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the rows of each cell; NaN for an empty one."""
    counts = np.bincount(cells, minlength=num_cells)[:, None]
    with np.errstate(invalid="ignore"):
        mean = _sum_by(values, cells, num_cells) / counts
        std = np.sqrt(_sum_by((values - mean[cells]) ** 2, cells, num_cells) / counts)
    return mean, std


def _sum_by(values: np.ndarray, cells: np.ndarray, num_cells: int) -> np.ndarray:
    columns = [np.bincount(cells, weights=column, minlength=num_cells) for column in values.T]
    return np.stack(columns, axis=1) if columns else np.empty((num_cells, 0))
