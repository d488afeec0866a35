"""What one run is worth, or several: every run opened and its episodes found first, then judged one after the other.

In: opened runs and which of their episodes. Out: the fields of `eval.json`; of several runs their spread as well, and
what it includes besides their seeds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mobile_vla.checkpoints.choosing import START
from mobile_vla.core.errors import UserError
from mobile_vla.data.dataset import Progress
from mobile_vla.evaluation.spread import summarize
from mobile_vla.opening.assessment import assess
from mobile_vla.opening.stored_run import HeldOut, HeldOutPart, StoredRun
from mobile_vla.runs.settings import list_settings

PARTS = ("validation", "test")


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """runs: each with the episodes that it is judged on;  saved: its settings as it was trained, plain values."""

    runs: tuple[tuple[StoredRun, HeldOut], ...]
    saved: tuple[Mapping[str, Any], ...]

    @classmethod
    def open(
        cls,
        runs: Sequence[StoredRun],
        split: HeldOutPart | None,
        saved: Sequence[Mapping[str, Any]] | None = None,
        progress: Progress | None = None,
    ) -> "Evaluation":
        """split: without it the validation part, or of other data all episodes, none of which was trained on.

        saved: without it the settings that the runs have now. `UserError` where a run is not fit to be judged, or on
        none of the episodes.
        """
        found = tuple((run, _find_episodes(run, split, progress, several=len(runs) > 1)) for run in runs)
        return cls(runs=found, saved=tuple(saved or [asdict(run.config) for run in runs]))

    @property
    def part(self) -> str:
        return self.runs[0][1].part or "other"

    def run(self, out: Path | None, progress: Progress | None = None) -> dict[str, Any]:
        """The fields of `eval.json`. out: for figures; of several runs each gets a folder in it."""
        found = []
        for (stored, held), folder in zip(self.runs, self._name_folders(out), strict=True):
            if folder is not None:
                folder.mkdir(exist_ok=True)
            found.append(assess(stored, held, folder, progress))
        return found[0] if len(found) == 1 else summarize(found, self._tell_differences())

    def _name_folders(self, out: Path | None) -> list[Path | None]:
        """Where the figures of each run go: one run's into `out`, those of several into folders called by the runs."""
        if out is None or len(self.runs) == 1:
            return [out] * len(self.runs)
        names = [stored.folder.name for stored, _ in self.runs]
        unique = len(set(names)) == len(names)
        return [out / (name if unique else f"{index}_{name}") for index, name in enumerate(names)]

    def _tell_differences(self) -> list[str]:
        """What a spread includes besides the runs' seeds, in words."""
        notes = []
        judged = [{episode.fingerprint for episode in held.episodes} for _, held in self.runs]
        if any(episodes != judged[0] for episodes in judged):
            notes.append(
                "The runs are judged on different episodes: the spread includes the difference between the episodes."
            )
        trained = [{run.split.recorded[id].fingerprint for id in run.split.parts["train"]} for run, _ in self.runs]
        if any(episodes != trained[0] for episodes in trained):
            notes.append(
                "The runs were trained on different episodes: the spread includes the difference between their data."
            )
        plain = [{name: str(value) for name, value in list_settings(saved).items()} for saved in self.saved]
        names = sorted({name for values in plain for name in values})
        differing = [name for name in names if len({values.get(name) for values in plain}) > 1]
        other = [
            name for name in differing if name != "seed" and not name.startswith(("data.root", "data.pack", "logger."))
        ]
        if other:
            notes.append(f"The runs differ in more than their seed ({', '.join(other[:4])}): the spread includes both.")
        if len({values.get("seed") for values in plain}) < len(plain):
            notes.append(
                "Several runs have the same seed, so their trainings are not independent: the spread may be too small."
            )
        return notes


def check_wanted(split: str | None, checkpoint: str) -> None:
    """`UserError` for what no run can be judged by, before any is opened."""
    if split not in (None, *PARTS):
        raise UserError(f"expected one of {', '.join(PARTS)}", argument="split", value=split)
    if checkpoint == START:
        raise UserError(
            "before training the head predicts at random, so its loss is meaningless; expected best, last or a file "
            "(a probe takes start; the baselines are what a policy without its inputs would score)",
            argument="checkpoint",
            value=checkpoint,
        )


def _find_episodes(run: StoredRun, split: HeldOutPart | None, progress: Progress | None, several: bool) -> HeldOut:
    try:
        if run.untrained_head:
            raise UserError(
                "was imported from a file without an action head: its predictions are random until it is trained; "
                "train it first, or probe its contexts",
                argument="run",
                value=run.folder,
            )
        return run.held_out(split or (None if run.reads_other_files else "validation"), progress)
    except UserError as error:
        raise error.but(where=f"run {run.folder}") if several else error from None
