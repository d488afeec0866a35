"""A run taken out of this package: its policy as a folder that others load, with a card that says what it is.

In: a `StoredRun`. Out: the folder of `checkpoints.portable`, and `README.md` with the data, the numbers of these very
weights beside their baselines, and the code that loads them.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from mobile_vla.checkpoints.card import CardFacts, Metrics, render_card
from mobile_vla.checkpoints.portable import write_portable
from mobile_vla.checkpoints.trained import read_checkpoint
from mobile_vla.core.durable import write_text
from mobile_vla.core.errors import UserError
from mobile_vla.core.levels import DESCRIPTIONS, percent
from mobile_vla.core.plural import plural
from mobile_vla.data.splits import PARTS
from mobile_vla.opening.machine import PARAMETERS_ONLY
from mobile_vla.opening.stored_run import StoredRun

CARD = "README.md"
MOST_INSTRUCTIONS = 6


@dataclass(frozen=True, kw_only=True)
class PortableRun:
    """found: the fields of `train.json` or `eval.json` that hold for these weights; None where none do."""

    stored: StoredRun
    found: Mapping[str, Any] | None

    @classmethod
    def open(cls, stored: StoredRun, evaluation: Path | None) -> "PortableRun":
        """`evaluation` is the folder of an `eval` of these weights; without it, what training found of them."""
        if stored.at_start:
            raise UserError(
                "nothing was trained there; expected best, last or a file", argument="checkpoint", value="start"
            )
        return cls(stored=replace(stored, machine=PARAMETERS_ONLY), found=_find_numbers(stored, evaluation))

    def write(self, out: Path, merge: bool, license: str | None, data_license: str | None) -> dict[str, Any]:
        """Into `out`, which exists; returns what `head.json` says."""
        stored = self.stored
        known = read_checkpoint(stored.checkpoint)
        policy = stored.policy()
        run = {
            "name": stored.folder.name,
            "checkpoint": stored.checkpoint.name,
            "epoch": known["epoch"],
            "step": known["global_step"],
        }
        model = known["mobile_vla"]["config"]["model"]
        about = write_portable(
            policy,
            stored.source,
            stored.actions,
            stored.config.data.window,
            {"run": run, "lora": model["lora"], "parameters": policy.num_parameters()},
            out,
            merge,
        )
        facts = CardFacts(
            title=stored.folder.name,
            backbone=stored.source.config.title,
            transformers=stored.source.config.find_recipe(stored.source.architecture),
            data=self._describe_data(),
            metrics=None if self.found is None else describe_numbers(self.found),
            license=license,
            data_license=data_license,
        )
        write_text(out / CARD, render_card(about, facts))
        return about

    def _describe_data(self) -> list[str]:
        """Of the episodes only numbers and instructions: no name of a file or folder leaves."""
        data, split = self.stored.config.data, self.stored.split
        counts = ", ".join(f"{len(split.parts[part])} {part}" for part in PARTS)
        trained = [split.recorded[id] for id in split.parts["train"]]
        instructions = Counter(episode.instruction for episode in trained).most_common()
        shown = "; ".join(f"“{text}” ({number})" for text, number in instructions[:MOST_INSTRUCTIONS])
        more = f"; and {len(instructions) - MOST_INSTRUCTIONS} more" if len(instructions) > MOST_INSTRUCTIONS else ""
        return [
            f"Episodes: {counts}; the split is by whole episodes.",
            f"Trained on {sum(episode.num_frames for episode in trained)} frames.",
            f"Instructions, with their numbers of training episodes: {shown}{more}.",
            f"Actions: {', '.join(data.components)}; windows of {data.window} frames, chunks of {data.chunk} steps.",
        ]


def _find_numbers(stored: StoredRun, evaluation: Path | None) -> Mapping[str, Any] | None:
    file = stored.folder / "train.json" if evaluation is None else evaluation / "eval.json"
    if not file.is_file():
        if evaluation is not None:
            raise UserError(
                "no eval.json there; expected the output folder of an evaluation",
                argument="evaluation",
                value=evaluation,
            )
        return None
    found = cast(dict[str, Any], json.loads(file.read_text(encoding="utf-8")))
    if Path(str(found.get("checkpoint"))).name != stored.checkpoint.name:
        if evaluation is not None:
            raise UserError(
                f"is of another checkpoint, {found.get('checkpoint')}, not {stored.checkpoint}",
                argument="evaluation",
                value=evaluation,
            )
        return None  # of the best checkpoint, and another was asked for
    return found


def describe_numbers(found: Mapping[str, Any]) -> Metrics:
    """Loss, baselines and effects of `train.json` or `eval.json`, with their denominators."""
    own = found.get("val_loss", found.get("loss"))
    counts = found["denominators"]
    part = found.get("split") if isinstance(found.get("split"), str) else "other" if "loss" in found else "validation"
    effects = {name: found["effects"][name] for name in ("instruction", "image")}
    rows = [
        ("loss (Huber, normalised units)", f"{own:.4g}"),
        *((f"baseline {name.replace('_', ' ')}", f"{loss:.4g}") for name, loss in found["baselines"].items()),
        ("RMSE of the velocities", f"{found['rmse']:.4g}"),
        *(
            (
                f"loss with another {name} / loss",
                _tell_effect(effect),
            )
            for name, effect in effects.items()
        ),
    ]
    over = f"Over {plural(counts['episodes'], f'{part} episode')}, {plural(counts['windows'], 'window')}:"
    return Metrics(over=over, rows=rows, notes=found["warnings"])


def _tell_effect(effect: Mapping[str, Any]) -> str:
    """1 would be no change; whether it is one within chance, the interval tells."""
    if effect["ratio"] is None:
        return f"not measured: {effect['reason']}"
    if effect["ci"] is None:
        return f"{effect['ratio']:.3g} (no interval: too few episodes)"
    low, high = effect["ci"]
    return f"{effect['ratio']:.3g} ({percent(effect.get('level', DESCRIPTIONS))} interval {low:.3g} to {high:.3g})"
