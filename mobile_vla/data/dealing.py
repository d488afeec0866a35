"""How many episodes of each kind go to each part: whole numbers that keep the shares as nearly as they can.

Single episodes are dealt by controlled rounding, which keeps every stratum and the whole to within one episode.
Groups that must stay whole cannot promise that; they are dealt so that the squared deviations, over strata and the
whole, are as small as a search finds them.
"""

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import linprog

STARTS = 100  # of the search; with 3 to 9 groups the best of them has been the best of all ways that there are
SAME = 6  # decimals of a cost that count: what is equal but for the order of adding is a tie


def round_shares(
    sizes: Int[np.ndarray, " strata"], shares: Float[np.ndarray, " parts"]
) -> Int[np.ndarray, "strata parts"]:
    """Whole numbers near sizes x shares: rows add up to the sizes, each cell and each column is off by less than one.

    Controlled rounding (Cox 1987), as the linear programme that it is: its constraints are totally unimodular, so
    its corners are whole. Where it is free it gives to the largest remainder, and to training first. So 3 episodes
    of a label at shares .7/.15/.15 are 2 in training and 1 in the part that lacks one most, never 1 and 2.
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


def deal_groups(
    kinds: Int[np.ndarray, "kinds strata"],
    counts: Int[np.ndarray, " kinds"],
    shares: Float[np.ndarray, " parts"],
    needed: Bool[np.ndarray, " parts"],
    rng: np.random.Generator,
) -> Int[np.ndarray, "kinds parts"]:
    """How many groups of each kind go to each part; every needed part gets one at least.

    kinds   episodes of each stratum in a group of this kind;  counts  groups of the kind;  needed  not to be empty

    Descent by moves and swaps from random starts, and the best of them: a whole-number programme is exact, but was
    far from its end after half a minute at 40 groups, and worse by then. The seed decides between equally near ones.
    """
    cells = np.hstack([kinds, kinds.sum(axis=1, keepdims=True)])  # the whole is one more stratum
    wanted = (counts @ cells)[:, None] * shares  # (cells, parts)
    best, smallest = None, np.inf
    for _ in range(STARTS):
        dealt = _fill(rng.multinomial(counts, shares / shares.sum()), needed, rng)
        dealt = _descend(dealt, cells, wanted, needed)
        cost = np.round(((cells.T @ dealt - wanted) ** 2).sum(), SAME)
        if cost < smallest:
            best, smallest = dealt, cost
    assert best is not None
    return best


def _fill(dealt: np.ndarray, needed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A start in which no needed part is empty: what it lacks comes from parts that can spare it."""
    for part in np.flatnonzero(needed & (dealt.sum(axis=0) == 0)):
        spare = np.argwhere(_may_leave(dealt, needed))
        kind, giver = spare[rng.integers(len(spare))]
        dealt[kind, [giver, part]] += [-1, 1]
    return dealt


def _may_leave(dealt: np.ndarray, needed: np.ndarray) -> np.ndarray:
    """(kinds, parts) where there is a group that can go without leaving a needed part empty."""
    return (dealt > 0) & ((dealt.sum(axis=0) > 1) | ~needed)


def _descend(dealt: np.ndarray, cells: np.ndarray, wanted: np.ndarray, needed: np.ndarray) -> np.ndarray:
    """Move the group, or swap the two, that help most, until none helps.

    With deviations d of the parts and a group v: moving v from p to q changes the sum of squares by
    2 (v.(d_q - d_p) + v.v), swapping v in p for u in q by 2 ((v - u).(d_q - d_p) + (v - u).(v - u)).
    """
    num_parts = dealt.shape[1]
    gram = cells @ cells.T
    own = np.diag(gram)
    apart = own[:, None] + own - 2 * gram  # (v - u).(v - u)
    while True:
        pull = cells @ (cells.T @ dealt - wanted)  # (kinds, parts) v.d
        moves = pull[:, None, :] - pull[:, :, None] + own[:, None, None]  # (kinds, from, to)
        allowed = _may_leave(dealt, needed)[:, :, None] & ~np.eye(num_parts, dtype=bool)
        moves = np.where(allowed, np.round(moves, SAME), np.inf)
        if moves.min() < 0:
            kind, giver, taker = np.unravel_index(moves.argmin(), moves.shape)
            dealt[kind, [giver, taker]] += [-1, 1]
            continue
        gain = pull[:, None, :] - pull[:, :, None]
        swaps = np.stack(
            [
                np.where(
                    np.outer(dealt[:, p] > 0, dealt[:, q] > 0), gain[:, p, q, None] - gain[:, p, q] + apart, np.inf
                )
                for p in range(num_parts)
                for q in range(p + 1, num_parts)
            ]
        ).round(SAME)  # (pairs of parts, kinds, kinds)
        if swaps.min() >= 0:
            return dealt
        pair, kind, other = np.unravel_index(swaps.argmin(), swaps.shape)
        p, q = [(p, q) for p in range(num_parts) for q in range(p + 1, num_parts)][pair]
        dealt[kind, [p, q]] += [-1, 1]
        dealt[other, [p, q]] += [1, -1]
