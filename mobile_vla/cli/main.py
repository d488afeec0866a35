"""The console script: `mobile-vla <command> key=value ...`. The only place that exits the process."""

import sys
from collections.abc import Sequence
from typing import NoReturn

import mobile_vla
from mobile_vla.cli.registry import MODULES, load_command
from mobile_vla.cli.terminal.interrupts import keep_interrupts
from mobile_vla.cli.terminal.streams import outlive_readers
from mobile_vla.cli.terminal.waiting import wait_asleep
from mobile_vla.core.errors import Interrupted, UserError
from mobile_vla.core.nearest import suggest
from mobile_vla.jobs.outcome import INTERRUPTED, find_outcome
from mobile_vla.settings.conf_folder import find_conf_folder


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    wait_asleep()
    with outlive_readers():
        try:
            with keep_interrupts():
                code = find_outcome(lambda: dispatch(given))
        except Interrupted as stop:
            print(f"mobile-vla: {stop}", file=sys.stderr)
            code = stop.exit_code
        except KeyboardInterrupt:
            print("mobile-vla: interrupted", file=sys.stderr)
            code = INTERRUPTED
    sys.exit(code)


def dispatch(arguments: Sequence[str]) -> int:
    """Answer or run; the exit code. What needs no Hydra does not import it."""
    if not arguments or arguments[0] in ("--help", "-h"):
        from mobile_vla.cli.help import format_overview

        print(format_overview([load_command(name) for name in MODULES]))
        return 0
    name, *rest = arguments
    if "--version" in arguments:
        print(f"mobile-vla {mobile_vla.__version__}")
        return 0
    if name not in MODULES:
        if name.startswith("-") or "=" in name:
            raise UserError(f"'{name}' is no command: the first word is one of {', '.join(MODULES)}")
        raise UserError(f"unknown command '{name}'{suggest(name, MODULES)} (there are {', '.join(MODULES)})")
    command = load_command(name)
    conf = find_conf_folder()
    if "--help" in rest or "-h" in rest:
        from mobile_vla.cli.help import format_help

        print(format_help(command, conf))
        return 0
    from mobile_vla.jobs.launch import launch

    return launch(command, rest, conf)
