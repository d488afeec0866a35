"""What people read of findings: every interval says its level, and no row claims that an input is not used."""

from mobile_vla.cli.tables.findings import rows_of_findings, rows_of_spread
from mobile_vla.core.levels import DESCRIPTIONS
from mobile_vla.evaluation.effects import PAIRS, Effect
from mobile_vla.evaluation.spread import NUMBERS, spread

EFFECTS = {
    "instruction": Effect(ratio=None, reason="every episode has the same instruction"),
    "image": Effect(ratio=1.07, ci=(0.83, 1.39), episodes=12, windows=80, unit=PAIRS, units=6),
}
FOUND = {
    "loss": 0.25,
    "rmse": 0.5,
    "sign_accuracy": None,
    "displacement_error": None,
    "baselines": {"mean_action": 0.5},
    "best_baseline": "mean_action",
    "loss_over_baselines": {"mean_action": {"ratio": 0.5, "ci": [0.4, 0.6], "level": DESCRIPTIONS}},
    "effects": {name: effect.as_dict() for name, effect in EFFECTS.items()},
    "intervals": {"level": DESCRIPTIONS, "loss": [0.2, 0.3], "rmse": [0.4, 0.6], "baselines": {}},
    "denominators": {"episodes": 12, "windows": 80},
}


def test_intervals_say_their_level_and_their_unit():
    rows = dict(rows_of_findings(FOUND, FOUND["loss"], "test"))
    assert rows["effect of the image"] == "loss x 1.07 (0.83 to 1.39)   over 6 pairs of episodes"
    assert rows["(a to b)"] == "95 % interval over episodes; for the effect of the image, over pairs of episodes"
    assert "effect of the instruction" not in rows


def test_the_interval_of_a_mean_over_runs_is_no_range():
    """Three runs: 0.2, 0.3 and 0.4 have a 95 % interval that is wider than their range."""
    runs = [{**FOUND, "run": f"runs/{i}", "loss": loss} for i, loss in enumerate((0.2, 0.3, 0.4))]
    spreads = dict.fromkeys(NUMBERS) | {name: spread([0.2, 0.3, 0.4]) for name in ("loss", "rmse")}
    found = {
        "runs": runs,
        "denominators": {"runs": 3, "episodes": 12, "windows": 80},
        "spread": {**spreads, "loss_over_baselines": {"mean_action": spread([0.4, 0.6, 0.8])}},
        "baselines": {"mean_action": 0.5},
        "best_baseline": "mean_action",
    }
    rows = dict(rows_of_spread(found, "test"))
    assert rows["mean test loss (Huber)"] == (
        "0.3000 (0.0516 to 0.5484)   sd 0.1000 between 3 runs, smallest 0.2000, largest 0.4000"
    )
    assert rows["(a to b)"] == "95 % interval of a run, over episodes; of a mean, over runs"
