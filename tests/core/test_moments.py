"""Dates and times are read from names as the calendar allows them, and nothing else is taken for one."""

import pytest

from mobile_vla.core.moments import find_moment, is_called_moment, is_called_session, read_moment

AT = 11 * 3600 + 35 * 60 + 19
NAMES = {
    "episode_20251204_113519_1box_hori_left_core_medium": ("20251204", AT),
    "episode_251204_113519_target_left_right_path_core_far": ("20251204", AT),
    "201204_113519": ("20201204", AT),  # six digits that begin like a century
    "rec20251204-113519": ("20251204", AT),
    "2025_12_04T11-35-19": ("20251204", AT),
    "2025-12-04 11:35:19.5+09:00": ("20251204", AT),
    "20251204T113519Z": ("20251204", AT),
    "kitchen/2025-12-04/ep_0001": ("20251204", None),
    "20251204_ep01": ("20251204", None),
    "ep_1 2025-12-04T11:35": ("20251204", AT - 19),
}


@pytest.mark.parametrize("name", NAMES)
def test_moments_in_names(name):
    moment = find_moment(name)
    assert moment is not None
    assert (moment.day, moment.second) == NAMES[name]


@pytest.mark.parametrize(
    "name",
    [
        "episode_000123",
        "251204",  # a counter as often as a day
        "251204_ep3",
        "ep_20251399",  # no such month
        "20250229",  # no such day
        "251204_999999",  # no such time
        "999999_113519",
        "a20251204f",  # of a hash
        "120251204",
        "1234_5678",
        "kitchen_tour",
    ],
)
def test_other_digits_are_no_date(name):
    assert find_moment(name) is None


@pytest.mark.parametrize(
    ("value", "day"),
    [
        (20251204.0, "20251204"),
        ("20251204", "20251204"),
        (1764848119.0, "20251204"),
        (1764848119000.0, "20251204"),
        ("1764848119", "20251204"),
        ("2025-12-04 11:35", "20251204"),
    ],
)
def test_a_value_that_is_a_moment(value, day):
    moment = read_moment(value)
    assert moment is not None
    assert moment.day == day


def test_seconds_since_1970_have_a_time_of_day():
    moment = read_moment(1764848119.0)  # 2025-12-04 11:35:19 by universal time
    assert moment is not None
    assert moment.second == AT


@pytest.mark.parametrize("value", [3.0, 0, -1.0, True, None, float("nan"), "box", "20251204_left", 12345678.0, 9e18])
def test_a_value_that_is_none(value):
    assert read_moment(value) is None


def test_names_of_what_says_when():
    assert is_called_session("Recording-Date")
    assert is_called_moment("collection_datetime")
    assert not any(
        is_called_session(name) or is_called_moment(name) for name in ("scenario", "time_period", "daylight")
    )
