"""When something was recorded, read from a text or a number: a file's name, an attribute, a label.

In: `episode_20251204_113519_box`, `251204_113519_...`, `2025-12-04T11:35:19`, `2025_12_04`, seconds since 1970. Out: a
`Moment`, or None. Dates are checked: digits that are no day of a calendar are a number like any other.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

EPOCH_UNITS = ((1e9, 1.0), (1e12, 1e3), (1e15, 1e6), (1e18, 1e9))  # the least value; how many a second has
LATEST = 4.1e9  # seconds since 1970: the year 2099
FIRST_YEAR = 2000
DATE = r"(?P<year>20\d\d)(?P<dash>[-_./]?)(?P<month>\d\d)(?P=dash)(?P<day>\d\d)"
TIME = (
    r"(?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d)"
    r"|(?P<hour_>\d\d)[-:_.h](?P<minute_>\d\d)(?:[-:_.m](?P<second_>\d\d))?"
)
TIMED = re.compile(rf"(?<!\d){DATE}[T_ .-]+(?:{TIME})Z?(?![0-9A-Za-z])")
DAY = re.compile(rf"(?<![0-9A-Za-z]){DATE}(?![0-9A-Za-z])")  # digits in a word, like those of a hash, are no day
SIX = re.compile(  # of six digits only beside a time of six: six digits alone are a counter as often as a day
    r"(?<![0-9A-Za-z])(?P<year>[1-9]\d)(?P<month>\d\d)(?P<day>\d\d)_(?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d)"
    r"(?![0-9A-Za-z])"
)
REST = re.compile(r"[\s.,]*\d{0,9}\s*(?:Z|UTC|[+-]\d\d:?\d\d)?\s*")  # after a time: fractions of a second, the zone

SESSIONS = frozenset(  # names of what says which recordings belong together, whatever its values look like
    "session session_id session_name recording_session day date day_id recording_day recording_date collection_date "
    "collection_day recorded_on date_recorded".split()
)
MOMENTS = frozenset(  # names of what says when something was recorded, where its values can be read as such
    "datetime date_time collection_datetime collected_at recorded_at recording_time recording_datetime created_at "
    "creation_time timestamp time_stamp time start_time started_at begun_at unix_time epoch_time".split()
)


def is_called_session(name: str) -> bool:
    return _plain(name) in SESSIONS


def is_called_moment(name: str) -> bool:
    return _plain(name) in MOMENTS


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


@dataclass(frozen=True, kw_only=True)
class Moment:
    """day  as YYYYMMDD;  second  of that day, None where only the day is known
    start, end  where it stands in the text
    """

    day: str
    second: float | None = None
    start: int = 0
    end: int = 0

    @property
    def timed(self) -> bool:
        """Whether the time of day is known."""
        return self.second is not None

    @property
    def place(self) -> tuple[str, float]:
        """By which moments sort."""
        return self.day, -1.0 if self.second is None else self.second


def find_moment(text: str) -> Moment | None:
    """The first date in a text that is a day of the calendar, with the time of day where one follows it."""
    found = [moment for pattern in (TIMED, DAY, SIX) for moment in _read_all(pattern, text)]
    return min(found, key=lambda moment: (moment.start, -moment.end), default=None)


def read_moment(value: object) -> Moment | None:
    """Of a value that is a moment and nothing else: a text, or seconds (milli-, micro-, nanoseconds) since 1970."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return _read_number(float(value))
    text = str(value).strip()
    moment = find_moment(text)
    if moment is None:
        return _read_number(float(text)) if re.fullmatch(r"\d{10,19}(\.\d*)?", text) else None
    rest = text[moment.end :]
    whole = moment.start == 0 and (not rest or (moment.timed and REST.fullmatch(rest)))
    return moment if whole else None


def _read_all(pattern: re.Pattern[str], text: str) -> Iterator[Moment]:
    for match in pattern.finditer(text):
        got = match.groupdict()
        year, month, day = (int(got[name]) for name in ("year", "month", "day"))
        clock = [got.get(name) or got.get(f"{name}_") for name in ("hour", "minute", "second")]
        hour, minute, second = (int(part or 0) for part in clock)
        try:
            when = datetime(year if year >= 100 else FIRST_YEAR + year, month, day, hour, minute, second)
        except ValueError:
            continue
        since = None if clock[0] is None else float(hour * 3600 + minute * 60 + second)
        yield Moment(day=f"{when:%Y%m%d}", second=since, start=match.start(), end=match.end())


def _read_number(value: float) -> Moment | None:
    """A number of eight digits that is a day, or so many seconds since 1970 (days by universal time)."""
    if value != value or value < FIRST_YEAR * 1e4:
        return None
    if value < 1e8:
        return find_moment(f"{value:.0f}") if value.is_integer() else None
    for least, unit in reversed(EPOCH_UNITS):
        if value >= least:
            seconds = value / unit
            if seconds > LATEST:
                return None
            when = datetime.fromtimestamp(seconds, UTC)
            midnight = when.replace(hour=0, minute=0, second=0, microsecond=0)
            return Moment(day=f"{when:%Y%m%d}", second=seconds - midnight.timestamp())
    return None
