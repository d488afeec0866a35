"""Training, validation and test by whole episodes, stratified by label, fixed by seed, stored with the run."""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linprog

import mobile_vla
from mobile_vla.data.schema import Episode
from mobile_vla.errors import UserError

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")
SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """Shares of the episodes (the rest trains), the labels that are kept in proportion, and the seed.

    The seed is the split's own: another training seed must not change what is held out.
    """

    validation: float = 0.15
    test: float = 0.15
    by: tuple[str, ...] = ("direction",)
    seed: int = 0

    def __post_init__(self):
        if min(self.validation, self.test) < 0 or self.validation == 0 or self.validation + self.test >= 1:
            raise ValueError(
                f"data.split: shares must leave room for training and validation, got "
                f"validation={self.validation}, test={self.test}"
            )


@dataclass(frozen=True)
class Split:
    """Ids of the episodes of each part, sorted."""

    parts: dict[Part, tuple[str, ...]]

    def of(self, episodes: Sequence[Episode], part: Part) -> list[Episode]:
        """The episodes of a part, in the order of their ids; `UserError` if one of them is gone."""
        known = {episode.id: episode for episode in episodes}
        gone = [id for id in self.parts[part] if id not in known]
        if gone:
            raise UserError(
                f"the run's {part} split names {len(gone)} episodes that are not in data.root any more "
                f"(first: {gone[0]}); restore them, or start a new run with train config=<run>/config.yaml"
            )
        return [known[id] for id in self.parts[part]]


def make_split(episodes: Sequence[Episode], config: SplitConfig) -> Split:
    """Deal episodes so that every stratum, and the whole, keep the shares to within one episode.

    A pure function of ids, labels and configuration: the order of the files means nothing.
    """
    strata: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for episode in episodes:
        strata[tuple(episode.label(name) for name in config.by)].append(episode.id)
    shares = np.array([1 - config.validation - config.test, config.validation, config.test])
    counts = round_shares(np.array([len(strata[key]) for key in sorted(strata)]), shares)
    rng = np.random.default_rng(config.seed)
    parts: dict[Part, list[str]] = {part: [] for part in PARTS}
    for key, row in zip(sorted(strata), counts, strict=True):
        ids = sorted(strata[key])
        dealt = np.split(rng.permutation(len(ids)), np.cumsum(row)[:-1])
        for part, chosen in zip(PARTS, dealt, strict=True):
            parts[part] += [ids[i] for i in chosen]
    if not parts["train"] or not parts["validation"]:
        raise UserError(
            f"data.split: {len(episodes)} good episodes cannot be split into training and validation "
            f"({config.validation:g} validation, {config.test:g} test); record more, or raise data.split.validation"
        )
    return Split({part: tuple(sorted(ids)) for part, ids in parts.items()})


def round_shares(
    sizes: Int[np.ndarray, " strata"], shares: Float[np.ndarray, " parts"]
) -> Int[np.ndarray, "strata parts"]:
    """Whole numbers near sizes x shares: rows add up to the sizes, each cell and each column is off by less than one.

    Controlled rounding (Cox 1987), as the linear programme that it is: its constraints are totally unimodular, so
    its corners are whole. Where it is free it gives to the largest remainder, and to training first.
    """
    wanted = sizes[:, None] * shares
    floors = np.floor(wanted + 1e-9)
    rest = np.clip(wanted - floors, 0, 1)  # what each cell lacks
    rest[rest < 1e-9] = 0
    num_rows, num_columns = rest.shape
    rows = np.kron(np.eye(num_rows), np.ones(num_columns))
    columns = np.kron(np.ones(num_rows), np.eye(num_columns))
    totals = rest.sum(axis=0)
    prefer = rest + np.array([1e-3, 5e-4, 0.0])[:num_columns]
    solved = linprog(
        -prefer.ravel(),
        A_eq=rows,
        b_eq=sizes - floors.sum(axis=1),
        A_ub=np.vstack([columns, -columns]),
        b_ub=np.concatenate([np.ceil(totals - 1e-9), -np.floor(totals + 1e-9)]),
        bounds=np.stack([np.zeros(rest.size), np.ceil(rest.ravel())], axis=1),
        method="highs-ds",  # the simplex method ends in a corner
    )
    assert solved.success, "a controlled rounding always exists"
    return (floors + np.round(solved.x).reshape(rest.shape)).astype(int)


def save_split(split: Split, episodes: Sequence[Episode], config: SplitConfig, file: Path) -> None:
    """`split.json`: the ids of each part, where their files were, and the counts by stratum."""
    known = {episode.id: episode for episode in episodes}
    content = {
        "schema": SCHEMA,
        "version": mobile_vla.__version__,
        "seed": config.seed,
        "by": list(config.by),
        "counts": {part: len(ids) for part, ids in split.parts.items()},
        "strata": {
            part: dict(Counter("/".join(known[id].label(name) for name in config.by) for id in ids))
            for part, ids in split.parts.items()
        },
        "splits": {
            part: [{"episode": id, "file": str(known[id].path)} for id in ids] for part, ids in split.parts.items()
        },
    }
    part_file = file.with_suffix(".part")
    part_file.write_text(json.dumps(content, indent=1, ensure_ascii=False))
    part_file.replace(file)


def load_split(file: Path) -> Split:
    """The split of a run; `UserError` if the file is of another schema."""
    content = json.loads(file.read_text())
    if content.get("schema") != SCHEMA:
        raise UserError(f"{file}: schema {content.get('schema')} is not known, expected {SCHEMA}")
    return Split({part: tuple(row["episode"] for row in content["splits"][part]) for part in PARTS})
