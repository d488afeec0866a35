"""Planted codes beside contexts in which the component is replaced outright; and what is found, and what is missed."""

from functools import cache

import numpy as np
import pytest

from mobile_vla.analysis.planted.worlds import World
from mobile_vla.analysis.verdicts.discriminative.decoding import PENALTY, Asked, decode
from mobile_vla.analysis.verdicts.discriminative.transplant import (
    GRID,
    TYPICAL,
    _score,
    make_contrasts,
    plant_codes,
    typical_spread,
)
from mobile_vla.analysis.verdicts.preserving.ridge import Ridge, standardise
from mobile_vla.analysis.verdicts.rigour import Rigour
from tests.analysis.verdicts.planted_sample import plant_asked


def ask(num: int = 2, seed: int = 0):
    rng = np.random.default_rng(seed)
    n = 36
    labels = rng.permutation(np.arange(n) % num)
    cells = rng.permutation(np.arange(n) % 2)
    asked = Asked(
        chosen=np.arange(n),
        labels=labels,
        cells=cells,
        texts=np.zeros(n, int),
        num=num,
        rigour=Rigour(permutations=19, spikes=60, deals=1),
    )
    values = standardise(rng.standard_normal((n, 20)) * np.linspace(1, 3, 20) + cells[:, None])
    return asked, values


@pytest.mark.parametrize("num", [2, 3])
def test_the_score_is_that_of_contexts_with_a_component_replaced(num):
    asked, values = ask(num)
    n, rank = asked.size, num - 1
    levels = np.array([0.5, 0.1, 0.02])
    orders = np.stack([np.arange(n)] * 3)
    for order in orders[1:]:
        for cell in (0, 1):
            inside = np.flatnonzero(asked.cells == cell)
            order[inside] = np.random.default_rng(3).permutation(inside)
    ridge = Ridge(values @ values.T, asked.columns)
    found = _score(values, ridge, PENALTY, asked.planting, orders, asked.weights, levels, np.random.default_rng(5))
    rng = np.random.default_rng(5)
    directions = rng.standard_normal((20, 3, rank))
    noise = rng.standard_normal((n, 3, rank))
    for place, order in enumerate(orders):
        along = np.linalg.qr(directions[:, place])[0]
        if num == 2:
            along = directions[:, place] / np.linalg.norm(directions[:, place])
        code = noise[:, place].copy()
        code[order] += 1.9 * make_contrasts(asked.labels, num)
        for level_place, level in enumerate(levels):
            changed = values - values @ along @ along.T + level * code @ along.T
            left = Ridge(changed @ changed.T, asked.columns).left(PENALTY)
            slow = asked.planting.score(left, order[None], asked.weights)[0]
            assert found[place, level_place] == pytest.approx(slow, abs=1e-9)


def test_a_typical_direction_of_contexts_alike_in_all_directions_has_their_spread():
    values = np.random.default_rng(0).standard_normal((60, 400))
    variances = np.linalg.eigvalsh((values - values.mean(axis=0)) @ (values - values.mean(axis=0)).T)[1:]
    assert typical_spread(variances, 59, 400) == pytest.approx(1, abs=0.05)
    variances[-3:] *= 100
    assert typical_spread(variances, 59, 400) == pytest.approx(1, abs=0.05)


@cache
def rotation(width: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(7).standard_normal((width, width)))[0]


def plant_spectrum(episodes: int, width: int, seed: int, component: int | None, labels: np.ndarray) -> np.ndarray:
    """Episode means whose variances fall as 1 / k along random axes; a code of 2 sd along one of them."""
    z = np.random.default_rng([seed, 9]).standard_normal((episodes, width))
    if component is not None:
        z[:, component] += 2 * (2.0 * labels - 1)
    return z / np.sqrt(np.arange(1, width + 1)) @ rotation(width)


def test_a_code_of_its_own_spread_is_hardly_ever_said_to_be_absent():
    """Along a weak direction: by codes along random directions p <= .05 comes in most of these stores."""
    sample, _, target = plant_asked(World(episodes=60, width=16))
    width, component, false = 256, 120, 0
    for seed in range(24):
        rigour = Rigour(permutations=19, spikes=60, deals=2, seed=seed)
        means = plant_spectrum(60, width, seed, component, target.codes)
        asked = Asked.of(sample, target, rigour)
        seen = decode(means, sample, target, rigour, tests=False, asked=asked).accuracy
        values = standardise(means)
        ridge = Ridge(values @ values.T, asked.columns)
        spectrum = 1 / np.arange(1, width + 1)
        share = np.sqrt(spectrum[component] / (spectrum.sum() + 4 * spectrum[component]))
        freedom = asked.size - 1
        own = share * np.sqrt(ridge.variances.sum() / freedom) / typical_spread(ridge.variances, freedom, width)
        found = plant_codes(
            seen, values, ridge, PENALTY, asked.planting, asked.cells, asked.weights, rigour, (1.0, own)
        )
        false += found.p_values[1] <= 0.05
    assert own < 0.9
    assert false <= 4


def test_where_there_is_none_codes_along_typical_directions_would_have_been_found():
    sample, _, target = plant_asked(World(episodes=100, width=16))
    rigour = Rigour(permutations=19, spikes=60, deals=2)
    means = plant_spectrum(100, 128, 0, None, target.codes)
    found = decode(means, sample, target, rigour).planted
    assert found is not None
    assert found.p <= 0.05
    assert found.sigma is not None
    assert found.sigma <= found.typical == found.spreads[TYPICAL]
    assert list(found.p_values[: TYPICAL + 1]) == sorted(found.p_values[: TYPICAL + 1])
    assert len(found.spreads) == len(GRID)


def test_a_label_that_is_found_fails_every_level():
    sample, vectors, target = plant_asked(World(episodes=60, width=64, label=8.0))
    found = decode(sample.means(vectors), sample, target, Rigour(permutations=19, spikes=60, deals=2)).planted
    assert found is not None
    assert found.sigma is None
    assert found.p > 0.05
