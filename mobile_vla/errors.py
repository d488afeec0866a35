"""The one exception that means "the user can mend this"."""


class UserError(ValueError):
    """A user's mistake, told in one line: what was wrong, what was expected, what came, what to do.

    The command line prints the line and exits with 2, without a traceback; every other exception is our fault
    and keeps its traceback. A message never holds a line break.
    """

    def __init__(self, message: str):
        super().__init__(" ".join(message.split()))
