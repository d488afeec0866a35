"""Names for a legend: as short as runs can be called and still be told apart.

In: the runs' paths below a common folder, as text. Out: a name for each, fit for a file. Dates, the numbers of a
sweep's jobs and the settings that all have in common are left out where names stay distinct without.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mobile_vla.core.file_names import STAMP, make_file_name

JOB = re.compile(r"^\d+_")  # before the name of a sweep's job
SETTING = re.compile(r"[^-]*?-[^_]*(?:_|$)|.+")  # of a name made of overrides: `max_epochs-3_`; else all the rest


def shorten(paths: Sequence[str]) -> dict[str, str]:
    """Path -> name; distinct, whatever the paths are."""
    forms = {path: list(_forms(path)) for path in paths}
    level = dict.fromkeys(paths, 0)
    while True:
        names = {path: forms[path][level[path]] for path in paths}
        counts = Counter(names.values())
        twice = [path for path in paths if counts[names[path]] > 1 and level[path] + 1 < len(forms[path])]
        if not twice:
            return _drop_shared(_number(names))
        for path in twice:
            level[path] += 1


def _forms(path: str) -> Iterator[str]:
    """From the shortest on: own name without and with number and date, then behind the names of the folders above."""
    parts = Path(path).parts
    for first in range(len(parts) - 1, -1, -1):
        below = parts[first:]
        for plain in (lambda name: JOB.sub("", STAMP.sub("", name)), lambda name: STAMP.sub("", name), str):
            yield make_file_name("_".join(filter(None, map(plain, below))))


def _number(names: Mapping[str, str]) -> dict[str, str]:
    """`_2`, `_3`, … behind those that are still taken."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for path, name in names.items():
        chosen, number = name, 2
        while chosen in taken:
            chosen, number = f"{name}_{number}", number + 1
        taken.add(chosen)
        found[path] = chosen
    return found


def _drop_shared(names: Mapping[str, str]) -> dict[str, str]:
    """Without the settings that all names begin with, where something is left of each."""
    parts = {path: SETTING.findall(name) for path, name in names.items()}
    shared = 0
    while len(names) > 1 and len({tuple(own[: shared + 1]) for own in parts.values()}) == 1:
        shared += 1
    short = {path: "".join(own[shared:]).strip("-._") for path, own in parts.items()}
    return short if all(short.values()) and len(set(short.values())) == len(short) else dict(names)
