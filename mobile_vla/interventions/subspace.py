"""Contexts replaced inside a subspace, between backbone and head: does the head read what lies there?

In: a `.npy` file of k directions (k, D). Out: contexts whose part inside their span is another one's, and whose part
outside is their own: the mean context of the rows that are probed, or the context of the same frame under another
intervention (`donor`, `swap`): an interchange, in which only what the subspace holds differs between the two.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mobile_vla.core.batch import Batch
from mobile_vla.core.errors import UserError
from mobile_vla.data.requests import Intervention, WindowRequest

DEPENDENT = 1e-6  # a direction that is nearly a mixture of the others: its singular value, relative to the largest


@dataclass(frozen=True, kw_only=True, eq=False)
class Subspace:
    """basis: orthonormal rows;  source: the mean of all rows (None), or the variant that gives the contexts."""

    basis: Float[Tensor, "k D"]
    source: str | None = None

    def replace_part(self, contexts: Float[Tensor, "n D"], others: Float[Tensor, "*n D"]) -> Float[Tensor, "n D"]:
        """The contexts with the others' part inside the subspace, computed in float32."""
        basis = self.basis.to(contexts.device)
        own = contexts.float()
        with torch.autocast(contexts.device.type, enabled=False):
            moved = own + ((others.float() - own) @ basis.T) @ basis
        return moved.to(contexts.dtype)


def load_basis(path: Path, width: int) -> Float[Tensor, "k D"]:
    """Orthonormal rows that span what the file's rows span; `UserError` where they are no k directions of `width`."""
    try:
        rows = np.load(path)  # never unpickles
    except (OSError, ValueError, EOFError) as error:
        raise UserError(
            f"{path} cannot be read as .npy ({error}); expected k directions: (k, {width})", argument="variants"
        ) from error
    if not isinstance(rows, np.ndarray) or rows.dtype.kind not in "fiu" or rows.ndim != 2 or rows.shape[1] != width:
        found = f"{rows.shape} {rows.dtype}" if isinstance(rows, np.ndarray) else "several arrays"
        raise UserError(
            f"{path} holds {found}, expected k directions of contexts in rows: numbers (k, {width})",
            argument="variants",
        )
    rows = rows.astype(np.float64)
    if not 0 < len(rows) < width or not np.isfinite(rows).all():
        raise UserError(
            f"{path} holds {len(rows)} rows, {(~np.isfinite(rows)).sum()} values not finite; expected "
            f"1 to {width - 1} finite ones",
            argument="variants",
        )
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    _, sizes, basis = np.linalg.svd(rows / np.where(lengths > 0, lengths, 1), full_matrices=False)
    if not lengths.all() or sizes[-1] <= DEPENDENT * sizes[0]:
        raise UserError(
            f"the {len(rows)} rows of {path} span fewer directions; leave out those that are zero or "
            "mixtures of others",
            argument="variants",
        )
    return torch.from_numpy(basis).float()


def with_source(source: Intervention | None, variant: str) -> Intervention:
    """Windows as recorded whose contexts get a part of what `source` makes of the same window."""

    def change(request: WindowRequest) -> WindowRequest | None:
        if source is None:
            return request
        changed = source(request)
        return None if changed is None else replace(request, source=replace(changed, variant=variant))

    return change


def edit_contexts(
    batch: Batch, subspaces: Mapping[str, Subspace], mean: Float[Tensor, " D"] | None
) -> Callable[[Tensor], Tensor] | None:
    """What changes the contexts of this batch: of all pairs of these variants, and of no other. None: nothing.

    mean: of the rows, for subspaces without a source
    """
    if not subspaces:
        return None
    pairs = {
        name: torch.tensor([i for i, id in enumerate(batch.pair_id) if id.variant == name], dtype=torch.int64)
        for name in subspaces
    }

    def edit(contexts: Float[Tensor, "P D"]) -> Float[Tensor, "P D"]:
        changed = contexts.clone()
        for name, subspace in subspaces.items():
            rows = pairs[name].to(contexts.device)
            if len(rows):
                others = _others(contexts, rows, batch, subspace, mean)
                changed[rows] = subspace.replace_part(contexts[rows], others)
        return changed

    return edit


def _others(contexts: Tensor, rows: Tensor, batch: Batch, subspace: Subspace, mean: Tensor | None) -> Tensor:
    if subspace.source is None:
        assert mean is not None, "a subspace without a source needs the mean of the rows"
        return mean.expand(len(rows), -1)
    assert batch.pair_source is not None, "made of requests that name their sources"
    return contexts[batch.pair_source.to(rows.device)[rows]]
