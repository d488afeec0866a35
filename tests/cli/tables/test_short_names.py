"""Names in a legend: short, and never the same for two runs."""

import pytest

from mobile_vla.cli.tables.short_names import shorten

DATE, LATER = "2026-01-31_09-00-00", "2026-02-01_10-00-00"


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        ([f"train/{DATE}_demo"], ["demo"]),
        ([f"{DATE}_demo", f"{LATER}_lora-text"], ["demo", "lora-text"]),
        ([f"{DATE}_demo", f"{LATER}_demo"], [f"{DATE}_demo", f"{LATER}_demo"]),  # the date tells them apart
        (["0_seed-0_lora-all", "1_seed-0_lora-text"], ["lora-all", "lora-text"]),
        (["0_lora-all_seed-0", "1_lora-text_seed-0"], ["lora-all_seed-0", "lora-text_seed-0"]),
        (["max_epochs-3_lr-1", "max_epochs-12_lr-1"], ["max_epochs-3_lr-1", "max_epochs-12_lr-1"]),
        ([f"{DATE}_a/0_seed-0", f"{DATE}_b/0_seed-0"], ["a_seed-0", "b_seed-0"]),  # jobs of two sweeps
        (["seed-0", "seed-0_lr-1"], ["seed-0", "seed-0_lr-1"]),  # of the first nothing would be left
        (["a b", "a_b", "a-b"], ["a-b", "a_b", "a-b_2"]),  # the same as names of files
        (["1_x/run", "2_x/run", "other"], ["1_x_run", "2_x_run", "other"]),
    ],
)
def test_names_are_short_and_distinct(paths: list[str], names: list[str]):
    assert list(shorten(paths).values()) == names


def test_no_two_are_alike_whatever_they_are_called():
    own = ("demo", "seed-1", "seed-1_lr-2")
    above = [f"{folder}{date}{job}" for folder in ("", "s/", "t/") for date in ("", f"{DATE}_") for job in ("", "3_")]
    paths = [f"{before}{name}" for before in above for name in own]
    names = shorten(paths)
    assert set(names) == set(paths)
    assert len(set(names.values())) == len(paths)
    assert all(name and "/" not in name for name in names.values())
