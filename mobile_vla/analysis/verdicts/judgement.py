"""Is the context of one store clear? The three verdicts, with what a reader needs to doubt them.

In: a store and a tap. Out: a `Judgement`. Which targets are primary is declared before any vector is looked at; over
them the p-values are adjusted (Holm).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from mobile_vla.analysis.descriptions.description import Description, describe_tap
from mobile_vla.analysis.sample import Sample, count_scripts, take_sample
from mobile_vla.analysis.verdicts.actionable.verdict import judge_actionable
from mobile_vla.analysis.verdicts.discriminative.decoding import Decoding
from mobile_vla.analysis.verdicts.discriminative.selectivity import add_selectivity
from mobile_vla.analysis.verdicts.discriminative.targets import Target, declare_targets, list_unused
from mobile_vla.analysis.verdicts.discriminative.verdict import MEASURE, MISSED, judge_discriminative
from mobile_vla.analysis.verdicts.preserving.chunk_fit import Fit
from mobile_vla.analysis.verdicts.preserving.verdict import judge_preserving
from mobile_vla.analysis.verdicts.rigour import Rigour
from mobile_vla.analysis.verdicts.verdict import Verdict, add_note, holm, say_briefly, say_p, undecided
from mobile_vla.contexts.reader import Store
from mobile_vla.core.errors import UserError
from mobile_vla.core.levels import ALPHA

IMAGES = ("pixels", "image_tokens")  # taps that hold what the model sees, not what it makes of it


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Judgement:
    """preserving, discriminative, actionable  verdicts; the second on the first primary target
    targets      name -> verdict and decoding of every label, the primary ones first
    primary      names of those that the verdicts are about; all others are exploratory
    fit          of the action chunk; None where there is none
    scripts      episodes whose recorded actions differ
    unlike       why the store of the untrained backbone is no baseline of this one, where it was given and is none
    """

    store: Store
    tap: str
    sample: Sample
    description: Description
    preserving: Verdict
    discriminative: Verdict
    actionable: Verdict
    targets: Mapping[str, tuple[Target, Verdict, Decoding | None]]
    primary: tuple[str, ...]
    fit: Fit | None
    scripts: int
    unlike: str | None

    @property
    def verdicts(self) -> dict[str, Verdict]:
        return {
            "preserving": self.preserving,
            "discriminative": self.discriminative,
            "actionable": self.actionable,
        }

    def __repr__(self) -> str:
        """Each verdict with its number and its reason, a line each."""
        told = [f"{name}: {say_briefly(verdict)}. {verdict.why}" for name, verdict in self.verdicts.items()]
        return "\n".join(told)

    def to_plain(self) -> dict[str, Any]:
        return {name: verdict.to_plain() for name, verdict in self.verdicts.items()}


def judge(
    store: Store,
    tap: str = "context",
    *,
    targets: Sequence[str] = (),
    rigour: Rigour | None = None,
    untrained: Store | None = None,
) -> Judgement:
    """untrained: a store of the same rows by the backbone before any training, as a baseline.

    `UserError` for a tap or a target that the store does not have.
    """
    rigour = rigour or Rigour()
    if tap not in store.taps:
        raise UserError(f"{store.folder}: no tap '{tap}'; there are {', '.join(store.taps)}")
    sample = take_sample(store, tap)
    baseline = None if untrained is None else _vectors_of(untrained, sample, tap)
    others = {} if baseline is None or isinstance(baseline, str) else {"untrained": baseline}
    found = _judge_sample(sample, tap, targets, rigour, others)
    verdicts = {name: _say_copies(verdict, sample) for name, verdict in found.verdicts.items()}
    unlike = baseline if isinstance(baseline, str) else None
    if unlike is not None:
        for name in ("preserving", "discriminative"):
            verdicts[name] = add_note(verdicts[name], unlike)
    if sample.num_trained:
        verdicts = _say_trained(verdicts, sample, tap, found.primary, rigour)
    return Judgement(
        store=store,
        tap=tap,
        sample=sample,
        description=describe_tap(store, tap),
        preserving=verdicts["preserving"],
        discriminative=verdicts["discriminative"],
        actionable=verdicts["actionable"],
        targets=found.targets,
        primary=found.primary,
        fit=found.fit,
        scripts=count_scripts(sample),
        unlike=unlike,
    )


class _Found(NamedTuple):
    """What is concluded from a sample alone; see `Judgement`."""

    verdicts: dict[str, Verdict]
    targets: Mapping[str, tuple[Target, Verdict, Decoding | None]]
    primary: tuple[str, ...]
    fit: Fit | None


def _judge_sample(
    sample: Sample,
    tap: str,
    targets: Sequence[str],
    rigour: Rigour,
    others: Mapping[str, Float[np.ndarray, "N D"]],
) -> _Found:
    """others: vectors of the same rows, as further baselines."""
    vectors = sample.vectors(tap)
    declared = declare_targets(sample, targets)
    primary = tuple(target.name for target in (declared if targets else declared[:1]))
    images = {name: sample.vectors(name) for name in IMAGES if name in sample.store.taps and name != tap}
    preserving, fit = judge_preserving(sample, vectors, rigour, images, others)
    judged = {
        target.name: (target, *judge_discriminative(sample, vectors, target, rigour, images | others))
        for target in declared
    }
    judged = _adjust(judged, primary)
    for name in primary:
        target, verdict, decoding = judged[name]
        verdict = replace(verdict, notes=(*verdict.notes, *target.notes))
        judged[name] = target, add_selectivity(verdict, sample, vectors, target, rigour), decoding
    discriminative = _choose(judged, primary, sample)
    actionable = _note_missed(judge_actionable(sample, tap, rigour), discriminative)
    verdicts = {"preserving": preserving, "discriminative": discriminative, "actionable": actionable}
    return _Found(verdicts, judged, primary, fit)


def _say_trained(
    verdicts: Mapping[str, Verdict], sample: Sample, tap: str, primary: Sequence[str], rigour: Rigour
) -> dict[str, Verdict]:
    """With a note of what each would be without the episodes that the model was trained on."""
    said = f"{sample.num_trained} of {sample.num_episodes} judged episodes were trained on"
    held_out = sample.without_trained()
    if held_out is None:
        left = sample.num_episodes - sample.num_trained
        why = f"{said}; the other {left} are too few to judge alone, so what would change without them is not known"
        return {name: add_note(verdict, why) for name, verdict in verdicts.items()}
    alone = _judge_sample(held_out, tap, [name for name in primary if name in held_out.labels], rigour, {}).verdicts
    return {
        name: add_note(verdict, f"{said}; by the other {held_out.num_episodes} alone: {say_briefly(alone[name])}")
        for name, verdict in verdicts.items()
    }


def _adjust(judged: Mapping[str, tuple[Target, Verdict, Any]], primary: Sequence[str]) -> dict:
    """p-values of the primary targets for their number; a yes that does not survive it becomes undecided."""
    asked = {name: judged[name][1].p_yes for name in primary}
    adjusted = holm({name: p for name, p in asked.items() if p is not None})
    found = dict(judged)
    for name, p in adjusted.items():
        target, verdict, decoding = judged[name]
        lost = {
            at: "undecided" for at in ("verdict", "at_half", "at_double") if p > ALPHA and getattr(verdict, at) == "yes"
        }
        corrected = f"{verdict.why}; corrected for {len(primary)} primary targets (Holm), {say_p(p)}"
        why = corrected if "verdict" in lost else verdict.why
        needed = verdict.n + 1 if "verdict" in lost else verdict.n_needed
        found[name] = target, replace(verdict, **{**lost, "p_yes": p, "n_needed": needed, "why": why}), decoding
    return found


def _note_missed(actionable: Verdict, discriminative: Verdict) -> Verdict:
    """What is acted on is there, even where the linear probe does not find it."""
    if actionable.verdict != "yes" or not any(note.startswith(MISSED) for note in discriminative.notes):
        return actionable
    note = f"the head acts on what a linear probe misses of these contexts ({discriminative.target})"
    return replace(actionable, notes=(*actionable.notes, note))


def _choose(judged: Mapping[str, tuple[Target, Verdict, Any]], primary: Sequence[str], sample: Sample) -> Verdict:
    """The verdict that speaks for the store: yes where one primary target is decoded, no where none can be."""
    if not primary:
        unused = "; ".join(list_unused(sample).values())
        why = f"no label has a value for each episode, so that none can be asked about{unused and f' ({unused})'}"
        return undecided("none", MEASURE, 0.7, sample.num_episodes, why)
    order = ("yes", "undecided", "no")
    return min((judged[name][1] for name in primary), key=lambda verdict: order.index(verdict.verdict))


def _say_copies(verdict: Verdict, sample: Sample) -> Verdict:
    """Where nothing could be measured, and copies are left out, they come first: they may be why."""
    if not sample.copies or verdict.statistic is not None:
        return verdict
    left_out = f"{len(sample.copies)} of {sample.total} episodes are copies of others, and a recording counts once"
    return replace(verdict, why=f"{left_out}: {verdict.why}")


def _vectors_of(untrained: Store, sample: Sample, tap: str) -> Float[np.ndarray, "N D"] | str:
    """Of the sample's rows in the other store; in words where it lacks some of them."""
    if tap not in untrained.taps:
        return f"the untrained backbone's store has no tap {tap}: it is no baseline"
    names, frames = untrained.column("episode"), untrained.column("frame")
    place = {(names[row], int(frames[row])): row for row in untrained.select().tolist()}
    wanted = zip(
        sample.store.column("episode")[sample.rows].tolist(),
        sample.store.column("frame")[sample.rows].tolist(),
        strict=True,
    )
    rows = [place.get(key) for key in wanted]
    there = [row for row in rows if row is not None]
    if lacking := len(rows) - len(there):
        return (
            f"the untrained backbone's store lacks {lacking} of the {len(rows)} rows that are looked at: it is no "
            "baseline; probe it on the same rows (probe.plan.of=<this store>)"
        )
    return np.asarray(untrained.vectors(tap)[there], np.float32).reshape(len(rows), -1)
