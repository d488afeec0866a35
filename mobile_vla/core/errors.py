"""What a user did wrong, told in one line, and what stops a run from outside; no internals in either."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

PREDICATES = ("must ", "is ", "are ", "has ", "holds ", "names ", "needs ", "was ", "would ")  # of the argument


class UserError(ValueError):
    """Bad input: says what was expected, what was given and what to do. The command line exits with code 2.

    argument  dotted name of the one Python argument or setting that is wrong; the text begins with it. The command line
              puts the word there that was typed instead (`jobs.words`)
    value     what was given for it, where the text should show it
    where     of several things, the one that it is about: the text begins with it
    """

    def __init__(self, message: str, *, argument: str | None = None, value: Any = None, where: str | None = None):
        self.message, self.argument, self.where = message, argument, where
        self.value = str(value) if isinstance(value, Path) else value
        super().__init__(self.tell())

    def tell(self, write_value: Callable[[Any], str] = repr, write_name: Callable[[str], str] = str) -> str:
        """The whole text, with names and values as the reader writes them."""
        text = self.message
        if self.argument is not None:
            name = write_name(self.argument)
            named = name if self.value is None else f"{name}={write_value(self.value)}"
            text = f"{named}{' ' if text.startswith(PREDICATES) else ': '}{text}"
        return text if self.where is None else f"{self.where}: {text}"

    def but(self, **changes: Any) -> "UserError":
        """The same error with these parts changed."""
        now = {name: getattr(self, name) for name in ("message", "argument", "value", "where")}
        return UserError(**{**now, **changes})

    def within(self, place: str) -> "UserError":
        """The same error of an argument that is one of the settings at `place`."""
        return self.but(argument=f"{place}.{self.argument}") if self.argument and place else self


class Interrupted(BaseException):
    """A signal ended the work; says what was kept and how to go on. `at_once`: in the midst of something.

    Not an `Exception`, as `KeyboardInterrupt` is not one: what carries on after errors must not carry on after this.
    """

    def __init__(self, message: str, signum: int, at_once: bool = False):
        super().__init__(message)
        self.signum = signum
        self.at_once = at_once
        self.exit_code = 128 + signum  # the shells' convention: 130 for Ctrl-C, 143 for SIGTERM
