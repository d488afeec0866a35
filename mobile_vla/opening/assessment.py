"""What a stored run is worth on episodes that it was not trained on: the findings of one run, and its figures.

In: a `StoredRun` and `HeldOut` episodes. Out: the fields of `eval.json`, with 95 % intervals over episodes, and
pictures in a folder. The same numbers that training reports for its validation split, from the same code.
"""

import time
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure

from mobile_vla.core.levels import percent
from mobile_vla.core.pace import Pace
from mobile_vla.data.assemble import WindowRequest
from mobile_vla.data.dataset import Progress
from mobile_vla.display.figures import chunk_figure, frame_strip
from mobile_vla.evaluation.findings import baseline_tables, describe, measure
from mobile_vla.evaluation.horizon_figure import horizon_figure
from mobile_vla.evaluation.intervals import find_intervals
from mobile_vla.evaluation.metrics import EpisodeSums
from mobile_vla.models.policy import Policy
from mobile_vla.opening.stored_run import HeldOut, StoredRun

SHOWN = 4  # windows in a figure


def assess(run: StoredRun, held: HeldOut, out: Path | None, progress: Progress | None = None) -> dict[str, Any]:
    """Plain values, as in `eval.json`; the figures lie in `out`, where there is one."""
    begun = time.perf_counter()
    policy = run.policy()
    sums = EpisodeSums(held.episodes, run.actions, run.config.data.chunk, run.config.optimization.huber_delta)
    baselines = baseline_tables(held.data, "validation", sums, held.training) if held.training else {}
    pace = Pace()
    measured = measure(policy, held.data, "validation", sums, held.training, progress, pace)
    found = describe(measured, {name: sums.summary(table)["loss"] for name, table in baselines.items()})
    found |= find_intervals(sums, measured.own, baselines)
    if held.no_training is not None:
        found["reasons"] |= {"baselines": held.no_training}
    found["warnings"] += _compared(found)
    if run.unknown_training is not None:
        found["warnings"].insert(0, run.unknown_training)
    if out is not None:
        _save(horizon_figure(sums, measured.own, baselines), out / "error_by_horizon.png")
        _draw_windows(policy, held, out)
    return {
        **found,
        "by_episode": _by_episode(sums, measured.own),
        "run": str(run.folder),
        "seed": run.config.seed,
        "split": held.part,
        "data": run.config.data.places(),
        "parameters": policy.num_parameters(),
        "checkpoint": str(run.checkpoint),
        "checkpoint_bytes": run.checkpoint.stat().st_size,
        "windows_per_s": pace.windows_per_s,
        "data_wait_share": pace.data_wait_share,
        "seconds": time.perf_counter() - begun,
        "accelerator": run.machine.accelerator,
        "precision": run.machine.precision,
    }


def _compared(found: dict[str, Any]) -> list[str]:
    """Where the policy is not better than a baseline, beyond what these episodes would show by chance."""
    if found["best_baseline"] is None:
        return [f"This loss has no baseline to compare it with: {found['reasons']['baselines']}."]
    best = found["loss_over_baselines"][found["best_baseline"]]
    if best["ci"] is None or best["ci"][1] < 1:
        return []
    between = f"{percent(best['level'])} interval {best['ci'][0]:.2f} to {best['ci'][1]:.2f}"
    return [
        f"The policy is not shown to be better than the baseline {found['best_baseline'].replace('_', ' ')}: its loss "
        f"is {best['ratio']:.2f} times that one's ({between}, {found['denominators']['episodes']} episodes)."
    ]


def _by_episode(sums: EpisodeSums, own: np.ndarray) -> list[dict[str, Any]]:
    """One row an episode: who it is, its loss, and over how much."""
    rows = []
    for episode, row in zip(sums.episodes, own, strict=True):
        summary = sums.summary(row[None])
        rows.append(
            {
                "episode": episode.id,
                "file": episode.place,
                "labels": dict(episode.labels),
                "instruction": episode.instruction,
                "loss": summary["loss"],
                "rmse": summary["rmse"],
                "windows": summary["denominators"]["windows"],
                "entries": summary["denominators"]["entries"],
            }
        )
    return rows


def _draw_windows(policy: Policy, held: HeldOut, out: Path) -> None:
    """The first windows of some episodes, evenly chosen: chunks as curves, frames with arrows."""
    episodes = held.episodes
    every = max(len(episodes) // SHOWN, 1)
    requests = [WindowRequest(episode=i, start=0) for i in range(0, len(episodes), every)][:SHOWN]
    batch = held.data.assembler(episodes)(requests)
    with torch.no_grad():
        predicted = policy(batch.to(policy.backbone.action_token.device)).float().cpu()
    _save(chunk_figure(predicted, batch, held.data.actions), out / "chunks.png")
    _save(frame_strip(predicted, batch, held.data.actions), out / "frames.png")


def _save(figure: Figure, file: Path) -> None:
    figure.savefig(file, dpi=120)
    plt.close(figure)  # else it is kept for as long as the process lives
