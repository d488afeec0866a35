"""Leaves out of a store what a simulation does not ask about, so that the whole judgement stays cheap."""

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa

from mobile_vla.analysis.verdicts.rigour import Rigour
from mobile_vla.contexts.reader import Store
from mobile_vla.contexts.rows import LABEL

RIGOUR = Rigour(permutations=199, spikes=60)
FEW = Rigour(permutations=39, spikes=60)  # where what is asked rests on no permutation


def rigour_of(seed: int, rigour: Rigour = RIGOUR) -> Rigour:
    """Folds and permutations of another seed for each store, lest one lucky deal decides all."""
    return replace(rigour, seed=seed % 1000)


def without(store: Store, *, labels: Sequence[str] = (), actions: bool = False) -> Store:
    """The same store, changed in place: without these labels, and where `actions` without recorded ones."""
    table = store.rows
    table = table.drop_columns([f"{LABEL}{name}" for name in labels if f"{LABEL}{name}" in table.column_names])
    if actions:
        place = table.column_names.index("action")
        table = table.set_column(place, "action", pa.nulls(len(table), table.schema.field("action").type))
    store.__dict__["rows"] = table  # in place of the cached property that reads the file
    return store
