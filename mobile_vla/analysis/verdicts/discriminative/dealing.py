"""What a held-out classifier decides, averaged over many deals of the folds, for many orders of the episodes at once.

In: I - H of a ridge, labels, cells. Out: of each episode the share of the deals in which it was classified rightly.

One deal of five folds is one draw of a lottery: with another seed every fifth verdict was another one. So the statistic
is a mean over deals, and what it is compared with (permuted episodes, planted codes) is a mean over the same deals. One
hat matrix serves them all: only the blocks that are held out change. With B such a block, what a fit without it leaves
is e_B = (I - H)_BB^-1 ((I - H) y)_B (`ridge`), a small system for each fold, deal and order, solved together.

The folds are stratified by cell and class, so they depend on the labels: permuted are the *contexts*, which take each
other's places while labels and folds stay. (Permuting labels under folds made for the true ones gave p <= .05 in 14 to
18 % of stores without any effect.)

A score is the prediction less the mean label of the cell's training episodes: how an episode differs from the others
of its cell decides, never the cell itself, and the threshold lies at the cell's mean context.
"""

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
from jaxtyping import Float, Int

from mobile_vla.analysis.verdicts.folds import FOLDS, deal_often

CHUNK_BYTES = 16_000_000  # of the systems that are solved together
FIRST_BATCH = 20  # orders that are drawn first: most nulls need few more


class Deals:
    """Deals of folds for the labels of n episodes of C classes.

    targets  (n, K) coded -1 and 1: one column for two classes, else one a class
    places   (B, m) episodes of each block of each deal, n where a block is smaller than the others
    offsets  (B, m, K) mean target of the cell's training episodes
    """

    def __init__(self, labels: Int[np.ndarray, " n"], cells: Int[np.ndarray, " n"], num: int, *, seed: int, count: int):
        n = len(labels)
        self.labels, self.num, self.count, self.size = labels, num, count, n
        self.targets = code_labels(labels, num)
        folds = np.stack(deal_often(cells * num + labels, seed, count))  # (R, n)
        self.folds = folds
        blocks = np.arange(count)[:, None] * FOLDS + folds  # (R, n) block of each episode
        sizes = np.bincount(blocks.ravel(), minlength=count * FOLDS)
        order = np.argsort(blocks.ravel(), kind="stable")
        first = np.cumsum(sizes) - sizes
        block = blocks.ravel()[order]
        within = np.arange(len(order)) - first[block]
        self.places = np.full((count * FOLDS, int(sizes.max())), n)
        self.places[block, within] = order % n
        self.where = np.empty(count * n, int)  # place in the flattened blocks of each deal's episodes
        self.where[order] = block * self.places.shape[1] + within
        self.offsets = self._offsets(cells)

    def _offsets(self, cells: Int[np.ndarray, " n"]) -> Float[np.ndarray, "B m K"]:
        """Of a cell without training episodes 0, as the ridge predicts there."""
        member = np.eye(int(cells.max()) + 1)[cells]  # (n, S)
        sums = np.einsum("ns,nk->sk", member, self.targets)
        padded = np.concatenate([self.targets, np.zeros((1, self.targets.shape[1]))])
        inside = np.concatenate([member, np.zeros((1, member.shape[1]))])[self.places]  # (B, m, S)
        left = sums - np.einsum("bms,bmk->bsk", inside, padded[self.places])
        number = member.sum(axis=0) - inside.sum(axis=1)  # (B, S)
        means = left / np.maximum(number, 1)[..., None]
        of = np.concatenate([cells, [0]])[self.places]  # (B, m)
        return np.take_along_axis(means, of[..., None], axis=1)

    def classify(self, left: Float[np.ndarray, "n n"], orders: Int[np.ndarray, "k n"]) -> Int[np.ndarray, "k R n"]:
        """Class of each place in each deal, when the episode `order[place]` gave the context; left is I - H."""
        return np.concatenate([self._classify(left, some) for some in self.chunks(orders)])

    def score(
        self, left: Float[np.ndarray, "n n"], orders: Int[np.ndarray, "k n"], weights: Float[np.ndarray, " n"]
    ) -> Float[np.ndarray, " k"]:
        """Balanced accuracy, mean over the deals."""
        return self.rate(self.classify(left, orders)) @ weights

    def rate(self, classes: Int[np.ndarray, "k R n"]) -> Float[np.ndarray, "k n"]:
        """Share of the deals in which each place is right."""
        return (classes == self.labels).mean(axis=1)

    def chunks(self, orders: Int[np.ndarray, "k n"], columns: int = 1) -> Iterator[Int[np.ndarray, "c n"]]:
        blocks, size = self.places.shape
        each = max(1, CHUNK_BYTES // (8 * blocks * size * (size + columns)))
        return (orders[at : at + each] for at in range(0, len(orders), each))

    def _classify(self, left: np.ndarray, orders: np.ndarray) -> np.ndarray:
        system, at = self.systems(left, orders)
        errors = np.linalg.solve(system, self.residuals(left, orders, at))
        return self.decide(errors)

    def systems(
        self, left: Float[np.ndarray, "n n"], orders: Int[np.ndarray, "c n"]
    ) -> tuple[Float[np.ndarray, "c B m m"], Int[np.ndarray, "c B m"]]:
        """(I - H)_BB of each block, 1 on the diagonal where it is padded, and which episodes' contexts are in it."""
        n = self.size
        padded = np.zeros((n + 1, n + 1), left.dtype)
        padded[:n, :n] = left
        padded[n, n] = 1.0
        at = np.concatenate([orders, np.full((len(orders), 1), n)], axis=1)[:, self.places]
        return padded.ravel()[at[..., :, None] * (n + 1) + at[..., None, :]], at

    def residuals(
        self, left: Float[np.ndarray, "n n"], orders: Int[np.ndarray, "c n"], at: Int[np.ndarray, "c B m"]
    ) -> Float[np.ndarray, "c B m K"]:
        """((I - H) y)_B, the targets standing where the contexts went."""
        n, count = self.size, len(orders)
        moved = np.zeros((n, count, self.targets.shape[1]), left.dtype)
        moved[orders, np.arange(count)[:, None]] = self.targets
        found = np.zeros((n + 1, count, self.targets.shape[1]), left.dtype)
        found[:n] = (left @ moved.reshape(n, -1)).reshape(moved.shape)
        return found[at, np.arange(count)[:, None, None]]

    def decide(self, errors: Float[np.ndarray, "c B m K"]) -> Int[np.ndarray, "c R n"]:
        """Classes by what the fits leave of the targets."""
        padded = np.concatenate([self.targets, np.zeros((1, self.targets.shape[1]))])
        scores = padded[self.places] - errors - self.offsets
        classes = (scores[..., 0] > 0).astype(np.int8) if self.num == 2 else scores.argmax(axis=-1).astype(np.int8)
        return classes.reshape(len(errors), -1)[:, self.where].reshape(len(errors), self.count, self.size)


def code_labels(labels: Int[np.ndarray, " n"], num: int) -> Float[np.ndarray, "n K"]:
    """-1 and 1: one column for two classes, else one a class."""
    return 2.0 * labels[:, None] - 1 if num == 2 else 2.0 * np.eye(num)[labels] - 1


def batched(orders: Iterable[Int[np.ndarray, " n"]], first: int = FIRST_BATCH) -> Iterator[Int[np.ndarray, "k n"]]:
    """Some of them at a time, more and more, so that a drawing that stops early has drawn few in vain."""
    stream, size = iter(orders), first
    while some := list(islice(stream, size)):
        yield np.stack(some)
        size *= 2
