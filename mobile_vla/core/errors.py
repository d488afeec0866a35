"""What a user did wrong, told in one line, and what stops a run from outside; no internals in either."""


class UserError(ValueError):
    """Bad input: says what was expected, what was given and what to do. The command line exits with code 2."""


class Interrupted(BaseException):
    """A signal ended the work; says what was kept and how to go on. `at_once`: in the midst of something.

    Not an `Exception`, as `KeyboardInterrupt` is not one: what carries on after errors must not carry on after this.
    """

    def __init__(self, message: str, signum: int, at_once: bool = False):
        super().__init__(message)
        self.signum = signum
        self.at_once = at_once
        self.exit_code = 128 + signum  # the shells' convention: 130 for Ctrl-C, 143 for SIGTERM
