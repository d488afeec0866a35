"""Several runs together: what of a number is the runs' own, such as their seed's.

In: what `eval` found for each run. Out: the same fields as means over runs, and the spread between the runs. The
run is the unit here: an interval over runs says where the mean of further runs would lie, on these same episodes;
one over episodes (in each run's own findings) says what other episodes would change.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from mobile_vla.core.levels import DESCRIPTIONS

NUMBERS = (
    "loss", "rmse", "sign_accuracy", "displacement_error", "instruction_effect", "paraphrase_effect", "image_effect",
)  # fmt: skip


def spread(values: Sequence[float | None], level: float = DESCRIPTIONS) -> dict[str, Any] | None:
    """Mean, standard deviation between runs (n - 1), extremes, and Student's t interval of the mean over runs.

    Runs that have no value are left out of all but `values`; None where no run has one.
    """
    known = np.array([value for value in values if value is not None], dtype=np.float64)
    if not len(known):
        return None
    mean, ci, std = float(known.mean()), None, None
    if len(known) > 1:
        std = float(known.std(ddof=1))
        half = float(stats.t.ppf((1 + level) / 2, len(known) - 1)) * std / len(known) ** 0.5
        ci = [mean - half, mean + half]
    return {
        "mean": mean,
        "std": std,
        "min": float(known.min()),
        "max": float(known.max()),
        "ci": ci,
        "level": level,
        "runs": len(known),
        "values": list(values),
    }


def summarize(runs: Sequence[Mapping[str, Any]], notes: Sequence[str] = ()) -> dict[str, Any]:
    """The fields of `eval.json` for several runs; each run's own findings under `runs`.

    What the runs do not share (their checkpoint, or counts that differ) is null at the top.
    """
    spreads = {name: spread([run[name] for run in runs]) for name in NUMBERS}
    baselines = {name: spread([run["baselines"].get(name) for run in runs]) for name in _names(runs, "baselines")}
    ratios = {
        name: spread([run["loss_over_baselines"].get(name, {}).get("ratio") for run in runs]) for name in baselines
    }
    means = {name: found["mean"] for name, found in baselines.items() if found}
    return {
        **{name: found and found["mean"] for name, found in spreads.items()},
        "baselines": means,
        "best_baseline": min(means, key=lambda name: means[name], default=None),
        "reasons": {name: reason for run in runs for name, reason in run["reasons"].items()},
        "spread": {**spreads, "loss_over_baselines": ratios},
        "denominators": {
            "runs": len(runs),
            **{name: _shared([run["denominators"][name] for run in runs]) for name in runs[0]["denominators"]},
        },
        "parameters": _shared([run["parameters"] for run in runs]),
        "checkpoint": None,
        "checkpoint_bytes": _shared([run["checkpoint_bytes"] for run in runs]),
        "windows_per_s": float(np.mean([run["windows_per_s"] for run in runs])),
        "data_wait_share": float(np.mean([run["data_wait_share"] for run in runs])),
        "seconds": sum(run["seconds"] for run in runs),
        "warnings": list(notes),
        "runs": list(runs),
    }


def _names(runs: Sequence[Mapping[str, Any]], field: str) -> list[str]:
    return list(dict.fromkeys(name for run in runs for name in run[field]))


def _shared(values: Sequence[Any]) -> Any:
    return values[0] if all(value == values[0] for value in values) else None
