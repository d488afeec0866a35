"""What a comparison calls its stores, and which of their runs differ in nothing but their seed.

In: the `Subject`s of a comparison. Out: the same with titles for people, and with what their runs
were trained with where the run's folder is still there.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from string import ascii_uppercase

import yaml

from mobile_vla.analysis.subject import Subject
from mobile_vla.core.members import name_members
from mobile_vla.runs.search import CONFIG

SIDES = ("left", "right")  # also values of labels: no name for a store
NOT_THE_RECIPE = ("seed", "out", "name", "run", "config")  # settings that two runs of one recipe may differ in


def title_subjects(subjects: Sequence[Subject]) -> list[Subject]:
    """Called by the names of their runs; by letters where those are the same, or are words for a side."""
    wanted = [subject.called for subject in subjects]
    times = Counter(wanted)
    letters = [ascii_uppercase[place % 26] + str(place // 26 or "") for place in range(len(subjects))]
    titles = [
        letter if name.casefold() in SIDES else f"{letter} ({name})" if times[name] > 1 else name
        for letter, name in zip(letters, wanted, strict=True)
    ]
    return [replace(subject, title=title) for subject, title in zip(subjects, titles, strict=True)]


def find_recipe(subject: Subject) -> tuple[str, int] | None:
    """A checksum of all settings of the store's run but its seed, and the seed; None where the run is not there.

    What was probed, and whether before training, is part of it.
    """
    told = subject.store.manifest.info
    folder = subject.run or told.run.get("folder")
    if folder is None:
        return None
    try:
        values = yaml.safe_load((Path(folder) / CONFIG).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None
    if not isinstance(values, dict) or not isinstance(values.get("seed"), int):
        return None
    rest = {name: value for name, value in values.items() if name not in NOT_THE_RECIPE}
    begun = told.run.get("step") == 0
    plain = json.dumps([name_members(rest), name_members(told.configuration), begun], sort_keys=True, default=str)
    return hashlib.sha256(plain.encode()).hexdigest()[:16], values["seed"]
