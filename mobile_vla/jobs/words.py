"""The one place where an error of the library gets the words of the command line.

The library names Python arguments (`taps`), the user typed settings (`probe.taps`), and values look different in the
two: a folder in quotes, `None` and `True` here, bare text, `null` and `true` there.

In: a `UserError`, and a command's own names for arguments. Out: one line.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mobile_vla.core.errors import UserError


def tell(error: UserError, names: Mapping[str, str] | None = None) -> str:
    """names: argument -> what it is called on the command line; it holds for what is below it as well (`plan.kind`)."""
    return error.tell(write, lambda argument: rename(argument, names or {}))


def rename(argument: str, names: Mapping[str, str]) -> str:
    parts = argument.split(".")
    for length in range(len(parts), 0, -1):
        name = names.get(".".join(parts[:length]))
        if name is not None:
            return ".".join([name, *parts[length:]])
    return argument


def write(value: Any) -> str:
    """As it is typed after `key=`."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{','.join(map(write, value))}]"
    return str(value) if isinstance(value, str | int | float | Path) else repr(value)
