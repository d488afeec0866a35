"""What was found about a policy, as rows for people: each number with its 95 % interval, denominator and baselines.

In: the fields of `train.json` or `eval.json`. Out: rows of two cells.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mobile_vla.core.levels import DESCRIPTIONS, percent
from mobile_vla.core.plural import plural

Row = tuple[str, str]


def rows_of_findings(found: Mapping[str, Any], loss: float, part: str) -> list[Row]:
    """Loss, baselines, errors and effects of one policy; `part` says which episodes: validation, test or other."""
    counts, intervals = found["denominators"], found.get("intervals", {})
    over = _tell_counts(counts, part)
    of_baselines = intervals.get("baselines", {})
    signs, way = found["sign_accuracy"], found["displacement_error"]
    return [
        (f"{part} loss (Huber)", f"{_number(loss, intervals.get('loss'))}   over {over}"),
        *(
            (f"  baseline {name.replace('_', ' ')}", _number(value, of_baselines.get(name)))
            for name, value in found["baselines"].items()
        ),
        *_rows_of_ratio(found),
        ("RMSE of the velocities", _number(found["rmse"], intervals.get("rmse"))),
        (
            "lateral sign right",
            "no lateral command in the data"
            if signs is None
            else f"{_share(signs, intervals.get('sign_accuracy'))}   of {counts['lateral_entries']} entries",
        ),
        (
            "displacement error",
            "no whole chunk in the data"
            if way is None
            else f"{_number(way, intervals.get('displacement_error'), 3)} {found['displacement_unit']}   over "
            f"{counts['whole_chunks']} whole chunks",
        ),
        *(
            (f"effect of the {name}", _effect(effect))
            for name, effect in found["effects"].items()
            if effect["ratio"] is not None
        ),
        _row_of_level("over episodes; for the effect of the image, over pairs of episodes"),
    ]


def rows_of_model(found: Mapping[str, Any], root: Path) -> list[Row]:
    """Whose numbers these are: the weights and their file, relative to `root` where it is below it."""
    file = Path(found["checkpoint"])
    name = file.relative_to(root) if file.is_relative_to(root) else file
    return [
        ("trained parameters", f"{found['parameters']['trainable']:,} of {found['parameters']['total']:,}"),
        ("checkpoint", f"{name}  {found['checkpoint_bytes'] / 2**20:.1f} MiB"),
        (
            "speed",
            f"{found['windows_per_s']:.1f} windows/s, {found['data_wait_share']:.1%} of the time waiting for data",
        ),
    ]


def rows_of_notes(lines: Sequence[str]) -> list[Row]:
    return [("note", line) for line in lines]


def rows_of_spread(found: Mapping[str, Any], part: str) -> list[Row]:
    """Several runs: a row each, then means, and what of them differs from run to run."""
    rows = []
    for run in found["runs"]:
        effects = ", ".join(
            f"{name} x {run['effects'][name]['ratio']:.2f}"
            for name in ("instruction", "image")
            if run["effects"][name]["ratio"] is not None
        )
        interval = _number(run["loss"], run["intervals"]["loss"])
        rows.append((Path(run["run"]).name, f"{interval}   {effects}"))
    counts = found["denominators"]
    if counts["episodes"] is not None:
        rows[0] = (rows[0][0], f"{rows[0][1]}   over {_tell_counts(counts, part)}")
    spread = found["spread"]
    rows.append((f"mean {part} loss (Huber)", _mean(spread["loss"])))
    rows += [(f"  baseline {name.replace('_', ' ')}", f"{mean:.4f}") for name, mean in found["baselines"].items()]
    best = found["best_baseline"]
    if best is not None:
        rows.append((f"loss / {best.replace('_', ' ')}", _mean(spread["loss_over_baselines"][best], 2)))
    rows.append(("RMSE of the velocities", _mean(spread["rmse"])))
    for name in ("instruction", "image"):
        if spread[f"{name}_effect"] is not None:
            rows.append((f"effect of the {name}", f"loss x {_mean(spread[f'{name}_effect'], 2)}"))
    rows.append(_row_of_level("of a run, over episodes; of a mean, over runs"))
    return rows


def _row_of_level(over: str) -> Row:
    return "(a to b)", f"{percent(DESCRIPTIONS)} interval {over}"


def _rows_of_ratio(found: Mapping[str, Any]) -> list[Row]:
    if found["best_baseline"] is None or "loss_over_baselines" not in found:
        return []
    best = found["loss_over_baselines"][found["best_baseline"]]
    return [(f"loss / {found['best_baseline'].replace('_', ' ')}", _number(best["ratio"], best["ci"], 2))]


def _number(value: float, interval: Sequence[float] | None, digits: int = 4) -> str:
    between = f" ({interval[0]:.{digits}f} to {interval[1]:.{digits}f})" if interval else ""
    return f"{value:.{digits}f}{between}"


def _tell_counts(counts: Mapping[str, int], part: str) -> str:
    return f"{plural(counts['episodes'], f'{part} episode')}, {plural(counts['windows'], 'window')}"


def _share(value: float, interval: Sequence[float] | None) -> str:
    return f"{value:.1%}" + (f" ({interval[0]:.1%} to {interval[1]:.1%})" if interval else "")


def _effect(effect: Mapping[str, Any]) -> str:
    return f"loss x {_number(effect['ratio'], effect['ci'], 2)}   over {effect['units']} {effect['unit']}"


def _mean(spread: Mapping[str, Any], digits: int = 4) -> str:
    if spread["std"] is None:
        return f"{spread['mean']:.{digits}f}   in 1 run"
    return (
        f"{_number(spread['mean'], spread['ci'], digits)}   sd {spread['std']:.{digits}f} between {spread['runs']} "
        f"runs, smallest {spread['min']:.{digits}f}, largest {spread['max']:.{digits}f}"
    )
