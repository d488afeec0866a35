"""One job as Hydra calls it: values out of the composed configuration, preparation, folder, work, report.

In: the composed configuration. Out: the exit code (and, in a sweep, the folder's name), never an exception but
KeyboardInterrupt.
"""

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from mobile_vla.core.errors import UserError
from mobile_vla.core.file_names import make_file_name
from mobile_vla.jobs.claim import Claim
from mobile_vla.jobs.command import Command, Context, Job, SavedRun
from mobile_vla.jobs.listener import Listener
from mobile_vla.jobs.outcome import find_worst
from mobile_vla.jobs.output import check_out, create_exclusively, name_run, take_default, take_out
from mobile_vla.jobs.ranks import find_pinned_folder, find_rank, is_one_of_several, pin_folder
from mobile_vla.jobs.results import write_report
from mobile_vla.settings.composing import resolve
from mobile_vla.settings.saved import Saved


@dataclass(frozen=True, kw_only=True)
class Task:
    """The function that Hydra runs. `parent` is the sweep's folder, None outside a sweep.

    `others` are further runs beside `saved`, where `run=` names several.
    """

    command: Command
    typed: tuple[str, ...]
    saved: Saved | None = None
    others: tuple[SavedRun, ...] = ()
    parent: Path | None = None
    listener: Listener

    def __call__(self, composed: DictConfig) -> Any:
        """The exit code; in a sweep `(code, name of the job's folder)`."""
        rank = find_rank()
        if self.parent is None:
            return self.listener.settle(lambda: self._do(composed, self.typed, None, rank), rank)
        hydra = HydraConfig.get()
        overrides = tuple(str(text).removeprefix("++") for text in hydra.overrides.task)
        index = int(hydra.job.num)
        varied = [text for text in overrides if text not in self.typed] or list(overrides)
        folder = f"{index}_{name_run(varied)}"
        if rank == 0:
            print(f"job {index}: {' '.join(varied)}", flush=True)
        return self.listener.settle(lambda: self._do(composed, overrides, folder, rank), rank), folder

    def _do(self, composed: DictConfig, overrides: tuple[str, ...], folder: str | None, rank: int) -> int:
        composed_values = resolve(composed)
        out, name = composed_values.get("out"), composed_values.get("name")
        values = {key: value for key, value in composed_values.items() if key not in self.command.own_words}
        in_sweep = self.parent is not None
        chosen = None if out is None or in_sweep else Path(str(out)).expanduser().absolute()
        context = Context(
            command=self.command.name,
            overrides=overrides,
            name=(folder if in_sweep else make_file_name(str(name)) if name else None) or name_run(overrides),
            sweep=in_sweep,
            job_index=int(folder.partition("_")[0]) if folder else None,
            run_folder=self.saved.run_folder if self.saved else None,
            runs=self._list_runs(values),
            config_file=self.saved.file if self.saved else None,
            rank=rank,
            out=chosen,
        )
        pinned = None if in_sweep else find_pinned_folder()
        if chosen is not None and pinned is None and rank == 0 and not self.command.continues(chosen):
            check_out(chosen)  # again when it is made: preparing may take a while
        job = self.command.prepare(values, context)
        return self._work(job, context, chosen, pinned)

    def _list_runs(self, values: dict[str, Any]) -> tuple[SavedRun, ...]:
        if self.saved is None or self.saved.run_folder is None:
            return ()
        first = SavedRun(folder=self.saved.run_folder, config=values, saved=self.saved.resolve())
        return (first, *self.others)

    def _work(self, job: Job, context: Context, chosen: Path | None, pinned: Path | None) -> int:
        if job.folder is not None and context.sweep:
            raise UserError("--multirun with run=: every job would continue in the same folder; use config=")
        if job.folder is not None and chosen is not None:
            raise UserError(f"run= continues in its own folder, {job.folder}: leave out= away")
        known = job.folder or pinned
        if context.rank > 0:
            out = known or (self.parent / context.name if self.parent else chosen)
            if out is None:
                raise UserError("one of several processes: give out=<folder>, so that all of them share it")
            job.run(out)
            return 0
        if known is not None:
            known.mkdir(parents=True, exist_ok=True)  # a pinned one may be still to come
            return self._finish(job, context, known, pinned)
        claim = self._take(context, chosen)
        try:
            code = self._finish(job, context, claim.out, pinned)
        except BaseException:
            claim.release(remove_empty=True)
            raise
        claim.release()
        return code

    def _finish(self, job: Job, context: Context, out: Path, pinned: Path | None) -> int:
        """Work in a folder that is this job's, and report; the exit code is 0 only where the report is written."""
        with nullcontext() if pinned else pin_folder(out):
            report = job.run(out)
        write_report(report, out / f"{context.command}.json")
        self.listener.finish(report, out)
        if report.fault is not None:
            raise UserError(report.fault)
        return 0

    def _take(self, context: Context, chosen: Path | None) -> Claim:
        """The job's own folder, which no other job writes into."""
        if self.parent is not None:
            return Claim(create_exclusively(self.parent / context.name))
        if chosen is not None:
            return take_out(chosen, fresh=not self.command.continues(chosen))
        if is_one_of_several():
            raise UserError("one of several processes: give out=<folder>, so that all of them share it")
        return take_default(context.command, context.name)

    def conclude(self, outcomes: Sequence[tuple[int, str]]) -> int:
        """The end of a sweep: which jobs failed, the parent folder, the worst code."""
        failed = [folder for code, folder in outcomes if code]
        if find_rank() == 0:
            if failed:
                listed = ", ".join(failed)
                print(f"mobile-vla: {len(failed)} of {len(outcomes)} jobs failed: {listed}", file=sys.stderr)
            print(self.parent, flush=True)
        return find_worst(code for code, _ in outcomes)


def find_out(composed: DictConfig) -> Path | None:
    """The folder that `out` names, absolute; None where a default one is meant."""
    out = OmegaConf.select(composed, "out", throw_on_missing=False)
    return Path(str(out)).expanduser().absolute() if out is not None else None
