"""The whole survey of a dataset: every part of it, from the episodes and one look at their frames.

In: the settings of the data and an opened dataset. Out: a `Survey`; its `payload` is what `stats.json` holds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from mobile_vla.core.errors import UserError
from mobile_vla.data.dataset import DataConfig, Dataset, Progress
from mobile_vla.data.labelling.table import LabelReport
from mobile_vla.sources.schema import Episode, Fault
from mobile_vla.survey.actions import Actions, describe_actions
from mobile_vla.survey.balance import Balance, cross_table, weigh
from mobile_vla.survey.clock import StepDurations, measure_steps
from mobile_vla.survey.constants import Constants, find_constants
from mobile_vla.survey.counts import Counts, Spread, count
from mobile_vla.survey.dependence import Course, Dependence, examine_dependence
from mobile_vla.survey.duplicates import Copies, find_copies
from mobile_vla.survey.sketches import Sketch, sketch_all
from mobile_vla.survey.trajectories import Trajectories, describe_trajectories
from mobile_vla.survey.windows import Windows, count_windows


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What is known of a dataset.

    label_report  what became of the table of labels, if there was one
    trajectories  None where the actions are no velocities
    steps         None where no file tells how long a step lasted;  durations  all that were measured, in seconds
    """

    config: DataConfig
    episodes: tuple[Episode, ...]
    faults: tuple[Fault, ...]
    label_report: LabelReport | None
    sketches: Mapping[str, Sketch]
    counts: Counts
    actions: Actions
    steps: StepDurations | None
    durations: Float[np.ndarray, " steps"]
    trajectories: Trajectories | None
    windows: Windows
    balance: Balance
    constants: Constants
    copies: tuple[Copies, ...]
    dependence: Dependence
    course: Course

    @property
    def num_frames(self) -> int:
        return sum(episode.num_frames for episode in self.episodes)

    @property
    def seconds(self) -> Spread | None:
        """Duration of the episodes, by `data.step_s`, else by the step that the files tell."""
        measured = self.steps.median if self.steps is not None else None
        steps = [measured if episode.step_s is None else episode.step_s for episode in self.episodes]
        known = [step for step in steps if step is not None]
        if len(known) < len(steps):
            return None
        return Spread.of(e.num_frames * step for e, step in zip(self.episodes, known, strict=True))

    def payload(self) -> dict[str, Any]:
        """Plain values and dataclasses, by the names that other programs read."""
        counts, label = self.counts, self.config.instruction_label
        labels = [episode.label(label) for episode in self.episodes]
        sessions = [episode.label("session") for episode in self.episodes]
        return {
            "episodes": len(self.episodes),
            "frames": self.num_frames,
            "labels": counts.labels,
            "instructions": counts.instructions,
            "faults": self.faults,
            "bounds": self.actions.bounds,
            "windows": self.windows,
            "label_table": self.label_report,
            "roots": self.config.places(),
            "instruction_sources": counts.instruction_sources,
            "lengths": {**vars(counts.lengths), "episodes_of": counts.num_of_length},
            "seconds": self.seconds,
            "bytes": counts.bytes,
            "resolutions": counts.resolutions,
            "encodings": counts.encodings,
            "layouts": counts.layouts,
            "actions": self.actions.components,
            "known_actions": self.actions.frames,
            "step_durations": self.steps,
            "trajectories": self.trajectories,
            "copies": self.copies,
            "constants": self.constants,
            "balance": {
                "labels": self.balance.labels,
                "associations": self.balance.associations,
                f"session_by_{label}": cross_table(sessions, labels),
            },
            "instruction_dependence": self.dependence,
        }


def take_survey(config: DataConfig, dataset: Dataset, progress: Progress | None = None) -> Survey:
    """Look at a few frames of every episode, and describe all of it; `UserError` if no episode can be looked at."""
    report = None if progress is None else partial(progress, "looking at frames")
    sketches, unreadable = sketch_all(dataset.frames, dataset.episodes, report)
    faults = (*dataset.faults, *unreadable)
    episodes = tuple(episode for episode in dataset.episodes if episode.id in sketches)
    if not episodes:
        raise UserError(
            f"data.root: all {len(faults)} files are broken; the first, {faults[0].file}: {faults[0].reason}"
        )
    actions = describe_actions(config, episodes)
    steps, durations = measure_steps(episodes)
    dependence, course = examine_dependence(config, episodes, actions)
    return Survey(
        config=config,
        episodes=episodes,
        faults=faults,
        label_report=dataset.label_report,
        sketches=sketches,
        counts=count(episodes),
        actions=actions,
        steps=steps,
        durations=durations,
        trajectories=describe_trajectories(episodes, config.instruction_label),
        windows=count_windows(config, episodes),
        balance=weigh(episodes),
        constants=find_constants(episodes, actions, sketches),
        copies=tuple(find_copies(episodes, sketches)),
        dependence=dependence,
        course=course,
    )
