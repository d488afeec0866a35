"""Numbers of a model card: beside each effect its interval, or why it has none."""

import pytest

from mobile_vla.evaluation.effects import Effect
from mobile_vla.opening.portable_run import describe_numbers


def card(instruction: Effect, image: Effect) -> dict[str, str]:
    found = {
        "loss": 0.25,
        "rmse": 0.5,
        "baselines": {"mean_action": 0.5},
        "denominators": {"episodes": 12, "windows": 80},
        "effects": {"instruction": instruction.as_dict(), "image": image.as_dict()},
        "warnings": [],
        "split": "test",
    }
    return dict(describe_numbers(found).rows)


@pytest.mark.parametrize(
    ("effect", "says"),
    [
        (Effect(ratio=1.07, ci=(0.83, 1.39)), "1.07 (95 % interval 0.83 to 1.39)"),
        (Effect(ratio=1.07), "1.07 (no interval: too few episodes)"),
        (
            Effect(ratio=None, reason="no other instruction in the data"),
            "not measured: no other instruction in the data",
        ),
    ],
)
def test_an_effect_has_its_interval_or_a_reason(effect, says):
    rows = card(effect, Effect(ratio=2.0, ci=(1.5, 3.0)))
    assert rows["loss with another instruction / loss"] == says
    assert rows["loss with another image / loss"] == "2 (95 % interval 1.5 to 3)"
