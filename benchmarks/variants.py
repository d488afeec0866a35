"""What five further texts cost a probe: they share the image part of the decoder, which is most of its sequence.

In: nothing. Out: lines for the demo's tiny model and for a Kosmos-2 of 166 million parameters: a whole probe, from
opening the store to completing it, with five text variants against one without. Four of them are those that users
type; the fifth has the words of each instruction in reverse, and is made as the others are.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.probe_cost import EPISODE_A_BATCH, TINY, in_new_folder, make_subject, time_probe
from benchmarks.setting import Setting
from benchmarks.table import Line
from benchmarks.timing import CLOCKS, alternate
from mobile_vla.contexts.rows import RowId
from mobile_vla.interventions.catalog import Spec, Variant
from mobile_vla.interventions.instructions import with_texts
from mobile_vla.probing.context_probe import ContextProbe, ProbeConfig
from mobile_vla.probing.engine import list_rows
from mobile_vla.probing.plans import PlanConfig

TEXTS = ("swap", "paraphrase", "empty", "shuffle")
REVERSED = "reversed"
THERE = 40  # episodes to choose from: with few, no two texts are known to mean the same
ROUNDS = 12  # at most; the limit of seconds comes first
ASKED = "<= 2.0"


def run(limit_s: float, threads: int) -> list[Line]:
    """A third of the time for the tiny model."""
    return [
        *measure("tiny", TINY, 40, limit_s / 3, threads),
        *measure("166 M, bf16", EPISODE_A_BATCH, 1, limit_s * 2 / 3, threads),
    ]


def measure(name: str, overrides: Sequence[str], episodes: int, limit_s: float, threads: int) -> list[Line]:
    """name: of the model, in the lines; episodes: that are probed."""
    with tempfile.TemporaryDirectory() as folder:
        subject = make_subject(Setting.prepare(Path(folder), overrides, THERE))
        config = ProbeConfig(plan=PlanConfig(episodes=episodes, minimum=0))
        plain = ContextProbe.prepare(config, subject, Path(folder))
        varied = with_reversed(ContextProbe.prepare(replace(config, variants=TEXTS), subject, Path(folder)))
        one, six = (f"{name}: {what}, {len(probe.rows)} rows" for what, probe in _named(plain, varied))
        probes = {
            one: in_new_folder(Path(folder), lambda out: time_probe(plain, out)),
            six: in_new_folder(Path(folder), lambda out: time_probe(varied, out)),
        }
        timings = alternate(probes, rounds=ROUNDS, limit_s=limit_s, threads=threads)
    return [
        line
        for clock in CLOCKS
        for line in (
            Line.of(timings, one, None, clock),
            replace(Line.of(timings, six, one, clock), asked=ASKED),
        )
    ]


def with_reversed(probe: ContextProbe) -> ContextProbe:
    """The same probe with one more text variant."""
    texts = [" ".join(reversed(episode.instruction.split())) for episode in probe.episodes]
    more = Variant(name=REVERSED, spec=Spec(REVERSED), change=with_texts(texts))
    variants = {**probe.variants, REVERSED: more}
    rows = tuple(RowId(*id) for id in list_rows(probe.plan, probe.assembler, variants))
    return replace(probe, variants=variants, rows=rows)


def _named(plain: ContextProbe, varied: ContextProbe) -> list[tuple[str, ContextProbe]]:
    return [("a probe", plain), (f"with {len(varied.variants)} text variants", varied)]
