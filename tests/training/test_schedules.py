"""Warm-up is linear, `constant` stays, `cosine` falls to its final share."""

import math

import pytest

from mobile_vla.training.schedules import learning_rate_factor


def factors(schedule: str, warmup: int = 4, total: int = 20, final: float = 0.1) -> list[float]:
    factor = learning_rate_factor(schedule, warmup_steps=warmup, total_steps=total, final=final)
    return [factor(step) for step in range(total + 5)]


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_warm_up_is_linear_and_starts_above_zero(schedule):
    assert factors(schedule)[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def test_constant_stays():
    assert set(factors("constant")[4:]) == {1.0}


def test_cosine_is_half_a_wave_from_1_to_its_final_share():
    found = factors("cosine")
    expected = [0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * i / 15)) for i in range(16)]
    assert found[4:20] == pytest.approx(expected)
    assert found[19] == pytest.approx(0.1)  # the last of the 20 steps
    assert found[20:] == pytest.approx([0.1] * 5)  # training longer than planned does not turn up again


def test_no_warm_up_begins_at_1():
    assert factors("cosine", warmup=0)[0] == 1.0
    assert factors("constant", warmup=0)[0] == 1.0


def test_a_warm_up_as_long_as_the_training():
    assert factors("cosine", warmup=20)[19] == pytest.approx(20 / 21)
