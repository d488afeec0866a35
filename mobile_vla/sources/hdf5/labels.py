"""What a file's name and attributes say about its episode, as labels (name -> value, both text).

Three generations of file names are known. The second and third hold two direction words, where the target is and
which path is taken: they are two labels, `position` and `path`. `direction` is the side that the robot passes on,
in every generation. A name that matches none is still a valid episode with unknown labels.

A label never costs an episode: an odd attribute is text where it is one value, and ignored where it is none.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from mobile_vla.core.moments import Moment, find_moment, is_called_moment, is_called_session, read_moment
from mobile_vla.sources.schema import printable

BOX_NAME = {  # 1box_hori_left_core_medium: each word is one label, in any order
    "boxes": re.compile(r"(?:^|_)(\dbox)(?=_|$)"),
    "orientation": re.compile(r"(?:^|_)(hori|vert)(?=_|$)"),
    "direction": re.compile(r"(?:^|_)(left|right)(?=_|$)"),
}
SHARED = {
    "pattern": re.compile(r"(?:^|_)(core|variant)(?=_|$)"),
    "distance": re.compile(r"(?:^|_)(close|medium|far)(?=_|$)"),
}
TARGET_NAME = re.compile(r"(?:^|_)target_(left|center|right)_(left|straight|right)_path(?=_|$)")
CURVE_NAME = re.compile(
    r"(?:^|_)((?:weak_|strong_)?(?:left|center|right))_((?:left|right)_(?:curve|path)|straight(?:_path)?)(?=_|$)"
)
ATTRIBUTES = {  # attribute -> label; a file's name, where it speaks, holds
    "cx_position": "position",
    "cx_path": "path",
    "scenario": "scenario",
    "pattern": "pattern",
    "distance": "distance",
    "end_pos": "end_pos",
    "obstacle_layout_type": "obstacle_layout",
    "time_period": "time_period",
    "control_mode": "control_mode",
}
SIDES = ("left", "straight", "right")


def read_labels(name: str, attributes: Mapping[str, Any]) -> dict[str, str]:
    """Labels of the episode whose file is called `name` (without suffix). `session` is its day, as YYYYMMDD:
    of the name, or else of an attribute such as `collection_datetime`."""
    labels: dict[str, str] = {}
    date = find_moment(name)
    session = date or _find_session(attributes)
    if session:
        labels["session"] = session.day
    rest = name[date.end :] if date else name
    two_words = TARGET_NAME.search(rest) or CURVE_NAME.search(rest)
    if two_words:
        labels["position"], labels["path"] = two_words.groups()
    patterns = SHARED if two_words else BOX_NAME | SHARED
    for label, pattern in patterns.items():
        found = pattern.search(rest)
        if found:
            labels[label] = found.group(1)
    for attribute, label in ATTRIBUTES.items():
        value = attribute_label(attributes, attribute)
        if value is not None:
            labels.setdefault(label, value)
    if "path" in labels and "direction" not in labels:
        side = labels["path"].split("_")[0]
        if side in SIDES:
            labels["direction"] = side
    return labels


def _find_session(attributes: Mapping[str, Any]) -> Moment | None:
    """The first attribute that is called like a date or a time, and is one."""
    names = sorted(name for name in attributes if is_called_session(name) or is_called_moment(name))
    found = (read_moment(attribute_label(attributes, name)) for name in names)
    return next((moment for moment in found if moment), None)


def attribute_label(attributes: Mapping[str, Any], name: str) -> str | None:
    """One value as text (numbers too; bytes that are not UTF-8 as escapes); None for arrays, references, nulls."""
    try:
        value = attributes[name]
    except (OSError, RuntimeError, KeyError, TypeError):  # not there, or of a type that h5py cannot read
        return None
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="backslashreplace")
    if isinstance(value, str):
        return printable(value)
    return str(value) if isinstance(value, bool | int | float | np.generic) else None
