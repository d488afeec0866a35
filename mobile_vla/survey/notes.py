"""What a user should look at before training, in plain sentences, the gravest first."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from mobile_vla.core.plural import plural
from mobile_vla.sources.schema import UNKNOWN, Fault
from mobile_vla.survey.faults import sort_faults
from mobile_vla.survey.survey import Survey

Grade = Literal["mend", "look", "know"]
FEW_EPISODES = 3  # of a label value: they cannot be in training, validation and test
UNEVEN = 3.0  # largest to smallest value of a label
CONFOUNDED = 0.5  # Cramér's V
CIRCUMSTANCES = ("session", "time_period")  # when an episode was recorded, as against what it shows
OUTLYING = 2.0  # bounds to the range of the middle 98 %
DISAGREE = 0.2  # between the step duration that is set and the one that the files tell
GAPPY = 0.01  # share of steps that lost a frame
PADDED = 0.5
DARK = 8.0  # grey levels, of a whole frame


@dataclass(frozen=True)
class Note:
    """`mend` before training, have a `look`, or just `know`."""

    grade: Grade
    text: str


def write_notes(survey: Survey) -> list[Note]:
    """All notes, in the order of their grades."""
    notes = [
        *_on_faults(survey.faults, len(survey.episodes)),
        *_on_training(survey),
        *_on_copies(survey),
        *_on_instructions(survey),
        *_on_labels(survey),
        *_on_actions(survey),
        *_on_time(survey),
        *_on_frames(survey),
        *_on_constants(survey),
    ]
    order = ("mend", "look", "know")
    return sorted(notes, key=lambda note: order.index(note.grade))


def _on_faults(faults: Sequence[Fault], good: int) -> Iterator[Note]:
    if faults:
        commonest = sort_faults(faults)[0]
        where = f"{len(commonest.faults)} of them like this: {commonest.reason}"
        yield Note("mend", f"{len(faults)} of {len(faults) + good} files are left out ({where}).")


def _on_training(survey: Survey) -> Iterator[Note]:
    windows = survey.windows
    if survey.actions.refused:
        yield Note("mend", f"Training would refuse this data: {survey.actions.refused}.")
    if windows.windowless:
        yield Note(
            "mend",
            f"Training would refuse {len(windows.windowless)} of {_episodes(len(survey.episodes))}: with "
            f"data.ends=drop they hold no whole window of {windows.window} frames and chunk of {windows.chunk}; set "
            "data.ends=pad.",
        )
    if windows.split_refused:
        yield Note("mend", f"Training would refuse the split: {windows.split_refused}.")
    if windows.padded_share is not None and windows.padded_share > PADDED:
        yield Note(
            "know",
            f"{windows.padded_share:.0%} of the chunk entries lie beyond the end of their episode, or have no known "
            "action; they are masked, and never trained on.",
        )
    if windows.short_episodes:
        short = _episodes(windows.short_episodes)
        yield Note("look", f"Shorter than a window of {windows.window} frames: {short}.")


def _on_copies(survey: Survey) -> Iterator[Note]:
    near = [group for group in survey.copies if group.kind == "near"]
    exact = [group for group in survey.copies if group.kind == "exact"]
    differing = [group for group in survey.copies if group.differ_in]
    if near:
        number = sum(len(group.episodes) for group in near)
        yield Note(
            "mend",
            f"{number} episodes are near copies of one another (groups: {len(near)}): a split that parts them makes "
            "validation look better than it is. Keep one of each.",
        )
    if exact:
        number = sum(len(group.episodes) for group in exact)
        yield Note(
            "look",
            f"{number} episodes are exact copies of one another (groups: {len(exact)}): the split keeps them together, "
            "but they count twice. Keep one of each.",
        )
    if differing:
        what = sorted({name for group in differing for name in group.differ_in})
        yield Note(
            "mend",
            f"Copies of one another disagree in {', '.join(what)} (groups: {len(differing)}): what one of them says is "
            "wrong.",
        )


def _on_instructions(survey: Survey) -> Iterator[Note]:
    dependence, counts = survey.dependence, survey.counts
    if not dependence.depends:
        never = "Nothing measured on this data can show whether a policy reads its instruction"
        withheld = "The effect of the instruction is not measured on this data"
        yield Note("look", f"{withheld if dependence.test.can_tell else never}: {dependence.sentence}.")
    elif not dependence.predicts_label and len(counts.labels.get(dependence.label, {})) > 1:
        yield Note(
            "look",
            f"These episodes do not show that an instruction's text tells the label '{dependence.label}', so "
            "paraphrases are not told from swaps; set data.instruction_label to the label that they are about.",
        )
    if default := counts.instruction_sources["default"]:
        yield Note(
            "look",
            f"No instruction of its own in {default} of {_episodes(len(survey.episodes))}: they get "
            "data.instructions.default; data.instructions.table gives them one by label.",
        )


def _on_labels(survey: Survey) -> Iterator[Note]:
    if not survey.counts.labels:
        yield Note(
            "look",
            "No file name or attribute says a label: the split is not stratified, and nothing can be told apart by "
            "label.",
        )
    unknown = {name: values[UNKNOWN] for name, values in survey.counts.labels.items() if UNKNOWN in values}
    if unknown:
        listed = ", ".join(f"{name} for {number}" for name, number in unknown.items())
        yield Note("look", f"Labels that are unknown for some of {_episodes(len(survey.episodes))}: {listed}.")
    if survey.label_report is not None:
        yield Note("know", f"{'; '.join(line.strip() for line in survey.label_report.describe())}.")
    for name, label in survey.balance.labels.items():
        if name == "session" or label.values < 2:
            continue
        if label.rarest_count < FEW_EPISODES:
            yield Note(
                "look",
                f"{name}={label.rarest} has {label.rarest_count} of {_episodes(label.episodes)}: too few for training, "
                "validation and test.",
            )
        elif label.ratio > UNEVEN:
            yield Note("look", f"{name} is uneven: its commonest value is {label.ratio:.1f} times its rarest.")
    wanted = {survey.config.instruction_label, *survey.config.split.by} - set(CIRCUMSTANCES)
    for pair in survey.balance.associations:
        first, second = (pair.a, pair.b) if pair.a in CIRCUMSTANCES else (pair.b, pair.a)
        if first in CIRCUMSTANCES and second in wanted and pair.cramers_v >= CONFOUNDED:
            yield Note(
                "look",
                f"{second} goes with {first} (Cramér's V {pair.cramers_v:.2f} over {_episodes(pair.episodes)}): what a "
                f"policy learns of {second} may be the light of the {first}.",
            )


def _on_actions(survey: Survey) -> Iterator[Note]:
    for name, part in survey.actions.components.items():
        if part.varies and not part.chosen:
            yield Note(
                "look",
                f"{name} varies ({part.min:.3g} to {part.max:.3g}), but is not one of data.components="
                f"[{','.join(survey.config.components)}].",
            )
        if part.varies and part.chosen and part.max - part.min > OUTLYING * (part.p99 - part.p1) > 0:
            yield Note(
                "look",
                f"The bounds of {name}, {part.min:.3g} to {part.max:.3g}, are set by a few outliers: 98 % of its "
                f"values lie from {part.p1:.3g} to {part.p99:.3g}; consider data.bounds.{name}=[low,high].",
            )


def _on_time(survey: Survey) -> Iterator[Note]:
    steps = survey.steps
    said = {episode.step_s for episode in survey.episodes}
    if steps is not None:
        by = f"{steps.source} of {_episodes(steps.episodes)}"
        if None in said:
            yield Note("know", f"A step lasts {steps.median:.3g} s by the {by}: set data.step_s={steps.median:.3g}.")
        elif len(said) == 1 and abs(steps.median - (step := said.pop() or 0.0)) > DISAGREE * step:
            yield Note("look", f"data.step_s={step:g}, but a step lasts {steps.median:.3g} s by the {by}.")
        if steps.gaps is not None and steps.gaps > GAPPY:
            yield Note("look", f"{steps.gaps:.1%} of the steps last more than twice the median: frames were lost.")
        if steps.backward:
            yield Note("look", f"{steps.backward} time stamps do not go forward.")
    if survey.trajectories is not None and survey.trajectories.unit == "steps":
        unknown = " and ".join(
            name
            for name, values in (
                ("data.step_s", said),
                ("data.speed_scale", {episode.speed_scale for episode in survey.episodes}),
            )
            if None in values
        )
        yield Note("know", f"Distances are in steps, not metres: {unknown} not given.")


def _on_frames(survey: Survey) -> Iterator[Note]:
    if len(survey.counts.resolutions) > 1:
        listed = ", ".join(f"{size} ({number})" for size, number in survey.counts.resolutions.items())
        yield Note("know", f"Frames have {len(survey.counts.resolutions)} resolutions: {listed}; all are squashed.")
    if frozen := survey.constants.frozen:
        yield Note("look", f"Nothing moves in the frames of {_episodes(len(frozen))} (first: {frozen[0]}).")
    dark = [episode for episode in survey.episodes if survey.sketches[episode.id].brightness.min() < DARK]
    if dark:
        yield Note("look", f"Frames are all but black in {_episodes(len(dark))} (first: {dark[0].id}).")


def _on_constants(survey: Survey) -> Iterator[Note]:
    constants = survey.constants
    for name, (value, frames) in constants.frame_labels.items():
        yield Note("look", f"The frame label '{name}' is {value} in all {frames} known frames: it says nothing.")
    for a, b in constants.equal:
        yield Note("look", f"{a} and {b} are always equal.")
    for name, value in constants.labels.items():
        yield Note("know", f"The label '{name}' is '{value}' in every episode.")
    for a, b in constants.same_labels:
        yield Note("know", f"The labels '{a}' and '{b}' say the same.")


def _episodes(number: int) -> str:
    return plural(number, "episode")
