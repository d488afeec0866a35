"""Exchanged contexts beside explicit rotations and fits; and that equal models differ by chance alone."""

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes

from mobile_vla.analysis.pairs.swap_test import Refits, align
from mobile_vla.analysis.verdicts.chunks import Chunks
from mobile_vla.analysis.verdicts.folds import deal_often
from mobile_vla.analysis.verdicts.held_out import HeldOut
from tests.analysis.verdicts.test_held_out import EPISODES, draw, slow


def test_differences_are_those_of_rotated_and_exchanged_contexts():
    """Of unequal widths, with unknown entries."""
    left, free, episode, targets = draw()
    rng = np.random.default_rng(1)
    right = (left + 0.5 * rng.standard_normal(left.shape))[:, :20] @ np.linalg.qr(rng.standard_normal((20, 20)))[0]
    known = rng.random(targets.shape) < 0.9
    deals = deal_often(np.arange(EPISODES) % 2, 0, 2)
    held = [HeldOut(values, free, episode, deals) for values in (left, right)]
    refits = Refits(held, align(left, right), Chunks(targets, known, (1, 2), targets))
    padded = np.pad(right, ((0, 0), (0, 10)))
    turned = padded @ orthogonal_procrustes(padded, left)[0]
    for share in (0.0, 0.5, 1.0):
        exchanged = rng.random(EPISODES) < share
        of_row = exchanged[episode][:, None]
        r2 = []
        for values in (np.where(of_row, turned, left), np.where(of_row, left, turned)):
            rest = held[0].remove_free(values)
            rest /= np.sqrt((rest**2).sum(axis=1).mean())
            sse, base = slow(rest, free, episode, targets, known, deals, (refits.penalty,))
            r2.append(1 - sse.sum() / base.sum())
        assert refits.difference(exchanged) == pytest.approx(r2[0] - r2[1], abs=1e-5)
    none, every = (refits.difference(np.full(EPISODES, value)) for value in (False, True))
    assert none == pytest.approx(-every)
    assert abs(none) > 0.02
