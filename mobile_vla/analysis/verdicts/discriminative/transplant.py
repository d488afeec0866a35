"""Would a code have been found? Codes of known strength are planted along directions of smaller and smaller spread.

In: contexts, the question that was asked of them, and the accuracy that was seen. Out: `Transplants`: for each spread
sigma of a fixed grid, how often a planted code scores no more than what was seen; and sigma*, the smallest of them down
to which codes would have been found.

One component of the contexts is replaced by a code of two standard deviations:

    X' = X (I - u u') + sigma (2 y + noise) u',    u a random unit vector, y permuted labels (-1, 1), noise normal

so that along u the spread inside a class is sigma, whatever it was before. (Adding a code to what a *random* direction
holds asks about directions of average spread only, and of a code along a weaker one it said "would have been found" in
47 to 80 % of stores.) X are the contexts as the classifier sees them: each dimension divided by its standard deviation,
cells centred. With p = X u and c = 2 y + noise the inner products change by rank two, K' = K - p p' + sigma^2 c c', and
with W = [p, c], U = (I - H) W, S = diag(-1, sigma^2) what a fit without the block B leaves is

    e'_B = x + Y (penalty S^-1 + W' U - U_B' Y)^-1 (U_B' x - U' y),    [x, Y] = (I - H)_BB^-1 [((I - H) y)_B, U_B]

by Woodbury's identity, twice. Only S depends on sigma: the whole grid costs one solution. For more than two classes
one component for each of C - 1 contrasts is replaced.

Grid and levels: sigma is a multiple of the spread of a typical direction (`typical_spread`: by the median component, so
that a few large ones do not count). It falls from 8 times to 1/4 of that; sigma* is the last one before p <= .05 first
fails, a fixed order of tests, which needs no correction. "No" takes all of them down to 1, a typical direction; `p` is
the largest of those.

The accuracy that was seen is the mean over many deals of the folds and that of a planted code over `DEALS` of them, so
planted codes vary a little more: that errs on the side of "would have been missed".
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from mobile_vla.analysis.verdicts.discriminative.dealing import Deals, batched, code_labels
from mobile_vla.analysis.verdicts.folds import permutations
from mobile_vla.analysis.verdicts.permuting import ROUNDING
from mobile_vla.analysis.verdicts.preserving.ridge import Ridge
from mobile_vla.analysis.verdicts.rigour import SPIKE_SD, Rigour
from mobile_vla.core.levels import ALPHA

GRID = (8.0, 4.0, 2.0, 1.41, 1.0, 0.71, 0.5, 0.35, 0.25)  # times the spread of a typical direction
TYPICAL = GRID.index(1.0)  # down to here codes must be found for a no
DEALS = 5
# Planted are codes a little weaker than what a no speaks of. At the full strength p <= .05 came in 6.1 % (4.2 to 8.9)
# of 407 stores whose label is coded at exactly 2 sd (40 episodes, power-law spectrum, component 100 of 256), in 4.9 %
# of 285 with a flat spectrum; at this strength in 2.3 % (1.1 to 4.9) of 260 of the former.
PLANTED = 0.95
MOST = 10  # times `rigour.spikes`, that are drawn where p is near .05: else the seed decides
SURE = 2.6  # standard errors from .05 at which the drawing stops


@dataclass(frozen=True, kw_only=True)
class Transplants:
    """p         of the levels of the grid down to a typical direction, the largest
    p_values     of each level;  spreads  sigma of each level, as a share of the contexts' rms norm
    sigma        the smallest level down to which p <= .05, as such a share; None where the first one fails
    draws        codes that were planted
    """

    p: float
    p_values: tuple[float, ...]
    spreads: tuple[float, ...]
    sigma: float | None
    draws: int

    @property
    def typical(self) -> float:
        """Spread of a typical direction, as a share of the rms norm."""
        return self.spreads[TYPICAL]

    def to_plain(self) -> dict[str, Any]:
        return {
            "sd": SPIKE_SD,
            "spread": [round(spread, 5) for spread in self.spreads],
            "p": list(self.p_values),
            "sigma": self.sigma,
            "typical_direction": self.typical,
            "draws": self.draws,
            "unit": "share of the contexts' rms norm (dimensions scaled by their standard deviation)",
        }


def plant_codes(
    seen: float,
    values: Float[np.ndarray, "n D"],
    ridge: Ridge,
    penalty: float,
    deals: Deals,
    cells: Int[np.ndarray, " n"],
    weights: Float[np.ndarray, " n"],
    rigour: Rigour,
    grid: tuple[float, ...] = GRID,
) -> Transplants:
    """values  standardised contexts whose inner products the ridge has;  grid  must hold 1."""
    freedom = max(len(values) - ridge.basis.shape[1], 1)
    variance = float(ridge.variances.sum()) / freedom  # of the contexts, in cells
    levels = np.array(grid) * typical_spread(ridge.variances, freedom, values.shape[1])
    typical = grid.index(1.0)
    rng = np.random.default_rng([rigour.seed, 3])
    below, draws = np.zeros(len(grid), int), 0
    orders = permutations(cells, MOST * rigour.spikes, rigour.seed + 1)
    for some in batched(orders, rigour.spikes):
        for few in deals.chunks(some, columns=2 * deals.num):
            scores = _score(values, ridge, penalty, deals, few, weights, levels, rng)
            below += (scores <= seen + ROUNDING).sum(axis=0)
            draws += len(few)
        if _is_sure(int(below[: typical + 1].max()), draws):
            break
    p_values = (1 + below) / (draws + 1)
    failed = np.flatnonzero(p_values > ALPHA)
    found = int(failed[0]) if len(failed) else len(grid)
    norm = np.sqrt(variance)
    return Transplants(
        p=float(p_values[: typical + 1].max()),
        p_values=tuple(p_values.tolist()),
        spreads=tuple((levels / (norm or 1.0)).tolist()),
        sigma=float(levels[found - 1] / norm) if found and norm else None,
        draws=draws,
    )


def typical_spread(variances: Float[np.ndarray, " K"], freedom: int, dimensions: int) -> float:
    """Standard deviation of the contexts along a typical direction: as if all components varied as the median one does.

    variances  along the components that the episodes show, summed over `freedom` independent episodes. Of contexts that
    are alike in all directions it is the root of the variance divided by the dimensions."""
    if not len(variances):
        return 0.0
    return float(np.sqrt(np.median(variances) * len(variances) / (freedom * dimensions)))


def _is_sure(below: int, draws: int) -> bool:
    """Whether the share is clearly on one side of .05."""
    return bool(abs(below / draws - ALPHA) > SURE * np.sqrt(ALPHA * (1 - ALPHA) / draws))


def _score(
    values: np.ndarray,
    ridge: Ridge,
    penalty: float,
    deals: Deals,
    orders: Int[np.ndarray, "c n"],
    weights: np.ndarray,
    levels: np.ndarray,
    rng: np.random.Generator,
) -> Float[np.ndarray, "c L"]:
    """Balanced accuracies with a code of each level planted, one code an order."""
    count, n = orders.shape
    left = ridge.left(penalty)
    codes = make_contrasts(deals.labels, deals.num)[:, : values.shape[1]]  # (n, r)
    rank = codes.shape[1]
    directions = rng.standard_normal((values.shape[1], count, rank))
    directions = _orthonormal(directions)
    taken = np.einsum("nd,dcr->ncr", values, directions, optimize=True)
    planted = np.empty((n, count, rank))
    planted[orders, np.arange(count)[:, None]] = PLANTED * SPIKE_SD * codes
    planted += rng.standard_normal(planted.shape)
    width = np.concatenate([taken, planted], axis=2)  # (n, c, 2r)
    width -= np.einsum("nq,qcr->ncr", ridge.basis, np.einsum("nq,ncr->qcr", ridge.basis, width))
    moved = (left @ width.reshape(n, -1)).reshape(width.shape)
    system, at = deals.systems(left, orders)
    residuals = deals.residuals(left, orders, at)
    padded = np.concatenate([moved, np.zeros((1, *moved.shape[1:]))])
    inside = padded[at, np.arange(count)[:, None, None]]  # (c, B, m, 2r)
    solved = np.linalg.solve(system, np.concatenate([residuals, inside], axis=3))
    errors, answers = solved[..., : residuals.shape[3]], solved[..., residuals.shape[3] :]
    targets = np.empty((n, count, deals.targets.shape[1]))
    targets[orders, np.arange(count)[:, None]] = deals.targets
    whole = np.einsum("ncr,ncs->crs", width, moved)  # W' U
    right = np.einsum("ncr,nck->crk", moved, targets)  # U' y
    turned = np.swapaxes(inside, 2, 3)
    inner = whole[:, None] - turned @ answers
    pull = turned @ errors - right[:, None]
    scores = np.empty((count, len(levels)))
    for place, level in enumerate(levels):
        signs = np.concatenate([np.full(rank, -1.0), np.full(rank, 1 / level**2 if level > 0 else 1e12)])
        found = errors + answers @ np.linalg.solve(inner + penalty * np.diag(signs), pull)
        scores[:, place] = deals.rate(deals.decide(found)) @ weights
    return scores


def make_contrasts(labels: Int[np.ndarray, " n"], num: int) -> Float[np.ndarray, "n r"]:
    """-1 and 1 for two classes; for more, one column a class but the last, each standardised."""
    if num == 2:
        return code_labels(labels, num)
    columns = np.eye(num)[labels][:, :-1]
    return (columns - columns.mean(axis=0)) / columns.std(axis=0)


def _orthonormal(directions: Float[np.ndarray, "D c r"]) -> Float[np.ndarray, "D c r"]:
    """Of each of the c sets by itself."""
    if directions.shape[2] == 1:
        return directions / np.linalg.norm(directions, axis=0)
    return np.stack([np.linalg.qr(directions[:, one])[0] for one in range(directions.shape[1])], axis=1)
