"""One probe, from valid settings to a complete store: prepared first (nothing written), then run in a folder.

prepare   plan -> policy -> taps, measured -> variants -> identities of all rows
run       the policy over the rows, on every rank -> the store, made complete by the first

A probe that was interrupted goes through the same with the same settings: rows that were stored are not run again.
"""

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

from mobile_vla.contexts.manifest import StoreInfo, TapSpec
from mobile_vla.contexts.merge import complete
from mobile_vla.contexts.reader import Store, open_store
from mobile_vla.contexts.rows import OWN, RowId, list_ids
from mobile_vla.contexts.vectors import spread
from mobile_vla.contexts.writer import StoreWriter
from mobile_vla.core.batch import PairId
from mobile_vla.core.errors import UserError
from mobile_vla.core.pace import Pace
from mobile_vla.core.processes import Processes
from mobile_vla.core.signals import hold_signals
from mobile_vla.data.assemble import BatchAssembler
from mobile_vla.data.dataset import Progress
from mobile_vla.data.meaning import Meanings, find_meanings
from mobile_vla.data.splits import load_split
from mobile_vla.display.attention_figure import AttendedFrame
from mobile_vla.interventions.catalog import Variant, make_variants, parse_variants
from mobile_vla.models.policy import Policy
from mobile_vla.probing.attending import attend_frames
from mobile_vla.probing.cost import describe
from mobile_vla.probing.engine import list_rows, probe
from mobile_vla.probing.enough import find_shortage
from mobile_vla.probing.plans import PlanConfig, SamplingPlan
from mobile_vla.probing.provenance import hash_plain, make_info
from mobile_vla.probing.rows import RowMaker
from mobile_vla.probing.sampling import make_plan
from mobile_vla.probing.subject import Subject
from mobile_vla.sources.schema import Episode
from mobile_vla.taps.attention import attend
from mobile_vla.taps.attention_config import AttentionConfig
from mobile_vla.taps.measure import measure_taps
from mobile_vla.taps.points import DEFAULT_TAPS, Tap, resolve_taps

STORE = "contexts"  # below the probe's folder
ROW_BYTES = 500  # of a row in the table, about


@dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """taps        names of tap points (`contexts.taps`);  variants  of interventions (`interventions.catalog`)
    attention   of how many of the episodes it is drawn where the action token looks; not part of the store
    before      a probe of the same rows, say of the first epoch, that it is told how far they moved since
    dtype       how vectors are stored; `native`: as the module puts them out
    batch_size  windows that are run in one pass, as recorded or of a variant; null: data.batch_size
    seed        of what variants draw
    """

    taps: tuple[str, ...] = DEFAULT_TAPS
    variants: tuple[str, ...] = ()
    attention: AttentionConfig = field(default_factory=AttentionConfig)
    plan: PlanConfig = field(default_factory=PlanConfig)
    before: str | None = None
    dtype: Literal["native", "float32", "float16", "bfloat16"] = "native"
    batch_size: int | None = None
    seed: int = 0

    def __post_init__(self):
        if self.batch_size is not None and self.batch_size < 1:
            raise UserError(f"must be at least 1, got {self.batch_size}", argument="batch_size")


