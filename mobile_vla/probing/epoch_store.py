"""One validation's contexts on their way into a store.

In: what is wanted of every validation (`WantedRows`), and the validation's batches after the policy has run on them.
Out: finished parts of a store. What no validation window holds where it has its longest history is run as further
windows, when the validation is over; which these are depends on the windows that came, not on what is stored by then,
so that a validation that is done again comes to the same bits.
"""

from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from mobile_vla.contexts.manifest import StoreInfo, TapSpec
from mobile_vla.contexts.precision import Precision
from mobile_vla.contexts.rows import RowId
from mobile_vla.contexts.writer import StoreWriter
from mobile_vla.core.batch import Batch, PairId
from mobile_vla.data.assemble import BatchAssembler
from mobile_vla.data.datamodule import EpisodeDataModule
from mobile_vla.models.policy import Policy
from mobile_vla.probing.engine import ProbedRows, collect, keep_rows, list_rows, lost_windows, probe
from mobile_vla.probing.plans import SamplingPlan
from mobile_vla.probing.rows import RowMaker
from mobile_vla.sources.schema import BrokenEpisode
from mobile_vla.taps.capture import capture, shrink
from mobile_vla.taps.measure import measure_taps
from mobile_vla.taps.places import rows_in, starts_of
from mobile_vla.taps.points import PIXELS, PREDICTED, Tap


@dataclass(frozen=True, kw_only=True)
class WantedRows:
    """The same for every validation of a training: which rows, in the order of the store, and what of each."""

    policy: Policy
    assembler: BatchAssembler
    plan: SamplingPlan
    rows: tuple[RowId, ...]
    taps: tuple[Tap, ...]
    specs: Mapping[str, TapSpec]

    @property
    def model_taps(self) -> tuple[Tap, ...]:
        """Those that read the model."""
        return tuple(tap for tap in self.taps if tap.name != PIXELS)

    @classmethod
    def of(
        cls,
        policy: Policy,
        data: EpisodeDataModule,
        plan: SamplingPlan,
        taps: tuple[Tap, ...],
        dtype: Precision | None,
    ) -> "WantedRows":
        """Measures the taps, on the policy's device; `UserError` for one that cannot be captured."""
        specs = measure_taps(policy, taps)
        if dtype is not None:
            specs = {name: replace(spec, dtype=dtype) for name, spec in specs.items()}
        episodes = data.episodes("validation")
        assembler = data.assembler(episodes, from_features=True)  # as validation is
        return cls(
            policy=policy,
            assembler=assembler,
            plan=plan,
            rows=tuple(RowId(*id) for id in list_rows(plan, assembler)),
            taps=taps,
            specs=specs,
        )


class EpochStore:
    """From its making on the policy has hooks, and a thread writes; `leave` ends both, however often it is called.

    folder  of the store;  rank  of this process;  trained  whether what the head predicts is worth storing
    """

    def __init__(self, wanted: WantedRows, folder: Path, info: StoreInfo, rank: int, *, trained: bool = True):
        self.wanted, self.folder = wanted, folder
        episodes = wanted.assembler.episodes
        parts = dict.fromkeys((episode.id for episode in episodes), "validation")
        self._maker = RowMaker(episodes, wanted.assembler, parts, wanted.specs, trained)
        self.seen: set[RowId] = set()  # rows that a validation window has shown, stored or not
        with ExitStack() as opened:
            self.writer = opened.enter_context(StoreWriter(folder, wanted.rows, wanted.specs, info, rank=rank))
            self._hooks = opened.enter_context(ExitStack())
            self._captured = self._hooks.enter_context(capture(wanted.policy, [*wanted.model_taps, PREDICTED]))
            self._opened = opened.pop_all()

    def take(self, batch: Batch) -> None:
        """What a validation batch holds of the wanted rows, after the policy has run on it."""
        frames = self.wanted.plan.frames
        self.seen |= {RowId(*batch.pair_id[pair]) for pair in rows_in(batch, frames).pairs.tolist()}
        self._add(collect(self._captured, batch, frames, lost_windows(batch, self.wanted.assembler.episodes)))

    def run_further(
        self, seen: Collection[RowId], missing: Collection[RowId], *, batch_size: int, rank: int, world: int
    ) -> int:
        """Run this rank's share of the rows that no window has shown; how many windows these are, over all ranks.

        seen, missing  over all ranks: rows that were shown, and rows that are not stored yet
        """
        self._hooks.close()  # a probe has its own
        rest = plan_rest(self.wanted.plan, {(id.episode, id.frame) for id in seen})
        wanted = self.wanted
        if missing:
            probe(
                wanted.policy,
                wanted.assembler,
                rest,
                wanted.model_taps,
                self._add,
                batch_size=batch_size,
                rank=rank,
                world=world,
                todo={PairId(*id) for id in missing},
            )
        return count_windows(rest, wanted.assembler.windows.window)

    def leave(self, error: BaseException | None = None) -> None:
        """Take the hooks off and write what has come; raises what could not be written, unless there is an `error`."""
        self._opened.__exit__(type(error) if error else None, error, error.__traceback__ if error else None)

    def _add(self, found: ProbedRows) -> None:
        if any(tap.name == PIXELS for tap in self.wanted.taps):
            found = self._with_pixels(found)
        self.writer.add(*self._maker.make(found))

    def _with_pixels(self, found: ProbedRows) -> ProbedRows:
        """The frames of these rows, shrunk; without rows whose file cannot be read any more.

        Not captured from the batch: where frozen work is cached, it has no frames.
        """
        pixels, kept = [], []
        for index, id in enumerate(found.ids):
            try:
                pixels.append(shrink(self._read_frame(id)))
            except BrokenEpisode:
                continue
            kept.append(index)
        none = torch.zeros(0, *self.wanted.specs[PIXELS].shape)
        rows = keep_rows(found, kept)
        return replace(rows, taps={**rows.taps, PIXELS: torch.cat([none, *pixels])})

    def _read_frame(self, id: PairId) -> UInt8[Tensor, "1 H V 3"]:
        frames = self.wanted.assembler.frames
        assert frames is not None, "rows are of frames"
        return frames.read(self._maker.episodes[id.episode], id.frame, id.frame + 1)


def plan_rest(plan: SamplingPlan, seen: Collection[tuple[str, int]]) -> SamplingPlan:
    """The same plan without the frames (of episodes) that were seen."""
    rest = {id: tuple(frame for frame in frames if (id, frame) not in seen) for id, frames in plan.frames.items()}
    return replace(plan, frames={id: frames for id, frames in rest.items() if frames})


def count_windows(plan: SamplingPlan, window: int) -> int:
    """That a plan needs, one by one."""
    return sum(len(starts_of(frames, window)) for frames in plan.frames.values())
