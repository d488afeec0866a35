"""Means over runs and what differs from run to run, against numpy and scipy on plain lists."""

import numpy as np
import pytest
from scipy import stats

from mobile_vla.evaluation.spread import NUMBERS, spread, summarize


def test_a_spread_is_that_of_the_values():
    values = [0.31, 0.29, 0.36, 0.30]
    found = spread(values)
    assert found["mean"] == pytest.approx(np.mean(values))
    assert found["std"] == pytest.approx(np.std(values, ddof=1))
    assert (found["min"], found["max"], found["runs"], found["values"]) == (0.29, 0.36, 4, values)
    ci = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert found["ci"] == pytest.approx([ci.low, ci.high])


def test_a_run_without_a_value_is_left_out_and_seen():
    found = spread([1.2, None, 1.4])
    assert (found["mean"], found["runs"], found["values"]) == (pytest.approx(1.3), 2, [1.2, None, 1.4])
    assert spread([None, None]) is None


def test_one_value_has_no_spread():
    found = spread([0.5, None])
    assert (found["mean"], found["std"], found["ci"]) == (0.5, None, None)


def run(loss: float, windows: int = 88, **settings) -> dict:
    numbers = dict.fromkeys(NUMBERS, None) | {"loss": loss, "rmse": 2 * loss}
    baselines = {"mean_action": 0.5, "progress_only": 0.4}
    return {
        **numbers,
        "baselines": baselines,
        "loss_over_baselines": {name: {"ratio": loss / value} for name, value in baselines.items()},
        "reasons": {"instruction_effect": "every episode has the same instruction"},
        "denominators": {"episodes": 8, "windows": windows},
        "parameters": {"trainable": 3, "total": 9},
        "checkpoint_bytes": 100,
        "windows_per_s": 10.0,
        "data_wait_share": 0.1,
        "seconds": 2.0,
        **settings,
    }


def test_the_top_holds_means_and_each_run_its_own():
    runs = [run(0.2), run(0.3)]
    found = summarize(runs, ["a note"])
    assert (found["loss"], found["rmse"]) == pytest.approx((0.25, 0.5))
    assert (found["baselines"], found["best_baseline"]) == ({"mean_action": 0.5, "progress_only": 0.4}, "progress_only")
    assert found["spread"]["loss_over_baselines"]["progress_only"]["values"] == pytest.approx([0.5, 0.75])
    assert found["denominators"] == {"runs": 2, "episodes": 8, "windows": 88}
    assert (found["instruction_effect"], found["spread"]["instruction_effect"]) == (None, None)
    assert found["reasons"] == {"instruction_effect": "every episode has the same instruction"}
    assert (found["runs"], found["warnings"], found["seconds"]) == (runs, ["a note"], 4.0)


def test_what_the_runs_do_not_share_is_null():
    found = summarize([run(0.2), run(0.3, windows=90, checkpoint_bytes=7)])
    assert found["denominators"] == {"runs": 2, "episodes": 8, "windows": None}
    assert (found["checkpoint_bytes"], found["checkpoint"]) == (None, None)


def test_runs_without_baselines_leave_a_mean_of_the_others():
    found = summarize([run(0.2), run(0.3, baselines={}, loss_over_baselines={})])
    assert found["baselines"]["mean_action"] == 0.5
    assert found["spread"]["loss_over_baselines"]["mean_action"]["runs"] == 1
