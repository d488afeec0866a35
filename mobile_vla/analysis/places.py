"""Which store a folder means: the folder of a store itself, of a probe, or of a training run.

In: folders, as text. Out: `Subject`s; `UserError` for a folder that holds no store.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mobile_vla.analysis.subject import Subject
from mobile_vla.contexts.manifest import MANIFEST, load_manifest
from mobile_vla.contexts.reader import Store, open_store
from mobile_vla.core.errors import UserError
from mobile_vla.core.file_names import STAMP, make_file_name
from mobile_vla.core.nearest import suggest_neighbour
from mobile_vla.runs.epoch_folders import FOLDER, list_epochs
from mobile_vla.runs.search import CONFIG

MOST_PICTURES = 4
PROBES = "probe"  # the folder of probes beside that of trainings
AT_START = "start"  # the checkpoint of a probe before training


def find_subject(text: str, argument: str, name: str | None = None) -> Subject:
    """argument  what the folder was given as, for errors;  name  of the store in the report; without it the folder's"""
    folder = Path(text).expanduser().absolute()
    if not folder.is_dir():
        what = "is a file: expected a folder" if folder.exists() else "there is no such folder"
        hint = "" if folder.exists() else suggest_neighbour(folder)
        raise UserError(f"{what}{hint}", argument=argument, value=text)
    if (folder / MANIFEST).is_file():
        return Subject(name=name or _name(folder), store=open_store(folder), pictures=_find_pictures(folder.parent))
    inside = folder / FOLDER
    if (inside / MANIFEST).is_file():
        return Subject(name=name or _name(folder), store=open_store(inside), pictures=_find_pictures(folder))
    if (folder / CONFIG).is_file():
        return _find_of_run(folder, text, argument, name)
    raise UserError(
        "no store of contexts there; expected the folder of a store, a probe or a run (probing a run makes one, "
        "importing arrays another)",
        argument=argument,
        value=text,
    )


def name_subjects(subjects: Sequence[Subject]) -> list[Subject]:
    """With names that differ: `_2`, `_3`, ... on those that are taken."""
    named: dict[str, Subject] = {}
    for subject in subjects:
        name, number = subject.name, 2
        while name in named:
            name, number = f"{subject.name}_{number}", number + 1
        named[name] = replace(subject, name=name)
    return list(named.values())


def check_comparable(subjects: Sequence[Subject], tap: str) -> None:
    """`UserError` where one lacks the tap, two are one store, or no two have an episode and frame in common."""
    for subject in subjects:
        taps = subject.store.taps
        if tap not in taps:
            raise UserError(
                f"{subject.store.folder} has no such tap; there are {', '.join(taps)}", argument="tap", value=tap
            )
    real = [subject.store.folder.resolve() for subject in subjects]
    twice = [folder for place, folder in enumerate(real) if folder in real[:place]]
    if twice:
        raise UserError(f"{twice[0]} is named twice: a store differs from itself in nothing; name another one")
    if len(subjects) < 2:
        return
    rows = [_list_rows(subject.store) for subject in subjects]
    alone = all(one.isdisjoint(other) for place, one in enumerate(rows) for other in rows[:place])
    if alone:
        raise UserError(
            f"{' and '.join(str(subject.store.folder) for subject in subjects)} have no episode and frame in common; "
            "probe the same episodes with both (data.root and split)"
        )


def _find_of_run(folder: Path, text: str, argument: str, name: str | None) -> Subject:
    """The store of its last epoch; where it stored none, its newest probe."""
    stores = {epoch: _open_complete(store) for epoch, store in list_epochs(folder / FOLDER).items()}
    epochs = {epoch: store for epoch, store in stores.items() if store is not None}
    title = name or _name(folder)
    if epochs:
        last = epochs[max(epochs)]
        return Subject(name=title, store=last, run=folder, epochs=epochs, pictures=_find_pictures(folder))
    probes = sorted(_list_probes(folder), key=lambda one: (one / FOLDER / MANIFEST).stat().st_mtime)
    for probe in reversed(probes):
        store = _open_complete(probe / FOLDER)
        if store is not None:
            return Subject(name=title, store=store, run=folder, pictures=_find_pictures(probe))
    raise UserError(
        "the run holds no complete store of contexts; probe the run, and give the folder of the probe",
        argument=argument,
        value=text,
    )


def _list_probes(run: Path) -> list[Path]:
    """Probes of this run's weights, not of those that it began with, where `probe` puts them by default."""
    found = []
    for file in (run.parent.parent / PROBES).glob("*/probe.json"):
        try:
            told = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        of_run = told.get("folder") == str(run) and told.get("checkpoint") != AT_START
        if of_run and (file.parent / FOLDER / MANIFEST).is_file():
            found.append(file.parent)
    return found


def _open_complete(folder: Path) -> Store | None:
    """None where it was left incomplete."""
    if not (folder / MANIFEST).is_file() or not load_manifest(folder).complete:
        return None
    return open_store(folder)


def _find_pictures(folder: Path) -> tuple[Path, ...]:
    """Attention maps that a probe drew."""
    return tuple(sorted(folder.glob("attention_*.png"))[:MOST_PICTURES])


def _name(folder: Path) -> str:
    """After the run or probe; an epoch's store also after its number."""
    if folder.parent.name == FOLDER:
        return make_file_name(f"{STAMP.sub('', folder.parent.parent.name)}_{folder.name}")
    if folder.name == FOLDER:
        folder = folder.parent
    return make_file_name(STAMP.sub("", folder.name))


def _list_rows(store: Store) -> set[tuple[str, int]]:
    own = store.select()
    return set(zip(store.column("episode")[own].tolist(), store.column("frame")[own].tolist(), strict=True))
