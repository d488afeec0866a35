"""Runs as rows for people, and lines above them: a setting that all runs share is printed once, not in every row.

In: summaries by name. Out: a `RunsTable`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mobile_vla.runs.summary import RunSummary

NONE = "–"
MEASURED = {"val_loss", "/ baseline", "instruction", "image", "last eval"}  # stay, unless no run has one
OF_THE_LOSS = ("data.components", "data.window", "data.chunk", "data.ends", "optimization.huber_delta")
PLACES = ("data.root", "data.pack_dir", "cache.dir", "logger.")  # where things lie, not what a run is
MOST_SETTINGS, MOST_VALUES = 8, 4  # that are listed


@dataclass(frozen=True, kw_only=True)
class RunsTable:
    lines: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def table_of_runs(runs: Mapping[str, RunSummary]) -> RunsTable:
    """With one run, every column that has a value."""
    bests = {run.best_baseline for run in runs.values() if run.loss_over_baseline is not None}
    cells = [{"run": name, **_cells(run, name_baseline=len(bests) > 1)} for name, run in runs.items()]
    lines = []
    if len(bests) == 1:
        lines.append(f"/ baseline: val_loss / loss of {bests.pop().replace('_', ' ')}, the best baseline in every run")
    shared, unknown = [], []
    for column in list(cells[0]):
        values = {row[column] for row in cells}
        if values == {NONE}:
            unknown.append(column)
        elif len(cells) > 1 and len(values) == 1 and column not in MEASURED | {"run"}:
            shared.append(f"{column} {values.pop()}")
        else:
            continue
        for row in cells:
            del row[column]
    if shared:
        lines.insert(0, f"the same for all: {'; '.join(shared)}")
    if unknown:
        lines.append(f"not known of any run: {', '.join(unknown)}")
    if {"instruction", "image"} & cells[0].keys():
        lines.append(
            "instruction, image: loss with that input replaced / loss (1: no change); eval tells it with its interval"
        )
    if any("(" in row.get(column, "") for row in cells for column in ("instruction", "image", "last eval")):
        lines.append("(n): over n episodes; without, over all validation episodes")
    lines += _tell_differences(runs)
    if any(run.is_last and run.val_loss is not None for run in runs.values()):
        lines.append(
            "* loss of the last validation (the run has no train.json yet); the others: loss of the best checkpoint"
        )
    lines += [f"{name} is broken: {'; '.join(run.problems)}" for name, run in runs.items() if run.problems]
    return RunsTable(lines=tuple(lines), columns=tuple(cells[0]), rows=tuple(tuple(row.values()) for row in cells))


def _cells(run: RunSummary, name_baseline: bool) -> dict[str, str]:
    over, best = run.loss_over_baseline, run.best_baseline
    named = f" {best.replace('_', ' ')}" if name_baseline and best else ""
    return {
        "state": run.state,
        "epochs": _tell_epochs(run),
        "val_loss": NONE if run.val_loss is None else f"{run.val_loss:.4f}{'*' if run.is_last else ''}",
        "/ baseline": NONE if over is None else f"{over:.2f}{named}",
        "instruction": _tell_effect(run, "instruction"),
        "image": _tell_effect(run, "image"),
        "episodes": str(run.episodes or NONE),
        "model": run.model or NONE,
        "lora": run.lora or NONE,
        "trained": f"{run.parameters['trainable']:,}" if run.parameters else NONE,
        "stores": str(run.stores or NONE),
        "last eval": _tell_evaluation(run.evaluation),
    }


def _tell_epochs(run: RunSummary) -> str:
    if run.epochs is None:
        return NONE
    return f"{run.epochs} of {run.max_epochs}" if run.max_epochs and run.max_epochs > 0 else str(run.epochs)


def _tell_effect(run: RunSummary, name: str) -> str:
    """With its number of episodes where it is not that of all: some have no other instruction, or no donor."""
    effect = run.effects.get(name)
    if effect is None or effect["ratio"] is None:
        return NONE
    few = "" if effect["episodes"] == run.episodes else f" ({effect['episodes']})"
    return f"x {effect['ratio']:.2f}{few}"


def _tell_evaluation(found: Mapping[str, Any] | None) -> str:
    if found is None or found["loss"] is None:
        return NONE
    return f"{found['loss']:.4f} {found['split'] or 'other'} ({found['episodes']})"


def _tell_differences(runs: Mapping[str, RunSummary]) -> list[str]:
    """What the runs differ in, and what keeps their losses from being compared."""
    known = [run for run in runs.values() if run.settings]
    if len(known) < 2:
        return []
    names = sorted({name for run in known for name in run.settings if not name.startswith(PLACES)})
    differing = {}
    for name in names:
        values = list(dict.fromkeys(str(run.settings.get(name)) for run in known))
        if len(values) > 1:
            differing[name] = values
    told = [
        f"{name} {', '.join(values)}" if len(values) <= MOST_VALUES else f"{name} ({len(values)} values)"
        for name, values in list(differing.items())[:MOST_SETTINGS]
    ]
    if len(differing) > MOST_SETTINGS:
        told.append(f"and {len(differing) - MOST_SETTINGS} more settings")
    lines = [f"they differ in: {'; '.join(told)}"] if told else []
    sets = {run.judged_on for run in known if run.val_loss is not None and run.judged_on is not None}
    why = [f"validation episodes ({len(sets)} sets)"] if len(sets) > 1 else []
    why += [name for name in OF_THE_LOSS if name in differing]
    if why:
        lines.append(
            f"their losses cannot be compared, since they differ in {', '.join(why)}: compare / baseline instead"
        )
    return lines