@dataclass(frozen=True, kw_only=True)
class ContextProbe:
    """A probe that was found valid; rows are in the order that the store will have."""

    config: ProbeConfig
    subject: Subject
    policy: Policy
    assembler: BatchAssembler
    plan: SamplingPlan
    taps: tuple[Tap, ...]
    specs: Mapping[str, TapSpec]
    meanings: Meanings
    variants: Mapping[str, Variant]
    rows: tuple[RowId, ...]
    processes: Processes

    @classmethod
    def prepare(
        cls, config: ProbeConfig, subject: Subject, out: Path, processes: Processes | None = None
    ) -> "ContextProbe":
        """Everything that can be wrong is found here, what is cheap first; `UserError`, and nothing was written.

        out  where the folder of the probe is, or will be: its disk must have room
        """
        processes = processes or Processes.find()
        specs = parse_variants(config.variants)
        episodes = subject.data.episodes("validation")
        plan = make_plan(episodes, config.plan)
        policy = subject.build(processes.device(subject.device))
        taps = resolve_taps(policy, config.taps)
        if config.attention.episodes:
            with attend(policy, config.attention):
                pass  # refuses layers that are not there
        measured = measure_taps(policy, taps)
        if config.dtype != "native":
            measured = {name: replace(spec, dtype=config.dtype) for name, spec in measured.items()}
        assembler = subject.data.assembler(episodes)
        meanings = find_meanings(subject.data.dataset.episodes, subject.data.config.instruction_label)
        variants = make_variants(specs, assembler, meanings, policy, config.seed)
        rows = tuple(RowId(*id) for id in list_rows(plan, assembler, variants))
        _refuse_full_disk(out, len(rows), measured)
        return cls(
            config=config,
            subject=subject,
            policy=policy,
            assembler=assembler,
            plan=plan,
            taps=taps,
            specs=measured,
            meanings=meanings,
            variants=variants,
            rows=rows,
            processes=processes,
        )

    @property
    def episodes(self) -> Sequence[Episode]:
        return self.assembler.episodes

    @property
    def store_bytes(self) -> int:
        return _count_bytes(len(self.rows), self.specs)

    @property
    def shortage(self) -> list[str]:
        """Of a run: what its episodes are too few for, and what would help."""
        folder = self.subject.run["folder"]
        if folder is None:
            return []
        stored = load_split(Path(folder) / "split.json")
        dealt = None if stored.unknown else {part: len(ids) for part, ids in stored.parts.items()}
        return find_shortage(self.plan, self.episodes, self.subject.split, dealt)

    def refuse_before(self, before: Store) -> None:
        """`UserError` for another probe with nothing in common, from which no row can have moved."""
        if {id for id in self.rows if id.variant == OWN}.isdisjoint(list_ids(before.rows)):
            raise UserError(
                f"none of the {len(self.rows)} rows is among the {len(before)} of {before.folder}; "
                "expected a probe of the same episodes and frames (data, split, plan)",
                argument="before",
            )

    def describe(self) -> list[str]:
        """What a user should read before it runs."""
        window = self.assembler.windows.window
        machine = f"{self.subject.accelerator} in {self.subject.precision}"
        weights = self.subject.run["checkpoint"] or "untrained: what the head predicts means nothing and is not stored"
        lines = [
            *self.subject.data.dataset.describe(),
            f"weights: {weights}",
            *self.plan.describe(self.specs),
            *describe(self.variants, self.plan, self.episodes, window),
            f"{len(self.rows)} rows, {_tell_bytes(self.store_bytes)}, on {machine}",
        ]
        notes = [self.subject.note] if self.subject.note else []
        return [*lines, *notes, *(f"warning: {line}" for line in self.shortage)]

    def run(self, out: Path, progress: Progress | None = None) -> "Probed":
        """Store what is missing in `out`; a complete store when all ranks return.

        `UserError` where a file goes bad, or the folder holds another probe; `Interrupted` behind the pass in which a
        signal came: what was stored stays.
        """
        folder, pace, begun = out / STORE, Pace(), time.perf_counter()
        maker = RowMaker(self.episodes, self.assembler, self.subject.parts, self.specs, self.subject.trained)
        report = None if progress is None else partial(progress, "probing")
        kept = f"what was stored stays: go on with the same words and out={out}"
        with hold_signals("this pass", kept) as leave_if_asked, self.processes.joined():
            with StoreWriter(folder, self.rows, self.specs, self.info(), rank=self.processes.rank) as writer:
                missing = {PairId(*id) for id in writer.missing()}
                self.processes.wait()  # all have seen what is missing before the first adds to it
                try:
                    probe(
                        self.policy,
                        self.assembler,
                        self.plan,
                        self.taps,
                        lambda found: writer.add(*maker.make(found)),
                        batch_size=self.batch_size,
                        interventions=self.variants,
                        rank=self.processes.rank,
                        world=self.processes.world,
                        todo=missing,
                        progress=report,
                        pace=pace,
                        check=leave_if_asked,
                    )
                except UserError as error:
                    raise error.but(message=f"{error.message}; {kept}") from error
            self.processes.wait()
            if self.processes.rank == 0:
                complete(folder, *([] if progress is None else [partial(progress, "completing the store")]))
            self.processes.wait()
            leave_if_asked()
        return Probed(store=open_store(folder), computed=len(missing), pace=pace, seconds=time.perf_counter() - begun)

    def attended(self) -> Iterator[list[AttendedFrame]]:
        """Where the action token looks, episode by episode: of some of the plan's, from the first to the last."""
        index = {episode.id: i for i, episode in enumerate(self.episodes)}
        ids = list(self.plan.frames)
        for place in spread(len(ids), self.config.attention.episodes):
            yield attend_frames(self.policy, self.assembler, index[ids[place]], self.config.attention)

    @property
    def batch_size(self) -> int:
        return self.config.batch_size or self.subject.data.config.batch_size

    def info(self) -> StoreInfo:
        """What the rows depend on, and where they come from."""
        return make_info(
            self.policy,
            self.subject.model,
            self.subject.data,
            self.plan,
            taps=self.config.taps,
            batch_size=self.batch_size,
            split=self.subject.split,
            precision=self.subject.precision,
            run={**self.subject.run, **({"warnings": lines} if (lines := self.shortage) else {})},
            variants=list(self.variants),
            seed=self.config.seed,
            fingerprints=self._hash_variants(),
        )

    def _hash_variants(self) -> dict[str, str]:
        """Of what changes the rows and does not show in their identity."""
        found = {
            name: hash_plain(variant.subspace.basis.tolist())
            for name, variant in self.variants.items()
            if variant.subspace is not None
        }
        return found | ({"meanings": hash_plain(sorted(self.meanings.of.items()))} if self.variants else {})


def open_before(folder: Path | str) -> Store:
    """The store of an earlier probe, named by its own folder or by the probe's."""
    place = Path(folder).expanduser().absolute()
    return open_store(place / STORE if (place / STORE).is_dir() else place)


@dataclass(frozen=True, kw_only=True)
class Probed:
    """computed: rows that were missing when it began;  pace, seconds: of this process, in this call."""

    store: Store
    computed: int
    pace: Pace
    seconds: float


def _refuse_full_disk(out: Path, rows: int, specs: Mapping[str, TapSpec]) -> None:
    """Until a store is complete, its rows are on disk twice."""
    there = next(folder for folder in (out, *out.parents) if folder.is_dir())
    needed, free = 2 * _count_bytes(rows, specs), shutil.disk_usage(there).free
    if needed > free:
        raise UserError(
            f"{there}: {_tell_bytes(free)} are free, and storing {rows} rows takes up to {_tell_bytes(needed)}; free "
            "some, give another folder (out), or ask for fewer rows (plan), fewer taps or a smaller dtype"
        )


def _count_bytes(rows: int, specs: Mapping[str, TapSpec]) -> int:
    return rows * (ROW_BYTES + sum(spec.row_bytes for spec in specs.values()))


def _tell_bytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"
