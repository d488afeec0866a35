"""How well a ridge classifier decodes a target from episode means, on episodes that it has not seen.

In: episode means of vectors, and a target. Out: a `Decoding`: balanced accuracy inside sessions (`balance`), mean over
many deals of the folds (`dealing`), a permutation test for whether it is chance, and planted codes for whether a label
that is there would have been found (`transplant`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from mobile_vla.analysis.sample import Sample
from mobile_vla.analysis.verdicts.discriminative.balance import count_effective, weigh_episodes
from mobile_vla.analysis.verdicts.discriminative.dealing import Deals, batched
from mobile_vla.analysis.verdicts.discriminative.targets import Target
from mobile_vla.analysis.verdicts.discriminative.transplant import DEALS as PLANTED_DEALS
from mobile_vla.analysis.verdicts.discriminative.transplant import Transplants, plant_codes
from mobile_vla.analysis.verdicts.folds import codes_of, permutations
from mobile_vla.analysis.verdicts.permuting import draw, one_by_one
from mobile_vla.analysis.verdicts.preserving.ridge import Ridge, standardise
from mobile_vla.analysis.verdicts.rigour import Rigour

PENALTY = 0.03  # of the mean squared length; from .003 to .3 the accuracy on planted contexts is the same
QUADRATIC_COMPONENTS = 20  # principal components, products of which the quadratic kernel sees
# On standard errors of an accuracy that is the mean over many deals. Simulated over stores with flat and with power-law
# spectra, 16 to 160 episodes, one to ten sessions, labels at random and 90 % confounded with the session (350 to 400
# stores a case): its standard deviation is .7 to 1.13 times that of as many independent decisions, so that with 1.1 up
# to 5.9 % of stores lie above the interval and up to 6.2 below, with 1.25 up to 3.8 and 4.5 (nominal 5). The 1.5 of a
# single deal (Nadeau and Bengio 2003) left 2.0 and 2.8 %; 40 episodes with a label of strength 4 were a yes in 53 %.
INFLATION = 1.2
MANY = 200  # episodes
ESTIMATE = 10  # times `rigour.deals`, that the estimate is the mean of: they cost little, and another seed changes less


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """What is asked of n episodes of a sample, and how it is scored: the same for contexts and for all baselines.

    chosen  (n,) indices into the sample;  labels  (n,) of `num` classes
    cells   (n,) inside which episodes are compared: session, and instruction where that gives the label away
    weights (n,) of each episode in the balanced accuracy
    """

    chosen: Int[np.ndarray, " n"]
    labels: Int[np.ndarray, " n"]
    cells: Int[np.ndarray, " n"]
    texts: Int[np.ndarray, " n"]
    num: int
    rigour: Rigour

    @classmethod
    def of(cls, sample: Sample, target: Target, rigour: Rigour) -> "Asked":
        chosen = target.asked
        written = codes_of(np.asarray(sample.instruction, object)[chosen])
        texts = written if target.given_away else np.zeros(len(chosen), int)
        return cls(
            chosen=chosen,
            labels=target.codes[chosen],
            cells=codes_of(sample.session[chosen], texts),
            texts=texts,
            num=len(target.classes),
            rigour=rigour,
        )

    @property
    def size(self) -> int:
        return len(self.chosen)

    @cached_property
    def weights(self) -> Float[np.ndarray, " n"]:
        return weigh_episodes(self.labels, self.cells, self.num)

    @property
    def effective(self) -> float:
        return count_effective(self.weights)

    @cached_property
    def columns(self) -> Float[np.ndarray, "n S"]:
        """Of the cells: fitted without a penalty."""
        return np.eye(int(self.cells.max()) + 1)[self.cells]

    @cached_property
    def many(self) -> Deals:
        """What estimates are means of."""
        return self._deal(ESTIMATE * self.rigour.deals)

    @cached_property
    def some(self) -> Deals:
        """What each permutation is the mean of: the first of the many."""
        return self._deal(self.rigour.deals)

    @cached_property
    def planting(self) -> Deals:
        """What each planted code is the mean of."""
        return self._deal(PLANTED_DEALS)

    def _deal(self, count: int) -> Deals:
        return Deals(self.labels, self.cells, self.num, seed=self.rigour.seed, count=count)


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoding:
    """What a held-out classifier did.

    accuracy   balanced;  of_class  accuracy by class;  confusion  (C, C) true x predicted, shares of the true class
    p_yes      of permuted episodes;  p_no  of planted codes;  null  mean accuracy under permutation
    correct    (E,) share of the deals in which an episode was right, NaN where not asked
    effective  episodes in two equal classes of one session that would give an accuracy as precise
    planted    what codes would have been found; None without that test
    """

    accuracy: float
    of_class: dict[str, float]
    confusion: Float[np.ndarray, "C C"]
    p_yes: float
    p_no: float | None
    null: float
    correct: Float[np.ndarray, " E"]
    error: float
    spread: float
    effective: float
    planted: Transplants | None = None
    details: dict[str, float] = field(default_factory=dict)


def decode(
    means: Float[np.ndarray, "E D"],
    sample: Sample,
    target: Target,
    rigour: Rigour,
    *,
    tests: bool = True,
    quadratic: bool = False,
    asked: Asked | None = None,
) -> Decoding:
    """Held-out classification of the asked episodes; without tests no p-values (they are 1 and None)."""
    asked = asked or Asked.of(sample, target, rigour)
    labels, num, weights = asked.labels, asked.num, asked.weights
    values = standardise(means[asked.chosen])
    ridge = Ridge(_quadratic(values) if quadratic else values @ values.T, asked.columns)
    left = ridge.left(PENALTY)
    own = np.arange(asked.size)[None]
    classes = asked.many.classify(left, own)[0]  # (R, n)
    rates = asked.many.rate(classes[None])[0]
    accuracy = float(rates @ weights)
    p_yes, planted, null = 1.0, None, np.nan
    if tests:
        rounded = left if asked.size < MANY else left.astype(np.float32)  # only signs count, and it halves the time
        seen = float(asked.some.score(rounded, own, weights)[0])
        p_yes, null = draw(seen, one_by_one(_permuted(rounded, asked)))
        if not quadratic:
            planted = plant_codes(accuracy, values, ridge, PENALTY, asked.planting, asked.cells, weights, rigour)
    correct = np.full(len(target.codes), np.nan)
    correct[asked.chosen] = rates
    of_class = np.array([(rates * weights)[labels == code].sum() * num for code in range(num)])
    spread = _spread(of_class, labels, weights)
    decided = classes[..., None] == np.arange(num)  # (R, n, C)
    confusion = np.stack([decided[:, labels == code].mean(axis=(0, 1)) for code in range(num)])
    return Decoding(
        accuracy=accuracy,
        of_class=dict(zip(target.classes, of_class.tolist(), strict=True)),
        confusion=confusion,
        p_yes=p_yes,
        p_no=planted and planted.p,
        null=null,
        correct=correct,
        error=INFLATION * spread / np.sqrt(asked.size),
        spread=spread,
        effective=asked.effective,
        planted=planted,
    )


def _permuted(left: Float[np.ndarray, "n n"], asked: Asked) -> Iterator[Float[np.ndarray, " k"]]:
    """Accuracies with the contexts of a cell in a random order."""
    rigour = asked.rigour
    for orders in batched(permutations(asked.cells, rigour.permutations, rigour.seed)):
        yield asked.some.score(left, orders, asked.weights)


def _spread(of_class: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    """sqrt(n) times the standard error of the balanced accuracy. A class that is always right counts as one that
    missed half an episode of one more, lest a few episodes look certain (Agresti and Coull 1998)."""
    counts = np.bincount(labels, minlength=len(of_class))
    shares = (of_class * counts + 0.5) / (counts + 1)
    squares = np.bincount(labels, weights=weights**2, minlength=len(of_class))
    return float(np.sqrt(len(labels) * (shares * (1 - shares) * squares).sum()))


def _quadratic(values: Float[np.ndarray, "n D"]) -> Float[np.ndarray, "n n"]:
    """Inner products of all products of two principal components."""
    left, singular, _ = np.linalg.svd(values, full_matrices=False)
    num = min(QUADRATIC_COMPONENTS, max(len(values) // 5, 2))
    points = left[:, :num] * singular[:num]
    kernel = (points @ points.T) ** 2
    return kernel / (np.trace(kernel) / len(kernel) or 1.0)
