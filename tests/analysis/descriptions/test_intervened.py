"""How far contexts and chunks move under variants, in units that a reader can check by hand."""

import numpy as np
import pytest

from mobile_vla.analysis.descriptions.intervened import Effect, Moved, find_effects, map_tokens
from mobile_vla.analysis.sample import take_sample
from tests.analysis.conftest import write_store

EPISODES = 10


def test_distances_are_in_mean_distances_from_the_centre(tmp_path):
    angle = np.linspace(0, 2 * np.pi, EPISODES, endpoint=False)
    circle = 2.0 * np.stack([np.cos(angle), np.sin(angle)], axis=1)  # every row 2 from the centre
    vectors = np.concatenate([circle, circle + np.array([3.0, 4.0]), circle + np.array([0.0, 1.0])])
    chunks = circle[:, None, :]
    store = write_store(
        tmp_path,
        {"context": vectors},
        [f"e{i}" for i in range(EPISODES)] * 3,
        [0] * 30,
        [0.0] * 30,
        variant=["own"] * 10 + ["swap"] * 10 + ["mask_tokens_00-03"] * 10,
        predicted=np.concatenate([chunks, chunks + np.array([1.0, 0.0]), chunks]),
    )
    mask, swap = find_effects(take_sample(store), "context")
    assert (swap.variant, swap.rows, swap.episodes, swap.block) == ("swap", 10, 10, None)
    assert swap.context.value == pytest.approx(5.0 / 2, rel=1e-5)
    assert swap.context.ci == pytest.approx((2.5, 2.5), abs=1e-4)
    assert swap.chunk is not None
    assert swap.chunk.value == pytest.approx(0.5, rel=1e-5)
    assert (mask.block, mask.context.value) == ((0, 3), pytest.approx(0.5, rel=1e-5))
    assert mask.chunk is not None
    assert mask.chunk.value == 0


def test_still_pictures_are_said_to_test_wiring_alone(tmp_path):
    vectors = np.random.default_rng(0).standard_normal((30, 2))
    store = write_store(
        tmp_path,
        {"context": vectors},
        [f"e{i}" for i in range(EPISODES)] * 3,
        [0] * 30,
        [0.0] * 30,
        variant=["own"] * 10 + ["donor"] * 10 + ["blank"] * 10,
    )
    blank, donor = find_effects(take_sample(store), "context")
    assert "not whether they are used" in blank.note
    assert "not whether they are used" in blank.to_plain()["note"]
    assert donor.note is None


def test_a_token_takes_the_smallest_blocks_number():
    def effect(block, value):
        moved = Moved(value=value, ci=None)
        return Effect(variant="", rows=1, episodes=1, context=moved, chunk=None, block=block)

    found = map_tokens([effect((0, 3), 1.0), effect((2, 2), 7.0), effect((5, 5), 2.0), effect(None, 9.0)])
    assert found is not None
    assert np.array_equal(found, [1, 1, 7, 1, np.nan, 2], equal_nan=True)
    assert map_tokens([effect(None, 9.0)]) is None
