"""All that is told of one store: its verdicts, and what surrounds them.

In: a subject and what is asked. Out: an `Account`; the verdicts carry claims, everything else is description.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mobile_vla.analysis.descriptions.action_error import ActionError, find_action_error
from mobile_vla.analysis.descriptions.groups import Group, find_groups, find_saturated
from mobile_vla.analysis.descriptions.intervened import Effect, find_effects
from mobile_vla.analysis.descriptions.over_training import Course, follow_epochs
from mobile_vla.analysis.descriptions.projection import Map, make_map
from mobile_vla.analysis.pairs.layers import Layers, find_layers
from mobile_vla.analysis.subject import Subject
from mobile_vla.analysis.verdicts.discriminative.targets import list_unused
from mobile_vla.analysis.verdicts.discriminative.verdict import MEASURE
from mobile_vla.analysis.verdicts.judgement import Judgement, judge
from mobile_vla.analysis.verdicts.rigour import Rigour
from mobile_vla.analysis.verdicts.verdict import undecided
from mobile_vla.contexts.reader import Store
from mobile_vla.core.plural import plural

MOST_LABELS = 4  # that groups are made by


@dataclass(frozen=True, kw_only=True, eq=False)
class Account:
    """error     of the predicted chunks, or in words why there is none;  effects  by variant
    layers    CKA between its own taps, where it has several;  course  over its run's epochs
    """

    subject: Subject
    judgement: Judgement
    groups: tuple[Group, ...]
    saturated: tuple[int, ...]
    error: ActionError | str
    effects: tuple[Effect, ...]
    layers: Layers | None
    map: Map | None
    course: Course | None

    @property
    def effective_episodes(self) -> str:
        """How many different recordings there are, in words."""
        sample = self.judgement.sample
        told = f"{sample.num_episodes} of {sample.total} episodes are judged"
        if sample.copies:
            told += f", {len(sample.copies)} left out as copies of {plural(len(sample.clusters), 'recording')}"
        if self.judgement.scripts < sample.num_episodes:
            told += f"; their recorded actions are {self.judgement.scripts} distinct sequences"
        return told

    @property
    def trained_on(self) -> str:
        """How many of the episodes the run was trained on, in words; empty where that is known of none."""
        sample = self.judgement.sample
        return f"{sample.num_trained} of {sample.num_episodes} judged episodes were trained on" * bool(
            sample.num_trained
        )

    @property
    def recording(self) -> str:
        """What is known of when the episodes were recorded, in words."""
        sample = self.judgement.sample
        told = sample.sessions_by or "no recording session is known"
        return f"{told}; order of recording: {sample.ordered_by or 'not known'}"

    @property
    def labels(self) -> dict[str, str]:
        """Labels that are not used, or not all of it -> why."""
        return {**self.judgement.sample.label_notes, **list_unused(self.judgement.sample)}

    @property
    def parts(self) -> str:
        """Which of the run's split the rows are of, in words; nothing where there is no split."""
        found = Counter(part for part in self.subject.store.column("part") if part is not None)
        return ", ".join(f"{count:,} rows of the {part} part" for part, count in sorted(found.items()))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the probe has said before it ran: that its episodes are few, and what would help."""
        return tuple(self.subject.store.manifest.info.run.get("warnings", ()))

    def describe(self) -> dict[str, Any]:
        """`description.<store>` of compare.json."""
        sample = self.judgement.sample
        return {
            **self.judgement.description.to_plain(),
            "saturated": list(self.saturated),
            "groups": [group.to_plain() for group in self.groups],
            "episodes": {
                "in_store": sample.total,
                "looked_at": sample.num_episodes,
                "scripts": self.judgement.scripts,
                "copies": list(sample.copies),
                "recordings_with_copies": [list(names) for names in sample.clusters],
                "trained_on": sample.num_trained,
                "sessions": self.recording,
                "warnings": list(self.warnings),
            },
            "label_notes": self.labels,
            "action_error": self.error if isinstance(self.error, str) else self.error.to_plain(),
            "effects": {effect.variant: effect.to_plain() for effect in self.effects},
            "layers": self.layers and self.layers.to_plain(),
            "over_training": self.course and self.course.to_plain(),
        }

    def list_targets(self) -> list[dict[str, Any]]:
        """`targets.<store>` of compare.json: every label, the primary ones first, last those that are no targets."""
        primary, targets = self.judgement.primary, self.judgement.targets
        unused = {name: why for name, why in list_unused(self.judgement.sample).items() if name not in targets}
        return [
            *({**verdict.to_plain(), "primary": name in primary} for name, (_, verdict, _) in targets.items()),
            *({**undecided(name, MEASURE, 0.7, 0, why).to_plain(), "primary": False} for name, why in unused.items()),
        ]


def take_account(
    subject: Subject, tap: str, targets: Sequence[str], rigour: Rigour, untrained: Store | None
) -> Account:
    store = subject.store
    judgement = judge(store, tap, targets=targets, rigour=rigour, untrained=untrained)
    sample = judgement.sample
    vectors = sample.vectors(tap)
    asked = [name for name, (target, _, _) in judgement.targets.items() if len(target.classes) > 1]
    primary = judgement.primary[0] if judgement.primary else None
    return Account(
        subject=subject,
        judgement=judgement,
        groups=find_groups(sample, vectors, asked[:MOST_LABELS]),
        saturated=find_saturated(vectors),
        error=find_action_error(store),
        effects=find_effects(sample, tap),
        layers=find_layers(sample, sample),
        map=make_map(vectors, rigour.seed),
        course=None if subject.run is None else follow_epochs(subject.epochs, subject.run, tap, primary, rigour.seed),
    )
