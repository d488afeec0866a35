"""`mobile-vla stats`: what a folder of episodes holds, before anything is trained on it.

In: the settings of `conf/stats.yaml`. Out: a table, `stats.json`, and `stats.html` with its figures beside it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobile_vla.core.plural import plural
from mobile_vla.jobs.command import Command, Context, Job, Report

if TYPE_CHECKING:
    from mobile_vla.survey.counts import Spread
    from mobile_vla.survey.notes import Note
    from mobile_vla.survey.survey import Survey

MAX_VALUES = 6  # of a label in a row of the table
MAX_NOTES = 6  # in the table; page and json hold all


def prepare(config: dict[str, Any], context: Context) -> Job:
    """Check the settings, find and read the episodes; the job describes them."""
    from mobile_vla.jobs.progress import show_steps
    from mobile_vla.settings.typed import build
    from mobile_vla.survey.lenient import SurveyConfig, open_leniently

    settings = build(SurveyConfig, config)
    with show_steps(enabled=context.rank == 0) as progress:
        dataset = open_leniently(settings.data, progress)

    def run(out: Path) -> Report:
        from mobile_vla.survey.contact import choose_shown
        from mobile_vla.survey.notes import write_notes
        from mobile_vla.survey.page import write_page
        from mobile_vla.survey.survey import take_survey

        with show_steps(enabled=context.rank == 0) as progress:
            survey = take_survey(settings.data, dataset, progress)
        notes = write_notes(survey)
        page = write_page(survey, notes, choose_shown(survey.episodes, settings.contact_sheet), out)
        payload = {**survey.payload(), "notes": [note.text for note in notes], "settings": config}
        return Report(payload=payload, table=[*_table(survey), *_list_notes(notes), ("page", page)])

    return Job(run=run)


def _table(survey: "Survey") -> list[tuple[str, str]]:
    """What there is, each number with its denominator."""
    counts, windows, actions = survey.counts, survey.windows, survey.actions
    total = len(survey.episodes)
    lengths = counts.lengths
    rows = [
        ("episodes", f"{total} good of {total + len(survey.faults)} files"),
        ("frames", f"{survey.num_frames}, an episode {lengths.min:g} to {lengths.max:g} (median {lengths.median:g})"),
        *_files(counts.bytes),
        ("resolution", f"{_list(counts.resolutions)}; {_list(counts.encodings)}; {_list(counts.layouts)}"),
        ("duration", _duration(survey)),
        *((name, _list(values)) for name, values in counts.labels.items()),
        ("instructions", f"{len(counts.instructions)} distinct; {_list(counts.instruction_sources)}"),
        ("actions follow the instruction", "yes" if survey.dependence.depends else survey.dependence.sentence),
    ]
    for name, part in actions.components.items():
        bounds = actions.bounds.get(name)
        told = (
            f"bounds {bounds[0]:.4g} to {bounds[1]:.4g}" if bounds else f"not chosen, {part.min:.4g} to {part.max:.4g}"
        )
        rows.append((name, f"{told}; zero in {part.zero_share:.0%} of {actions.frames} frames"))
    if (paths := survey.trajectories) is not None:
        length = f"median {paths.path_length.median:.3g} {paths.unit}"
        rows.append(("path length", f"{length} of {plural(total, 'episode')}"))
    rows += [
        (f"windows of {windows.window}", f"{windows.count} in {plural(total, 'episode')}, {_padded(survey)}"),
        ("copies", _copies(survey)),
    ]
    if windows.split is not None:
        dealt = ", ".join(f"{name} {part.episodes} ({part.windows})" for name, part in windows.split.items())
        rows.append(("split", f"episodes (windows): {dealt}"))
    return rows


def _files(sizes: "Spread | None") -> list[tuple[str, str]]:
    """A row on the files, where there are any."""
    from mobile_vla.survey.page import format_bytes

    return (
        [] if sizes is None else [("files", f"{format_bytes(sizes.total)}, {format_bytes(sizes.median)} each (median)")]
    )


def _duration(survey: "Survey") -> str:
    if survey.seconds is None:
        return "unknown: data.step_s is not given, and no file tells"
    given = all(episode.step_s is not None for episode in survey.episodes)
    said = "data.step_s" if survey.config.step_s is not None else "their source"
    by = said if given else survey.steps.source if survey.steps is not None else ""
    return f"{survey.seconds.total / 60:.1f} min, {survey.seconds.median:.3g} s each (median, by {by})"


def _padded(survey: "Survey") -> str:
    windows = survey.windows
    entries = windows.count * windows.window * windows.chunk
    share = "" if windows.padded_share is None else f" ({windows.padded_share:.0%} padded)"
    return f"{windows.valid_entries} of {entries} chunk entries valid{share}"


def _copies(survey: "Survey") -> str:
    if not survey.copies:
        return f"none among {plural(len(survey.episodes), 'episode')}"
    number = sum(len(group.episodes) for group in survey.copies)
    return f"{number} of {plural(len(survey.episodes), 'episode')} in {plural(len(survey.copies), 'group')}"


def _list(counts: Mapping[str, int]) -> str:
    """`left 250, right 250`; of many values only how many."""
    if len(counts) > MAX_VALUES:
        return f"{len(counts)} values, {min(counts.values())} to {max(counts.values())} episodes each"
    return ", ".join(f"{value} {number}" for value, number in counts.items())


def _list_notes(notes: "list[Note]") -> list[tuple[str, str]]:
    rows = [(f"▸ {note.grade}", note.text) for note in notes[:MAX_NOTES]]
    if len(notes) > MAX_NOTES:
        rows.append(("▸", f"{len(notes) - MAX_NOTES} more notes on the page"))
    return rows


COMMAND = Command(
    name="stats",
    summary="Describes a folder of episodes: what it holds, what would be trained on, what to look at first.",
    examples=(
        "mobile-vla stats data.root=episodes",
        "mobile-vla stats data=lab_box data.root=[day1,day2] out=before_training",
        "mobile-vla stats data.root=episodes data.components=[linear_x,angular_z] data.ends=drop",
    ),
    prepare=prepare,
)
