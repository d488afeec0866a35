"""Which windows make which batch: a pure function of (seed, epoch, offset, rank, world).

Windows are dealt as spans, runs of consecutive windows of one episode, since those share most of their frames;
shuffling single windows would lose the sharing. `batch_size` counts windows. Spans do not depend on it, nor on how
many batches are accumulated, so the same windows make the same optimizer step however they are divided.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Int
from torch.utils.data import Sampler


@dataclass(frozen=True)
class Span:
    """Windows first ... first + count - 1 of an episode (indices into its window starts, not frames)."""

    episode: int
    first: int
    count: int


@dataclass(frozen=True)
class PlannedBatch:
    """The spans of one batch, and the valid chunk entries of the whole optimizer step that it belongs to."""

    spans: tuple[Span, ...]
    denominator: int

    @property
    def num_windows(self) -> int:
        return sum(span.count for span in self.spans)


class BatchPlan:
    """Deals windows to batches and batches to ranks.

    entries     for each episode the valid chunk entries of each of its windows
    batch_size  windows a batch and rank;  span  most consecutive windows kept together
    accumulate  batches (of each rank) that make one optimizer step
    shuffle     off for validation: episodes in order, whole
    """

    def __init__(
        self,
        entries: Sequence[Int[np.ndarray, " windows"]],
        *,
        batch_size: int,
        span: int,
        seed: int = 0,
        accumulate: int = 1,
        shuffle: bool = True,
    ):
        self.entries = entries
        self.batch_size = batch_size
        self.span = span
        self.seed = seed
        self.accumulate = accumulate
        self.shuffle = shuffle
        self.num_windows = sum(map(len, entries))

    def num_batches(self, world: int = 1, rank: int = 0) -> int:
        """Batches of one rank in an epoch, the same in every epoch."""
        if self.shuffle:
            return len(self._rounds(world))
        total = -(-self.num_windows // self.batch_size)
        return len(range(rank, total, world))

    def batches(self, epoch: int, *, offset: int = 0, rank: int = 0, world: int = 1) -> Iterator[PlannedBatch]:
        """The batches of `rank` in `epoch`, from the `offset`-th on.

        Training: every window once over all ranks, all ranks the same number of batches (at most world - 1 windows
        of an epoch are left out where they cannot be dealt evenly). Validation: every window exactly once; ranks
        may differ by one batch.
        """
        dealt = self._deal(self._spans(epoch), self._sizes(world))
        if not self.shuffle:
            for spans in dealt[rank + offset * world :: world]:
                yield PlannedBatch(spans, self._valid(spans))
            return
        for first in range(0, len(dealt), world * self.accumulate):
            step = dealt[first : first + world * self.accumulate]
            denominator = sum(map(self._valid, step))
            for index, spans in enumerate(step[rank::world]):
                if first // world + index >= offset:
                    yield PlannedBatch(spans, denominator)

    def _spans(self, epoch: int) -> list[Span]:
        """Every window once, in the epoch's order; where an episode longer than a span is cut differs by epoch."""
        rng = np.random.default_rng([self.seed, epoch])
        spans = []
        for episode, windows in enumerate(self.entries):
            cut_anywhere = self.shuffle and len(windows) > self.span
            lead = int(rng.integers(1, self.span + 1)) if cut_anywhere else self.span
            cuts = [0, *range(min(lead, len(windows)), len(windows), self.span), len(windows)]
            spans += [Span(episode, a, b - a) for a, b in pairwise(cuts) if b > a]
        if self.shuffle:
            spans = [spans[i] for i in rng.permutation(len(spans))]
        return spans

    def _rounds(self, world: int) -> list[list[int]]:
        """Windows of each rank in each round; the last round is dealt as evenly as it goes."""
        full, rest = divmod(self.num_windows, self.batch_size * world)
        rounds = [[self.batch_size] * world] * full
        if rest >= world:
            rounds.append([rest // world + (rank < rest % world) for rank in range(world)])
        return rounds

    def _sizes(self, world: int) -> list[int]:
        if self.shuffle:
            return [size for round in self._rounds(world) for size in round]
        full, rest = divmod(self.num_windows, self.batch_size)
        return [self.batch_size] * full + [rest] * (rest > 0)

    @staticmethod
    def _deal(spans: list[Span], sizes: list[int]) -> list[tuple[Span, ...]]:
        """Cut the sequence of windows into batches of the given sizes; spans are split where a batch is full."""
        queue = iter(spans)
        span: Span | None = None
        dealt = []
        for size in sizes:
            batch = []
            while size:
                span = span or next(queue)
                taken = min(size, span.count)
                batch.append(Span(span.episode, span.first, taken))
                size -= taken
                left = span.count - taken
                span = Span(span.episode, span.first + taken, left) if left else None
            dealt.append(tuple(batch))
        return dealt

    def _valid(self, spans: tuple[Span, ...]) -> int:
        return sum(int(self.entries[s.episode][s.first : s.first + s.count].sum()) for s in spans)


class PlannedBatches(Sampler[PlannedBatch]):
    """A sampler over a plan for one rank; `set_epoch` is called by the trainer, `offset` is where a resume starts."""

    def __init__(self, plan: BatchPlan, rank: int = 0, world: int = 1):
        self.plan = plan
        self.rank = rank
        self.world = world
        self.epoch = 0
        self.offset = 0

    def set_epoch(self, epoch: int) -> None:
        if epoch != self.epoch:
            self.epoch, self.offset = epoch, 0

    def __len__(self) -> int:
        """Of the whole epoch, also after a resume: the loops count from its begin."""
        return self.plan.num_batches(self.world, self.rank)

    def __iter__(self) -> Iterator[PlannedBatch]:
        return self.plan.batches(self.epoch, offset=self.offset, rank=self.rank, world=self.world)
